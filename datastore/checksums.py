"""Checksums of files and of stored documents: what was written is what is read, or it is damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

BOOKKEEPING = ("_id", "last_updated", "checksum")
"""Fields that a store adds to a document; they are no part of its content."""


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(path: Path) -> list[Path]:
    """A file itself, or all files in a folder, sorted."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def path_sha256(path: Path) -> str:
    """SHA-256 of a file; of a folder that of the names and checksums of its files. Raises OSError."""
    if not path.is_dir():
        return file_sha256(path)
    lines = [f"{file.relative_to(path)} {file_sha256(file)}\n" for file in files_of(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def checksum(document: Mapping[str, Any]) -> str:
    """16 hex digits of the content, without the bookkeeping of stores: a changed digit is found by it."""
    content = {key: value for key, value in document.items() if key not in BOOKKEEPING}
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    return hashlib.sha256(orjson.dumps(content, default=str, option=options)).hexdigest()[:16]


def is_damaged(document: Mapping[str, Any]) -> bool:
    """Whether the document has a checksum and it is not that of its content; earlier versions stored none."""
    return "checksum" in document and document["checksum"] != checksum(document)


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its checksum."""
    return {**document, "checksum": checksum(document)}
