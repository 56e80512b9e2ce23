"""Documents of a database name Python classes and functions; only those on a list are looked up.

jobflow stores flows, jobs and outputs as JSON in which ``@module`` with ``@class`` or ``@callable`` says what to
import. Decoding such a document imports any module and gives any function, and running a job calls it. :func:`decode`
and :func:`check` let pass classes that are *defined* in the packages of TRUSTED, and functions that are jobs there.
Every document that comes from a store passes here first (decision 024); what this does not protect from is in
docs/security.md.
"""

from __future__ import annotations

import importlib
import json
import os
from functools import lru_cache
from typing import Any

from monty.json import MontyDecoder
from pydantic import BaseModel

from datastore.errors import DataError

TRUSTED = ("workflows", "datastore", "jobflow.core", "pymatgen.core", "pymatgen.electronic_structure.core")
"""Packages whose classes, and whose jobs, documents may name."""

PLAIN = {("numpy", "array"), ("datetime", "datetime"), ("uuid", "UUID"), ("pathlib", "Path")}
"""Values that monty itself reads."""

VARIABLE = "SPINMULTINET_TRUSTED_MODULES"
"""Environment variable with further packages, separated by commas, for jobs and engines of one's own."""


class UntrustedError(DataError):
    """A document that names what it should not; nothing of it was imported or run."""


def decode(text: str, what: str) -> Any:
    """The object in JSON ``text``. Raises UntrustedError, naming the document as ``what``, before anything is run."""
    content = json.loads(text)
    check(content, what)
    return MontyDecoder().process_decoded(content)


def check(content: Any, what: str) -> None:
    """Raise UntrustedError unless all that ``content`` (dicts, lists and values) names may be looked up."""
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "@module" in part:
                _check_name(part, what)
            waiting += [value for value in part.values() if isinstance(value, dict | list | tuple)]
        elif isinstance(part, list | tuple):
            waiting += [value for value in part if isinstance(value, dict | list | tuple)]


def _packages() -> tuple[str, ...]:
    return (*TRUSTED, *filter(None, os.environ.get(VARIABLE, "").replace(" ", "").split(",")))


def _is_in(module: object, packages: tuple[str, ...]) -> bool:
    return isinstance(module, str) and any(module == name or module.startswith(f"{name}.") for name in packages)


def _check_name(part: dict[str, Any], what: str) -> None:
    as_class = "@class" in part
    module, name = str(part["@module"]), str(part.get("@class", part.get("@callable")))
    if (as_class and (module, name) in PLAIN) or not ({"@class", "@callable"} & part.keys()):
        return
    packages = _packages()
    if not _is_in(module, packages):
        raise UntrustedError(_refusal(what, module, name, "which is not of this program"))
    if part.get("@bound") is not None:
        raise UntrustedError(_refusal(what, module, name, "a method of an object, which no job here is"))
    if not _is_harmless(module, name, as_class, packages):
        kind = "no class" if as_class else "no job and no schema"
        raise UntrustedError(_refusal(what, module, name, f"{kind} that is defined there"))


@lru_cache(maxsize=1024)
def _is_harmless(module: str, name: str, as_class: bool, packages: tuple[str, ...]) -> bool:
    """Whether a name without dots is defined in a trusted package: a class, or else a job or the class of an output."""
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    if isinstance(found, type):
        return _is_in(found.__module__, packages) and (as_class or issubclass(found, BaseModel))
    original = getattr(found, "original", None)  # what jobflow's @job leaves on the function
    return not as_class and callable(original) and _is_in(getattr(original, "__module__", None), packages)


def _refusal(what: str, module: str, name: str, why: str) -> str:
    return (
        f"{what} names {module[:80]}.{name[:80]}, {why}; nothing of it was run. Find out who wrote it; name "
        f"packages of your own in {VARIABLE}"
    )
