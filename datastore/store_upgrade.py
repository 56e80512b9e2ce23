"""Brings the documents of a store to this version, in place: what ``spinmultinet data upgrade`` does.

Each document is replaced in one step, and only where it is still the one that was read. So it may be stopped or killed
at any time and run again, beside running campaigns too. What is damaged is named and left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from maggma.core import Store
from maggma.stores import MongoStore
from pydash import get
from pymongo import ReplaceOne

from datastore.batches import in_batches
from datastore.errors import DataError
from datastore.schema import SCHEMA_VERSION, SEARCH, SpinPoint
from datastore.search import LAYOUT
from datastore.sqlite_query import decode
from datastore.sqlite_store import SqliteStore
from datastore.stores import SpinStore, explained, may_write
from datastore.upgrade import upgraded
from datastore.verify import KINDS

BATCH = 100
"""Documents written at a time."""

NOTES = ("ingested", "imported")
"""Collections of notes without a content that could be damaged; they only get a version."""

Document = dict[str, Any]
Change = tuple[Document, Document]
"""What was read, and what takes its place."""


@dataclass
class UpgradeReport:
    """What was found and done, by collection."""

    documents: dict[str, int] = field(default_factory=dict)
    """Looked at."""
    upgraded: dict[str, int] = field(default_factory=dict)
    """Brought to this version; with ``dry_run``: that would be."""
    changed_meanwhile: int = 0
    """Written by somebody else since they were read, and so left to the next run."""
    damaged: list[str] = field(default_factory=list)
    """One line for each document that is damaged or cannot be read; it is as it was."""


def upgrade_store(
    store: SpinStore, dry_run: bool = False, progress: Callable[[float], None] = lambda _: None
) -> UpgradeReport:
    """Upgrade all documents that are older than this version, and make the indexes. ``progress`` hears the share done.

    Verdicts, ids, numbers and the time a label was last changed stay. ``dry_run`` only counts. Raises DataError where
    the store cannot be written.
    """
    report = UpgradeReport()
    names = (*KINDS, *NOTES)
    with explained(store.uri):
        if not dry_run:
            store.index()
        total = max(1, sum(_collection(store, name).count() for name in names))
        for name in names:
            collection = _collection(store, name)
            report.documents[name] = report.upgraded[name] = 0
            for batch in in_batches(_changes(collection, name, report), BATCH):
                changes = [change for change in batch if change is not None]
                done = len(changes) if dry_run else _replace(collection, changes)
                report.upgraded[name] += done
                report.changed_meanwhile += len(changes) - done
                progress(min(1.0, sum(report.documents.values()) / total))
    return report


def _collection(store: SpinStore, name: str) -> Store:
    collection: Store = getattr(store, name)
    return collection


def _changes(collection: Store, name: str, report: UpgradeReport) -> Iterator[Change | None]:
    """Old documents with what they become, one at a time; None for the others."""
    for label, document in _documents(collection):
        report.documents[name] += 1
        try:
            if document is None:
                raise DataError("is no JSON; look for damage with: spinmultinet data verify PLACE")
            yield (document, _new(document, name)) if _is_old(document, name) else None
        except DataError as error:
            report.damaged.append(f"{name} {label}: {error}")
            yield None


def _new(document: Document, name: str) -> Document:
    """A note has a version only."""
    return upgraded(document, KINDS[name]) if name in KINDS else {**document, "schema_version": SCHEMA_VERSION}


def _is_old(document: Mapping[str, Any], name: str) -> bool:
    version = document.get("schema_version")
    if not isinstance(version, int) or version != SCHEMA_VERSION:
        return True
    return KINDS.get(name) is SpinPoint and (get(document, f"{SEARCH}.layout") or 0) < LAYOUT


def _documents(collection: Store) -> Iterator[tuple[str, Document | None]]:
    """All documents, each with its name; rows of SQLite one by one, because a damaged one must not hide the others."""
    if not isinstance(collection, SqliteStore):
        for document in collection.query({}):
            yield str(document.get(collection.key)), document
        return
    for number, text in collection.rows():
        try:
            document = decode(text)
        except (ValueError, AttributeError):
            document = {}
        known = isinstance(document, dict) and bool(document)
        yield (str(document.get(collection.key)), document) if known else (f"row {number}", None)


def _replace(collection: Store, changes: list[Change]) -> int:
    """Write what is still as it was read; gives how many. One batch is one transaction, or one atomic step each."""
    expected = [{key: old.get(key) for key in ("checksum", "last_updated")} for old, _ in changes]
    if not changes:
        return 0
    may_write(collection)
    if isinstance(collection, SqliteStore):
        return collection.replace_each([(new, as_read) for (_, new), as_read in zip(changes, expected, strict=True)])
    if isinstance(collection, MongoStore):
        steps = [ReplaceOne({"_id": new["_id"], **e}, new) for (_, new), e in zip(changes, expected, strict=True)]
        return int(collection._collection.bulk_write(steps, ordered=False).matched_count)
    collection.update([new for _, new in changes])
    return len(changes)
