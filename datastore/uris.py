"""Places of stores without secrets: ``env:NAME`` stands for the URI in an environment variable, and masks."""

from __future__ import annotations

import os
import re
from pathlib import Path

from datastore.errors import DataError

ENV = "env:"

_SCHEME = r"\b(?:mongodb(?:\+srv)?:/*+|\w+://)"
_PASSWORD = re.compile(rf"({_SCHEME}[^:@/]*):.*@", re.DOTALL)
_USER_WITH_SLASH = re.compile(r"\b(mongodb(?:\+srv)?:/*+)(?![^:@/]*(?::\*\*\*)?@)[^@/]*/.*@", re.DOTALL)
_UNFINISHED = re.compile(r"\b(mongodb(?:\+srv)?:/*+(?!\[)[^:@/?#\s,]*):(?!\d{1,5}(?!\w)|PORT\b)(?!.*@).*", re.DOTALL)
"""Password without '@' after it: what is no port."""
_NO_SCHEME = re.compile(r"^(?!(?:local|env|memory|file|mongodb(?:\+srv)?):)([^\s:@/]+):(?!/).*@(?=\S+$)", re.DOTALL)
_SECRETS = re.compile(r"([?&](?:[^=&]*(?:password|secret|token)[^=&]*)=)[^&#\s]*", re.IGNORECASE)
_SESSION = re.compile(r"(AWS_SESSION_TOKEN:)[^,&#\s]*")


def resolved(uri: str) -> str:
    """The URI itself, or for ``env:NAME`` the one in that variable. What is stored and shown stays ``env:NAME``.

    Raises DataError where the variable is not set, names another one, or a folder relative to who knows where.
    """
    if not uri.startswith(ENV):
        return uri
    name = uri.removeprefix(ENV)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise DataError(f"store {uri!r} names no environment variable; write env:NAME, such as env:SPIN_STORE")
    value = os.environ.get(name, "").strip()
    if not value:
        raise DataError(f"store {uri}: the environment variable {name} is not set; export {name}=mongodb://...")
    if value.startswith(ENV):
        raise DataError(f"store {uri}: {name} names another variable; put the URI itself there")
    if value.startswith("local:") and not Path(value.removeprefix("local:")).expanduser().is_absolute():
        raise DataError(f"store {uri}: jobs run in folders of their own, so {name} needs a whole path, local:/...")
    return value


def mask(uri: str) -> str:
    """The URI, or a text with one, with its password and other secrets replaced by stars.

    Of a URI that is none everything up to the last @ may be the password, and without an @ all after the user.
    """
    text = _USER_WITH_SLASH.sub(r"\1***@", _PASSWORD.sub(r"\1:***@", uri))
    text = _NO_SCHEME.sub(r"\1:***@", _UNFINISHED.sub(r"\1:***", text))
    return _SESSION.sub(r"\1***", _SECRETS.sub(r"\1***", text))


def has_secret(uri: str) -> bool:
    """Whether a URI shows a password or another secret."""
    return mask(uri) != uri
