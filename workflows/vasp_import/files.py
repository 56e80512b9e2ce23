"""Files of task documents: a JSON list or one document (as maggma's JSONStore writes), or JSON lines; packed or not."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from datastore.errors import DataError
from workflows.vasp_import.discover import Obstacle, printable
from workflows.vasp_import.documents import CALCULATIONS

ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
LOOK = 2**22
"""Bytes that are looked at to tell a file of task documents from other JSON."""


def has_documents(path: Path) -> bool:
    """Whether a file has task documents, as far as its first 4 MiB tell. Raises DataError."""
    if not path.name.endswith(ENDINGS) or not path.is_file():
        return False
    try:
        with _opened(path) as file:
            return f'"{CALCULATIONS}"'.encode() in file.read(LOOK)
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error}); write it again") from error


def documents_of(path: Path) -> Iterator[tuple[str, dict[str, Any] | Obstacle]]:
    """Name and content of each document of a file; for a damaged one why there is none.

    A list is loaded as a whole, and a fault in it is a DataError; of JSON lines one is read at a time.
    """
    name = printable(str(path.absolute()))
    number = 0
    try:
        with _opened(path) as file:
            for content in _contents(file, ".jsonl" in path.suffixes):
                yield _of(content, f"{name}, document {number}")
                number += 1
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield _of(error, f"{name}, document {number}")
    except ValueError as error:
        raise DataError(f"{path}: no JSON ({error}); write it again") from error


def _contents(file: Any, lines: bool) -> Iterator[Any]:
    """What the documents are parsed to; an error in the place of a line that is no JSON. Raises ValueError."""
    if not lines:
        yield from _listed(_parsed(file.read()))
        return
    for line in filter(bytes.strip, file):
        try:
            yield _parsed(line)
        except ValueError as error:
            yield error


def _of(content: Any, name: str) -> tuple[str, dict[str, Any] | Obstacle]:
    if isinstance(content, dict):
        return name, content
    what = f"no JSON ({content})" if isinstance(content, Exception) else "no JSON object, which a task document is"
    return name, Obstacle(name, "no task document", f"{what}; write it again")


def _parsed(text: bytes) -> Any:
    """JSON, in which NaN and Infinity, which Python writes and no standard has, become words. Raises ValueError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in text and b"Infinity" not in text:
            raise
        try:
            return json.loads(text, parse_constant=str)
        except RecursionError:
            raise error from None


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")


def _listed(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]
