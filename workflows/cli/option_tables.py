"""Tables of options in a page of the docs: ``python -m workflows.cli.option_tables docs/active-learning.md``.

A table stands between ``<!-- options: NAME -->`` and ``<!-- end -->``, where NAME is a class of workflows.learning.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from workflows import learning

MARKED = re.compile(r"(<!-- options: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """The page with every marked table as the options are now."""
    return MARKED.sub(lambda found: f"{found[1]}{table(getattr(learning, found[2]))}{found[3]}", page)


def table(options: type[BaseModel]) -> str:
    """Name, default and meaning of each option; groups of options are left to their own tables."""
    rows = [
        f"| `{name}` | {default_of(field)} | {meaning_of(field)} |\n"
        for name, field in options.model_fields.items()
        if not _is_group(field) and name != "content"
    ]
    return "".join(["| option | default | |\n", "|---|---|---|\n", *rows])


def _is_group(field: FieldInfo) -> bool:
    kinds = [field.annotation, *get_args(field.annotation)]
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds if get_origin(kind) is None)


def default_of(field: FieldInfo) -> str:
    """The default as a reader of YAML knows it; "needed" where there is none."""
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "needed"
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}"


def meaning_of(field: FieldInfo) -> str:
    """The explanation of the field, for a cell of a Markdown table."""
    return (field.description or "").replace("|", "\\|")


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
