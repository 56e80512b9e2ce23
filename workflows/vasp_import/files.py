"""Files of task documents: a JSON list or one document (as maggma's JSONStore writes), or JSON lines; packed or not."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from datastore.errors import DataError
from workflows.vasp_import.discover import printable
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


def documents_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and content of each document of a file. Raises DataError where it is no JSON.

    A list is loaded as a whole; of JSON lines one at a time.
    """
    name = printable(str(path.absolute()))
    try:
        with _opened(path) as file:
            lines = ".jsonl" in path.suffixes
            contents = (
                map(orjson.loads, filter(bytes.strip, file)) if lines else iter(_listed(orjson.loads(file.read())))
            )
            for number, document in enumerate(contents):
                if not isinstance(document, dict):
                    raise DataError(f"{path}, document {number}: no JSON object; give a list of task documents")
                yield f"{name}, document {number}", document
    except (orjson.JSONDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: no JSON ({error}); write it again") from error


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")


def _listed(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]
