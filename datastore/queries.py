"""Questions a scientist asks of the store, by name or by a filter (:mod:`datastore.filters`).

All functions that give points are lazy: memory does not grow with the answer. Energies in eV, moments in muB.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydash import get

from datastore.errors import DataError
from datastore.filters import check_field as check_field
from datastore.filters import equal_to, path_of
from datastore.filters import parse_filter as parse_filter
from datastore.filters import parse_mongo as parse_mongo
from datastore.levels import names
from datastore.schema import SpinPoint
from datastore.select import count as count
from datastore.select import count_by as count_by
from datastore.select import select
from datastore.stores import SpinStore, explained
from datastore.upgrade import checked, parse

Criteria = dict[str, Any]

GROUPING = ("formula", "cell", "ordering", "deformation", "verdict")


@dataclass(frozen=True)
class Named:
    """A question with gaps: a filter, and the order of the answer."""

    filter: str
    sort: str = ""


NAMED = {
    "formula": Named("formula={formula} verdict=accepted"),
    "system": Named("system={system} verdict=accepted"),
    "composition": Named("x({element})>={fraction} verdict=accepted"),
    "ordering": Named("ordering={ordering} verdict=accepted"),
    "ordering-found": Named("ordering_found={ordering} verdict=accepted"),
    "flipped": Named("flipped"),
    "deformation": Named("deformation={deformation} verdict=accepted"),
    "parent": Named("parent={parent}"),
    "pair": Named("pair_id={pair_id}"),
    "campaign": Named("campaign={campaign} generation={generation}"),
    "generation": Named("generation={generation}"),
    "engine": Named("engine={engine} verdict=accepted"),
    "level": Named("level_id={level_id} verdict=accepted"),
    "rejected": Named("verdict=rejected"),
    "moment": Named("m({element})>={moment} verdict=accepted"),
    "above": Named("above<{mev} verdict=accepted"),
    "small-forces": Named("fmax<{force} verdict=accepted"),
    "large-forces": Named("fmax>{force} verdict=accepted", sort="-fmax"),
    "since": Named("since={date}"),
    "newest": Named("", sort="-last_updated"),
}
"""The questions that have an index of their own; :func:`named` asks them."""


def above_lowest(points: Sequence[SpinPoint]) -> list[float]:
    """Energy (extrapolated, not free) of each label above the lowest accepted one of the same geometry, eV/atom.

    Each level of theory and role of moments has its own lowest. It is that among ``points``; of all of them where none
    is accepted. So a rejected label may be negative.
    """
    energies = [point.energy / len(point.species) for point in points]
    groups = [(point.pair_id, point.level_id, point.moment_role) for point in points]
    known = list(zip(groups, energies, (point.verdict == "accepted" for point in points), strict=True))
    accepted = {group for group, _, sound in known if sound}
    lowest: dict[tuple[str, str, str], float] = {}
    for group, energy, sound in known:
        if sound or group not in accepted:
            lowest[group] = min(energy, lowest.get(group, energy))
    return [energy - lowest[group] for group, energy in zip(groups, energies, strict=True)]


@dataclass(frozen=True)
class PairSet:
    """Labels of one geometry in several orderings at one level of theory."""

    pair_id: str
    level_id: str
    points: list[SpinPoint]

    @property
    def differences(self) -> list[float]:
        """Of each point, :func:`above_lowest`."""
        return above_lowest(self.points)


@dataclass(frozen=True)
class Stats:
    """What a store holds."""

    counts: dict[tuple[str, ...], int]
    """(formula, cell, ordering, deformation, verdict) -> number of points."""
    levels: dict[str, tuple[int, dict[str, Any]]]
    """level_id -> (number of points, readable level of theory)."""
    origins: dict[tuple[str, str], tuple[int, int]]
    """(campaign, engine) -> number of points that match, number of failures."""
    other_ordering: int
    """Points whose ordering is not the one asked for."""

    @property
    def total(self) -> int:
        """Number of points."""
        return sum(self.counts.values())

    @property
    def failures(self) -> int:
        """Number of failures in the store."""
        return sum(failures for _, failures in self.origins.values())


@dataclass(frozen=True)
class Level:
    """A level of theory in a store."""

    level_id: str
    name: str
    """Readable, without spaces, and different from those of the other levels of the store."""
    labels: int
    theory: dict[str, Any]


def find(
    store: SpinStore, criteria: Criteria | str | None = None, limit: int = 0, sort: str = "", **equal: Any
) -> Iterator[SpinPoint]:
    """Points that match a filter, or MongoDB ``criteria``, and have ``equal`` fields (a list means any of).

    ``find(store, "fmax<0.5 m(Ni)>1.2", sort="-energy_per_atom", limit=10)``,
    ``find(store, verdict="accepted", ordering=["FM", "AFM-II"])``. ``sort``: a field, ``-FIELD`` for the largest first;
    otherwise in order of arrival. Fields mean what they mean in filters: ``level_id`` may be cut. Raises DataError for
    unknown fields, and those that take no value, such as ``above``.
    """
    asked = parse_filter(criteria) if isinstance(criteria, str) else criteria
    terms: list[Criteria] = [asked] if asked else []
    terms += [equal_to(field, value) for field, value in equal.items()]
    query = {"$and": terms} if len(terms) > 1 else (terms[0] if terms else {})
    for document in select(store, query, sort=sort, limit=limit):
        yield parse(SpinPoint, document)


def named(store: SpinStore, name: str, limit: int = 0, **values: Any) -> Iterator[SpinPoint]:
    """Points that answer one of :data:`NAMED`: ``named(store, "moment", element="Ni", moment=1.2)``.

    Raises DataError for an unknown name and for values that are missing.
    """
    if name not in NAMED:
        raise DataError(f"no query is called {name!r}; there are {', '.join(NAMED)}")
    try:
        text = NAMED[name].filter.format(**{key: shlex.quote(str(value)) for key, value in values.items()})
    except KeyError as error:
        raise DataError(f"query {name!r} needs {error.args[0]}=...: {NAMED[name].filter}") from error
    return find(store, text, limit, NAMED[name].sort)


def documents(
    store: SpinStore,
    fields: Sequence[str],
    criteria: Criteria | str | None = None,
    sort: str = "",
    limit: int = 0,
    failures: bool = False,
) -> Iterator[dict[str, Any]]:
    """Some fields of the labels (or failures) that match, as ``{field: value}``: only these leave the database.

    Fields of the filter language, such as ``m(Ni)`` and ``fmax``, and of the documents. None where there is no value.
    """
    paths = {field: path_of(field, failures) for field in fields}
    for document in select(store, criteria, [*paths.values(), "point_id"], sort, limit, failures):
        yield {field: get(document, path) for field, path in paths.items()}


def excited(store: SpinStore, criteria: Criteria | None = None) -> list[SpinPoint]:
    """Labels in another state than the one that is kept (:mod:`datastore.metastable`), the highest first."""
    terms: list[Criteria] = [{"excitation": {"$ne": None}}, *([criteria] if criteria else [])]
    return sorted(find(store, {"$and": terms}), key=lambda p: (-(p.excitation or 0.0), p.point_id))


def pairs(
    store: SpinStore, criteria: Criteria | str | None = None, accepted_only: bool = True, limit: int = 0
) -> Iterator[PairSet]:
    """Equal-geometry sets of at least two points, one level of theory and moment role each, by pair_id."""
    asked = parse_filter(criteria) if isinstance(criteria, str) else criteria
    terms: list[Criteria] = [{"pair_id": {"$gt": ""}}]
    terms += [{"verdict": "accepted"}] if accepted_only else []
    terms += [asked] if asked else []
    return islice(_pair_sets(store, {"$and": terms}), limit or None)


def _pair_sets(store: SpinStore, criteria: Criteria) -> Iterator[PairSet]:
    members: dict[tuple[str, str], list[SpinPoint]] = {}
    pair_id = ""
    for document in select(store, criteria, sort="pair_id"):
        point = parse(SpinPoint, document)
        if point.pair_id != pair_id:
            yield from _sets(members)
            members, pair_id = {}, point.pair_id
        members.setdefault((point.level_id, point.moment_role), []).append(point)
    yield from _sets(members)


def stats(store: SpinStore, criteria: Criteria | str | None = None) -> Stats:
    """Counts of the points that match, the levels of theory present, and all failures in the store by origin."""
    fields = [*GROUPING, "level_id", "campaign", "engine", "ordering_found"]
    counts: Counter[tuple[str, ...]] = Counter()
    levels: Counter[str] = Counter()
    labels: Counter[tuple[str, str]] = Counter()
    other = 0
    for values, number in _sound_counts(store, fields, criteria).items():
        group = dict(zip(fields, values, strict=True))
        counts[tuple(group[field] for field in GROUPING)] += number
        levels[group["level_id"]] += number
        labels[group["campaign"], group["engine"]] += number
        other += number * (group["ordering"] != group["ordering_found"])
    with explained(store.uri):
        readable = {level: _readable(store, level) for level in levels}
        failures = store.failures.query({}, ["campaign", "engine", "point_id"])
        failed = Counter((d["campaign"], d["engine"]) for d in (checked(f, campaign=str, engine=str) for f in failures))
    return Stats(
        counts=dict(sorted(counts.items())),
        levels={level: (number, readable[level]) for level, number in levels.most_common()},
        origins={origin: (labels[origin], failed[origin]) for origin in sorted({*labels, *failed})},
        other_ordering=other,
    )


def _sound_counts(
    store: SpinStore, fields: Sequence[str], criteria: Criteria | str | None = None
) -> dict[tuple[str, ...], int]:
    """:func:`count_by` of texts. Raises DataError that names a label which has another thing in its place."""
    with suppress(DataError):  # the next lines find out which label it is about
        counts = count_by(store, fields, criteria)
        if all(isinstance(value, str) for values in counts for value in values):
            return counts
    kinds = dict.fromkeys(fields, str)
    found = (checked(document, **kinds) for document in select(store, criteria, [*fields, "point_id"]))
    return dict(Counter(tuple(document[field] for field in fields) for document in found))


def levels_of(store: SpinStore) -> dict[str, Level]:
    """The levels of theory of the labels in a store, by level_id, most labels first; of equals the one stored first."""
    counts = {level_id: number for (level_id,), number in _sound_counts(store, ["level_id"]).items()}
    with explained(store.uri):
        stored = {level_id: _first_stored(store, level_id) for level_id in counts}
        theories = {level_id: _readable(store, level_id) for level_id in counts}
    named = names(theories)
    order = sorted(counts, key=lambda level_id: (-counts[level_id], stored[level_id]))
    return {key: Level(key, named[key], counts[key], theories[key]) for key in order}


def _first_stored(store: SpinStore, level_id: str) -> str:
    """When the first label of a level that the store finds was stored; empty where it does not say."""
    document = store.points.query_one({"level_id": level_id}, ["last_updated", "point_id"])
    return str((document or {}).get("last_updated") or "")


def find_level(store: SpinStore, asked: str) -> Level:
    """The level whose id begins with, or whose name is, ``asked``. Raises DataError where that is none or several."""
    levels = levels_of(store)
    found = [level for level in levels.values() if asked and level.level_id.startswith(asked)]
    found = found or [level for level in levels.values() if level.name == asked]
    if len(found) == 1:
        return found[0]
    known = "; ".join(f"{level.level_id} {level.name} ({level.labels} labels)" for level in levels.values())
    problem = "several levels of theory begin with" if found else "no label is of level of theory"
    raise DataError(f"{problem} {asked!r}; there are: {known or 'no labels at all'}")


def _sets(members: dict[tuple[str, str], list[SpinPoint]]) -> Iterator[PairSet]:
    for (level_id, _), points in members.items():
        if len(points) > 1:
            ordered = sorted(points, key=lambda p: (p.ordering, p.config_id))
            yield PairSet(points[0].pair_id, level_id, ordered)


def _readable(store: SpinStore, level_id: str) -> dict[str, Any]:
    document = store.points.query_one({"level_id": level_id}, ["level_of_theory", "point_id"])
    return dict(checked(document, level_of_theory=dict)["level_of_theory"]) if document else {}
