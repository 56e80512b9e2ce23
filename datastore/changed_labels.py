"""Labels that are not any more what snapshots froze: rejected, gone, or replaced under the same point_id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from datastore.batches import in_batches
from datastore.schema import SpinPoint
from datastore.snapshot import label_hash
from datastore.stores import SpinStore, explained
from datastore.upgrade import parse

FIELDS = ("snapshot_id", "created", "points", "labels")
"""Of a snapshot's document, what is read here."""

CHUNK = 500
SKEW = timedelta(minutes=1)
"""That clocks of hosts may differ by."""

Document = dict[str, Any]


def members(snapshot: Mapping[str, Any]) -> set[str]:
    """point_ids of the labels in the splits of a snapshot's document."""
    return {point_id for split in snapshot.get("points", {}).values() for point_id in split}


def changed_labels(store: SpinStore, snapshots: Sequence[Document]) -> dict[str, dict[str, str]]:
    """snapshot_id -> point_id -> hash of the label as it is now, empty where it is not accepted any more.

    ``snapshots``: documents with FIELDS. Only labels written after a snapshot are read as a whole. One of before
    snapshots held hashes tells of the labels that are not accepted any more, and of no others.
    """
    written = _written(store, set().union(*map(members, snapshots)))
    touched = {point_id for snapshot in snapshots for point_id in _touched(snapshot, written)}
    now = _hashes(store, touched)
    found = {}
    for snapshot in snapshots:
        frozen = snapshot.get("labels", {})
        changed = {p: "" for p in members(snapshot) if p not in written}
        changed |= {p: now[p] for p in _touched(snapshot, written) if now.get(p, frozen[p]) != frozen[p]}
        found[snapshot["snapshot_id"]] = dict(sorted(changed.items()))
    return found


def _written(store: SpinStore, point_ids: set[str]) -> dict[str, Any]:
    """point_id -> when the accepted label was stored last."""
    fields = ["point_id", "last_updated"]
    with explained(store.uri):
        return {
            document["point_id"]: document.get("last_updated")
            for chunk in in_batches(sorted(point_ids), CHUNK)
            for document in store.points.query({"point_id": {"$in": chunk}, "verdict": "accepted"}, fields)
        }


def _touched(snapshot: Document, written: Mapping[str, Any]) -> list[str]:
    """Accepted labels of a snapshot that may have been written after it."""
    frozen, created = snapshot.get("labels", {}), _utc(snapshot.get("created"))
    times = {point_id: _utc(written[point_id]) for point_id in frozen if point_id in written}
    return [p for p, when in times.items() if when is None or created is None or when > created - SKEW]


def _hashes(store: SpinStore, point_ids: set[str]) -> dict[str, str]:
    with explained(store.uri):
        return {
            document["point_id"]: label_hash(parse(SpinPoint, document))
            for chunk in in_batches(sorted(point_ids), CHUNK)
            for document in store.points.query({"point_id": {"$in": chunk}})
        }


def _utc(value: Any) -> datetime | None:
    """Times of documents: ISO 8601, or as databases have them, which is UTC without saying so."""
    when = datetime.fromisoformat(value) if isinstance(value, str) and value else value
    if not isinstance(when, datetime):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
