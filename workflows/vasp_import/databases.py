"""Task documents in a MongoDB collection: which there are, and one of them. Credentials never reach a message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from bson import json_util
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from datastore.errors import DataError
from datastore.mapping import RefusedError
from datastore.stores import TIMEOUT_MS, database_of, explained, mask
from workflows.vasp_import.documents import CALCULATIONS, PROJECTION

SCHEMES = ("mongodb://", "mongodb+srv://")
EXAMPLE = "mongodb://HOST/DATABASE?collection=tasks"
_HAS = {"$or": [{CALCULATIONS: {"$exists": True}}, {f"output.{CALCULATIONS}": {"$exists": True}}]}
_OPTIONS: dict[str, Any] = {"serverSelectionTimeoutMS": TIMEOUT_MS, "connectTimeoutMS": TIMEOUT_MS}


def is_database(place: str) -> bool:
    """Whether a place on the command line is a MongoDB."""
    return place.startswith(SCHEMES)


def list_documents(uri: str) -> list[tuple[str, str, str]]:
    """Key, name and stamp of every task document of the collection that ``uri`` names, in the order of their ids.

    Key: the document's id as JSON. Name: ``task_id``, or ``uuid`` of the job, or the id. The stamp follows from the
    times that the document states. Raises DataError.
    """
    fields = ["task_id", "uuid", "index", "last_updated", "completed_at", "output.last_updated"]
    with _told(uri):
        found = list(_collection(uri).find(_HAS, fields).sort("_id", 1))
    return [(json_util.dumps(d["_id"]), _name(d), _stamp(d)) for d in found]


def fetch(uri: str, key: str) -> dict[str, Any]:
    """The parts of one document that labels need. Raises DataError; RefusedError where it is there no more."""
    with _told(uri):
        document = _collection(uri).find_one({"_id": json_util.loads(key)}, list(PROJECTION))
    if document is None:
        raise RefusedError("gone", "it was removed while others were read")
    return dict(document)


def _name(document: dict[str, Any]) -> str:
    if document.get("task_id"):
        return str(document["task_id"])
    return f"{document['uuid']}:{document.get('index', 1)}" if document.get("uuid") else str(document["_id"])


def _stamp(document: dict[str, Any]) -> str:
    output = document.get("output")
    inner = output.get("last_updated") if isinstance(output, dict) else None
    times = (document.get("last_updated"), document.get("completed_at"), inner)
    return " ".join(str(time) for time in times if time)


@lru_cache(maxsize=4)
def _collection(uri: str) -> Any:
    plain, name = _split(uri)
    database = database_of(plain)
    if not database or not name:
        raise DataError(f"{mask(uri)} names no {'collection' if database else 'database'}; write {EXAMPLE}")
    return MongoClient(plain, **_OPTIONS)[database][name]


def _split(uri: str) -> tuple[str, str]:
    """The URI as pymongo takes it, and the collection, which is ours to name."""
    parts = urlsplit(uri)
    name = (parse_qs(parts.query).get("collection") or [""])[0]
    rest = "&".join(part for part in parts.query.split("&") if part and not part.startswith("collection="))
    return urlunsplit(parts._replace(query=rest)), name


@contextmanager
def _told(uri: str) -> Iterator[None]:
    with explained(uri):
        try:
            yield
        except (ValueError, PyMongoError) as error:
            if isinstance(error, DataError) or not isinstance(error, ValueError):
                raise
            raise DataError(f"{mask(uri)} is no valid MongoDB URI; write {EXAMPLE}") from None
