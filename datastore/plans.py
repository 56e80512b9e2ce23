"""Which index answers a query: as the table of indexes says, and as the database tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maggma.stores import MongoStore

from datastore.errors import DataError
from datastore.filters import ABOVE, conditions
from datastore.sqlite_store import ALL_BELOW, SqliteStore
from datastore.stores import COLLECTIONS, Index, SpinStore, explained

Criteria = Mapping[str, Any]

_RANGES = {"$gt", "$gte", "$lt", "$lte"}


def covering_index(criteria: Criteria, sort: str = "", collection: str = "points") -> tuple[str, ...] | None:
    """Fields of the index that finds the documents, without a look at any others; None where none does.

    ``criteria``: without ``$above``, whose geometries are found by their pair_id; ``sort``: stored name of a field. The
    index begins with a field that is asked for a value or a range; where nothing is asked, with the one sorted by. Of
    several, the one with most fields of use. ``$or`` needs one for each of its parts.
    """
    key, indexes = COLLECTIONS[collection]
    fields = [_fields(index) for index in (key, *indexes)]
    parts = [part for part in conditions(criteria) if ABOVE not in part]
    # Of two that would do, rather not the one that begins with what most labels share.
    best = max(fields, key=lambda index: (_use(index, parts, sort), index[0] != "verdict", -len(index)))
    if _use(best, parts, sort):
        return best
    for part in parts:
        if "$or" in part and all(covering_index(one, "", collection) for one in part["$or"]):
            return covering_index(part["$or"][0], "", collection)
    return None


def explain(store: SpinStore, criteria: Criteria, sort: Mapping[str, int] | None = None) -> list[str]:
    """Stages by which the database finds labels, such as IXSCAN and COLLSCAN of MongoDB, with the names of indexes.

    Raises DataError where it has no plans to tell (memory:) or is no full MongoDB.
    """
    points = store.points
    if isinstance(points, SqliteStore):
        return points.explain(criteria, sort)
    if not isinstance(points, MongoStore) or store.uri.startswith("memory:"):
        raise DataError("a store in memory has no plans; open local:FOLDER or mongodb://HOST/DATABASE")
    cursor = points._collection.find(dict(criteria), limit=20)
    with explained(store.uri):
        plan = (cursor.sort(list(sort.items())) if sort else cursor).explain()
    return list(_stages(plan["queryPlanner"]["winningPlan"]))


def scans_all(stages: Sequence[str]) -> bool:
    """Whether such a plan looks at every label instead of an index."""
    return any(stage.startswith(("COLLSCAN", "SCAN")) and "USING" not in stage for stage in stages)


def _stages(plan: Any) -> Iterator[str]:
    """Stages of a plan of MongoDB, outermost first, whatever lies between them."""
    if isinstance(plan, Mapping):
        if "stage" in plan:
            yield " ".join(str(plan[key]) for key in ("stage", "indexName") if key in plan)
        for key, value in plan.items():
            if key not in ("indexBounds", "filter", "slotBasedPlan"):
                yield from _stages(value)
    elif isinstance(plan, list):
        for part in plan:
            yield from _stages(part)


def _fields(index: Index) -> tuple[str, ...]:
    return (index,) if isinstance(index, str) else tuple(index)


def _use(index: Sequence[str], parts: Sequence[Criteria], sort: str) -> int:
    """Number of leading fields of an index that serve: equal ones, then one that is a range or the order."""
    served = 0
    for field in index:
        kinds = [_kind(value) for part in parts for name, value in part.items() if _is(name, field)]
        if "equal" not in kinds:
            return served + ("range" in kinds or (_is(sort, field) and (served > 0 or not parts)))
        served += 1
    return served


def _is(name: str, field: str) -> bool:
    return name == field or (field.endswith(ALL_BELOW) and name.startswith(field.removesuffix("$**")))


def _kind(value: Any) -> str:
    operators = set(value) if isinstance(value, Mapping) else {"$eq"}
    if operators & {"$eq", "$in"}:
        return "equal"
    return "range" if operators & _RANGES else ""
