"""Where labels to export come from: a store, or a snapshot's folder; always of one level of theory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datastore.atoms import read_points
from datastore.errors import DataError
from datastore.exports.extxyz import FrameText, read_texts
from datastore.exports.labels import Labelled
from datastore.filters import ABOVE, UPDATED, mentioned
from datastore.levels import level_name, names
from datastore.queries import find
from datastore.search import searchable
from datastore.select import count, select
from datastore.snapshot import FILE, Snapshot, load_snapshot
from datastore.splits import SPLITS
from datastore.sqlite_query import matcher
from datastore.stores import SpinStore, explained, mask

Criteria = Mapping[str, Any]
ACCEPTED = {"verdict": "accepted"}
NOT_IN_SNAPSHOTS = {
    UPDATED: "when they were last changed (since, before)",
    ABOVE: "the other orderings of their geometry (above)",
}
"""What criteria for a snapshot cannot ask for."""


@dataclass(frozen=True)
class Source:
    """Labels of one level of theory."""

    name: str
    """For people, without password."""
    level_id: str
    level_name: str
    theory: dict[str, Any]
    most: int
    """At most so many labels, for a bar."""
    labels: Callable[[str], Iterator[Labelled]]
    """Labels of a split, or of all where it is empty; lazily."""
    texts: Callable[[str], Iterator[FrameText]] | None = None
    """The same as they stand in files, where they do and all are wanted: much faster."""
    snapshot_id: str = ""


def of_store(store: SpinStore, criteria: Criteria, level: str = "", rejected: bool = False) -> Source:
    """The labels that match MongoDB ``criteria``, accepted ones unless ``rejected``, at one level of theory.

    ``level``: beginning of an id, or a name. Raises DataError where there is none, or more than one.
    """
    terms = [dict(term) for term in (criteria, {} if rejected else ACCEPTED) if term]
    with explained(store.uri):
        present = _levels(store, terms)
    chosen = _one_level(present, level)
    wanted = {"$and": [*terms, {"level_id": chosen}]}

    def labels(split: str) -> Iterator[Labelled]:
        return (Labelled(point) for point in find(store, wanted))

    theories = {level_id: theory for level_id, (_, theory) in present.items()}
    most = present[chosen][0]
    return Source(mask(store.uri), chosen, names(theories)[chosen], theories[chosen], most, labels)


def is_snapshot(folder: Path) -> bool:
    """Whether a path is the folder of a snapshot."""
    return (folder / FILE).is_file()


def of_snapshot(folder: Path, criteria: Criteria, level: str = "") -> Source:
    """The labels of a snapshot that match MongoDB ``criteria``, with their splits.

    Of a multi-head set one ``level`` has to be chosen. Raises DataError where there is no such level, and where the
    snapshot is damaged, or criteria ask for what only a store knows.
    """
    if unknown := sorted(NOT_IN_SNAPSHOTS.keys() & mentioned(criteria)):
        raise DataError(
            f"labels of a snapshot do not know {NOT_IN_SNAPSHOTS[unknown[0]]}; ask the store they come from"
        )
    snapshot = load_snapshot(folder)
    level_id, theory = _of_levels(snapshot, level)
    filtered = bool(criteria) or snapshot.kind == "multi-head"
    fits = matcher({"$and": [dict(criteria), {"level_id": level_id}]} if criteria else {"level_id": level_id})

    def labels(split: str) -> Iterator[Labelled]:
        for name in [split] if split else SPLITS:
            path = snapshot.path(name)  # type: ignore[arg-type]
            points = read_points(path) if path.stat().st_size else iter(())
            yield from (Labelled(p, name) for p in points if not filtered or fits(searchable(p.to_document())))

    def texts(split: str) -> Iterator[FrameText]:
        for name in [split] if split else SPLITS:
            yield from read_texts(snapshot.path(name))  # type: ignore[arg-type]

    total = sum(snapshot.counts.values())
    described = f"snapshot {snapshot.snapshot_id}"
    name = snapshot.levels.get(level_id) or level_name(theory)
    return Source(described, level_id, name, theory, total, labels, None if filtered else texts, snapshot.snapshot_id)


def _of_levels(snapshot: Snapshot, asked: str) -> tuple[str, dict[str, Any]]:
    """Id and theory of the level to take from a snapshot."""
    theories = {snapshot.level_id: snapshot.level_of_theory}
    if snapshot.kind == "multi-head":
        theories = dict(snapshot.level_of_theory["heads"])
    counts = {key: sum(of.get(key, 0) for of in snapshot.by_level.values()) for key in theories}
    present = {key: (counts[key] or sum(snapshot.counts.values()), theory) for key, theory in theories.items()}
    chosen = _one_level(present, asked)
    return chosen, theories[chosen]


def _levels(store: SpinStore, terms: list[dict[str, Any]]) -> dict[str, tuple[int, dict[str, Any]]]:
    """level_id -> how many labels match, and the level of theory; of one level in the store not all are counted."""
    known = [str(level_id) for level_id in store.points.distinct("level_id")]
    found = {}
    for level_id in known:
        wanted = {"$and": [*terms, {"level_id": level_id}]}
        first = next(select(store, wanted, ["level_of_theory"], limit=1), None)
        if first is not None:
            number = store.points.count() if len(known) == 1 else count(store, wanted)
            found[level_id] = (number, dict(first["level_of_theory"]))
    return found


def _one_level(present: Mapping[str, tuple[int, dict[str, Any]]], asked: str) -> str:
    named = names({level_id: theory for level_id, (_, theory) in present.items()})
    matching = [level_id for level_id in present if level_id.startswith(asked)]
    matching = matching or [level_id for level_id, name in named.items() if name == asked]
    if len(matching) == 1:
        return matching[0]
    listed = "; ".join(f"{level_id} ({n} labels, {named[level_id]})" for level_id, (n, _) in present.items())
    if not present:
        raise DataError("no label matches; see what there is with: spinmultinet data stats")
    if not matching:
        raise DataError(f"no label at level of theory {asked!r}; there are {listed}")
    raise DataError(f"these labels have different levels of theory and must not be mixed; choose --level: {listed}")
