"""Documents that match criteria, in order, and how many there are: what all queries are made of.

Beside MongoDB's operators criteria may hold ``{"$above": {"$lt": 0.05}}``: energy above the lowest accepted label of
the same geometry, level of theory and role of moments, in eV/atom. It is found for some labels at a time, while they
are read.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from maggma.core import Store
from maggma.stores import MongoStore
from pydash import get

from datastore.batches import in_batches
from datastore.errors import DataError
from datastore.filters import ABOVE, conditions, mentioned, parse_filter, path_of
from datastore.schema import SEARCH, SpinPoint
from datastore.search import LAYOUT
from datastore.sqlite_query import matches
from datastore.sqlite_store import SqliteStore
from datastore.stores import SpinStore, explained
from datastore.upgrade import upgraded

Criteria = dict[str, Any]
Document = dict[str, Any]

BATCH = 100
"""Labels whose geometries are looked up at a time."""

LOOKED_AT = 5.0
"""Seconds for which it is believed that all labels have what they are searched by; others may write older ones."""

_GEOMETRY = ("pair_id", "level_id", "moment_role")
_ENERGY = f"{SEARCH}.energy_per_atom"


def select(
    store: SpinStore,
    criteria: Criteria | str | None = None,
    fields: Sequence[str] = (),
    sort: str = "",
    limit: int = 0,
    failures: bool = False,
    skip: int = 0,
) -> Iterator[Document]:
    """Documents of labels (or of failures) that match, lazily; with ``fields`` only these, under their stored names.

    ``criteria``: a filter (:mod:`datastore.filters`) or MongoDB criteria; ``sort``: a field, ``-FIELD`` for the largest
    first, and point_id where that is equal; otherwise they come in order of arrival, with ``$above`` by geometry;
    ``skip``: so many are passed over; ``limit`` 0 means all. Raises DataError for unknown fields, and where labels have
    to be upgraded first.
    """
    plain, above = _split(_criteria(criteria, failures))
    name = sort.removeprefix("-")
    direction = -1 if sort.startswith("-") else 1
    order = {path_of(name, failures): direction, "point_id": direction} if sort else None
    wanted = list(fields) and [*fields, *(_GEOMETRY if above else ()), *([_ENERGY] if above else ())]
    with explained(store.uri):
        require_searchable(store, {"$and": [{ABOVE: plain} if above else plain, order or {}, dict.fromkeys(wanted)]})
        collection = _collection(store, failures)
        if not above:
            yield from collection.query(plain, wanted or None, sort=order, skip=skip, limit=limit)
            return
        last = skip + limit if limit else 0
        pages = _pages(collection, plain, wanted, order or {"pair_id": 1, "point_id": 1}, last)
        found = _above(store, in_batches(pages, min(BATCH, 2 * last or BATCH)), above)
        yield from islice(found, skip, last or None)


def count(store: SpinStore, criteria: Criteria | str | None = None, failures: bool = False) -> int:
    """Number of labels (or failures) that match. Raises DataError as :func:`select`."""
    asked = _criteria(criteria, failures)
    plain, above = _split(asked)
    if above:
        return sum(1 for _ in select(store, asked, ["point_id"]))
    with explained(store.uri):
        require_searchable(store, plain)
        return int(_collection(store, failures).count(plain))


def count_by(
    store: SpinStore, fields: Sequence[str], criteria: Criteria | str | None = None, failures: bool = False
) -> dict[tuple[Any, ...], int]:
    """Number of labels (or failures) for each combination of values of ``fields``; None stands for no value.

    Fields of the filter language, ``x(Ni)`` too. Raises DataError as :func:`select`.
    """
    paths = [path_of(field, failures) for field in fields]
    asked = _criteria(criteria, failures)
    plain, above = _split(asked)
    collection = _collection(store, failures)
    with explained(store.uri):
        require_searchable(store, {ABOVE: plain} if above else {"$and": [plain, dict.fromkeys(paths)]})
        counts = None if above else _counted(collection, paths, plain)
        if counts is None:
            found = select(store, asked, [*paths, "point_id"], failures=failures)
            counts = Counter(tuple(_hashable(get(document, path)) for path in paths) for document in found)
    return dict(sorted(counts.items(), key=lambda item: [(value is not None, str(value)) for value in item[0]]))


def require_searchable(store: SpinStore, criteria: Criteria) -> None:
    """Raise DataError where criteria ask for what an earlier version did not store with its labels (they would find
    too little).
    """
    now = time.monotonic()
    names = sorted(name for name in mentioned(criteria) if name == ABOVE or name.startswith(f"{SEARCH}."))
    if not names or now < store.searchable_until:
        return
    layout = f"{SEARCH}.layout"
    oldest = store.points.query_one({}, [layout, "point_id"], sort={layout: 1})  # nothing comes before every number
    if oldest is not None and (get(oldest, layout) or 0) < LAYOUT:
        asked = names[0].removeprefix("$").removeprefix(f"{SEARCH}.")
        raise DataError(
            f"label {oldest.get('point_id')} was stored by an earlier version, so labels cannot be searched by "
            f"{asked!r} yet; {_remedy(store, oldest)}"
        )
    if oldest is not None:
        store.searchable_until = now + LOOKED_AT


def _remedy(store: SpinStore, oldest: Document) -> str:
    """What helps against a label of an earlier version; an upgrade leaves a damaged one as it is."""
    try:
        upgraded(store.points.query_one({"point_id": oldest.get("point_id")}) or oldest, SpinPoint)
    except DataError as error:
        return f"an upgrade leaves it as it is, because it is damaged ({error}); restore it from a backup, or remove it"
    return "run once: spinmultinet data upgrade PLACE"


def _criteria(criteria: Criteria | str | None, failures: bool) -> Criteria:
    return parse_filter(criteria, failures) if isinstance(criteria, str) else dict(criteria or {})


def _collection(store: SpinStore, failures: bool) -> Store:
    return store.failures if failures else store.points


def _split(criteria: Criteria) -> tuple[Criteria, Criteria]:
    """Criteria that the database can answer, and the condition on the energy above the lowest ordering."""
    parts = conditions(criteria)
    asked = [part[ABOVE] for part in parts if ABOVE in part]
    rest = [part for part in parts if ABOVE not in part]
    if ABOVE in mentioned(rest):
        raise DataError("'above' goes with 'and' only, not with 'or' and 'not'")
    if not asked:
        return criteria, {}
    plain = {"$and": [{"pair_id": {"$gt": ""}}, *rest]}
    return plain, {"$and": [{"above": condition} for condition in asked]}


def _pages(
    collection: Store, criteria: Criteria, fields: list[str], order: dict[str, int], limit: int
) -> Iterator[Document]:
    """Documents in order; where only some are wanted, at first a few, so that the database can stop early."""
    skip, size = 0, 2 * limit
    while True:
        page = collection.query(criteria, fields or None, sort=order, skip=skip, limit=size)
        number = 0
        for document in page:
            number += 1
            yield document
        if number < size or not size:
            return
        skip, size = skip + size, 8 * size


def _above(store: SpinStore, batches: Iterable[Sequence[Document]], condition: Mapping[str, Any]) -> Iterator[Document]:
    for batch in batches:
        lowest = _lowest(store, {document["pair_id"] for document in batch})
        for document in batch:
            key = tuple(document.get(name) for name in _GEOMETRY)
            if key in lowest and matches(condition, {"above": get(document, _ENERGY) - lowest[key]}):
                yield document


def _lowest(store: SpinStore, pair_ids: set[str]) -> dict[tuple[Any, ...], float]:
    """Lowest energy of accepted labels (eV/atom) by geometry, level of theory and role of moments."""
    lowest: defaultdict[tuple[Any, ...], float] = defaultdict(lambda: float("inf"))
    fields = [*_GEOMETRY, "verdict", _ENERGY]
    for document in store.points.query({"pair_id": {"$in": sorted(pair_ids)}}, fields):
        if document["verdict"] == "accepted":
            key = tuple(document[name] for name in _GEOMETRY)
            lowest[key] = min(lowest[key], get(document, _ENERGY))
    return dict(lowest)


def _counted(collection: Store, paths: Sequence[str], criteria: Criteria) -> dict[tuple[Any, ...], int] | None:
    """Counts by the database itself; None where it cannot."""
    if isinstance(collection, SqliteStore):
        return collection.count_by(paths, criteria)
    if not isinstance(collection, MongoStore) or not paths:
        return None
    keys = {f"f{number}": f"${path}" for number, path in enumerate(paths)}
    stages = [{"$match": criteria}, {"$group": {"_id": keys, "count": {"$sum": 1}}}]
    groups = collection._collection.aggregate(stages)
    return {tuple(_hashable(group["_id"].get(key)) for key in keys): int(group["count"]) for group in groups}


def _hashable(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
