"""Questions a scientist asks of the store, by name, and the small filter language of the command line.

All functions that give points are lazy: memory does not grow with the answer.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from datastore.errors import DataError
from datastore.levels import names
from datastore.schema import SpinConfig, SpinPoint
from datastore.stores import SpinStore, explained
from datastore.upgrade import checked, parse

Criteria = dict[str, Any]

TEXT_FIELDS = [
    "formula",
    "ordering",
    "ordering_found",
    "deformation",
    "verdict",
    "campaign",
    "cell",
    "parent",
    "pair_id",
]
TEXT_FIELDS += ["config_id", "point_id", "level_id", "engine", "engine_version", "moment_role", "species"]
TEXT_FIELDS += ["start", "ground"]
NUMBER_FIELDS = ["generation", "energy", "free_energy", "total_moment", "band_gap", "excitation", "schema_version"]
"""Fields of the filter language: units as in the documents (eV and muB per cell)."""

OF_LABELS = ("verdict", "ordering_found", "energy", "free_energy", "total_moment", "band_gap", "excitation", "ground")
OF_FAILURES = ("error_type", "error")
"""What only labels, and only failures, have."""

LEVEL_ID = 16
"""Digits of a level_id; a filter with fewer means all that begin so."""

GROUPING = ("formula", "cell", "ordering", "deformation", "verdict")
_OPERATORS = {"=": "$eq", "==": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_TERM = re.compile(r"([^=!<>]+)(==|!=|<=|>=|=|<|>)(.*)", re.DOTALL)


@dataclass(frozen=True)
class PairSet:
    """Labels of one geometry in several orderings at one level of theory."""

    pair_id: str
    level_id: str
    points: list[SpinPoint]

    @property
    def differences(self) -> list[float]:
        """Energy of each point above the lowest, eV/atom."""
        energies = [point.energy / len(point.species) for point in self.points]
        return [energy - min(energies) for energy in energies]


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


def find(store: SpinStore, criteria: Criteria | None = None, limit: int = 0, **equal: Any) -> Iterator[SpinPoint]:
    """Points that match MongoDB ``criteria`` and have ``equal`` fields (a list means any of), in order of arrival.

    ``find(store, verdict="accepted", ordering=["FM", "AFM-II"])``. Raises DataError for an unknown field in ``equal``.
    """
    terms: list[Criteria] = [criteria] if criteria else []
    for field, value in equal.items():
        check_field(field)
        terms.append({field: {"$in": list(value)} if isinstance(value, list | tuple | set) else value})
    query = {"$and": terms} if len(terms) > 1 else (terms[0] if terms else {})
    with explained(store.uri):
        for document in store.points.query(query, limit=limit):
            yield parse(SpinPoint, document)


def excited(store: SpinStore, criteria: Criteria | None = None) -> list[SpinPoint]:
    """Labels in another state than the one that is kept (:mod:`datastore.metastable`), the highest first."""
    terms: list[Criteria] = [{"excitation": {"$ne": None}}, *([criteria] if criteria else [])]
    return sorted(find(store, {"$and": terms}), key=lambda p: (-(p.excitation or 0.0), p.point_id))


def pairs(store: SpinStore, criteria: Criteria | None = None, accepted_only: bool = True) -> Iterator[PairSet]:
    """Equal-geometry sets of at least two points, one level of theory and moment role each, by pair_id."""
    terms: list[Criteria] = [{"pair_id": {"$gt": ""}}]
    terms += [{"verdict": "accepted"}] if accepted_only else []
    terms += [criteria] if criteria else []
    members: dict[tuple[str, str], list[SpinPoint]] = {}
    pair_id = ""
    with explained(store.uri):
        for document in store.points.query({"$and": terms}, sort={"pair_id": 1}):
            point = parse(SpinPoint, document)
            if point.pair_id != pair_id:
                yield from _sets(members)
                members, pair_id = {}, point.pair_id
            members.setdefault((point.level_id, point.moment_role), []).append(point)
    yield from _sets(members)


def stats(store: SpinStore, criteria: Criteria | None = None) -> Stats:
    """Counts of the points that match, the levels of theory present, and all failures in the store by origin."""
    fields = [*GROUPING, "level_id", "campaign", "engine", "ordering_found"]
    counts: Counter[tuple[str, ...]] = Counter()
    levels: Counter[str] = Counter()
    labels: Counter[tuple[str, str]] = Counter()
    other = 0
    with explained(store.uri):
        for document in store.points.query(criteria or {}, [*fields, "point_id"]):
            checked(document, **dict.fromkeys(fields, str))
            counts[tuple(document[field] for field in GROUPING)] += 1
            levels[document["level_id"]] += 1
            labels[document["campaign"], document["engine"]] += 1
            other += document["ordering"] != document["ordering_found"]
        readable = {level: _readable(store, level) for level in levels}
        failures = store.failures.query({}, ["campaign", "engine", "point_id"])
        failed = Counter((d["campaign"], d["engine"]) for d in (checked(f, campaign=str, engine=str) for f in failures))
    return Stats(
        counts=dict(sorted(counts.items())),
        levels={level: (number, readable[level]) for level, number in levels.most_common()},
        origins={origin: (labels[origin], failed[origin]) for origin in sorted({*labels, *failed})},
        other_ordering=other,
    )


def levels_of(store: SpinStore) -> dict[str, Level]:
    """The levels of theory of the labels in a store, by level_id, most labels first."""
    with explained(store.uri):
        labels = store.points.query({}, ["level_id", "point_id"])
        counts = Counter(checked(label, level_id=str)["level_id"] for label in labels)
        theories = {level_id: _readable(store, level_id) for level_id in counts}
    named = names(theories)
    return {key: Level(key, named[key], count, theories[key]) for key, count in counts.most_common()}


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


def parse_filter(text: str, failures: bool = False) -> Criteria:
    """MongoDB criteria from ``"ordering=AFM-II,FM verdict=accepted energy<-5"``.

    Terms are joined by *and*; ``,`` in a value of ``=`` or ``!=`` means any of. Operators: = != < <= > >=. Values
    with spaces need quotes. ``level_id=`` takes the beginning of an id. With ``failures`` the fields are those of
    recorded failures. Raises DataError for unknown fields (naming the nearest) and unreadable terms.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise DataError(f"filter {text!r} cannot be read: {error}; close the quotes") from error
    terms = [_term(word, failures) for word in words]
    if len(terms) > 1:
        return {"$and": terms}
    return terms[0] if terms else {}


def _term(word: str, failures: bool) -> Criteria:
    match = _TERM.fullmatch(word)
    if match is None:
        raise DataError(f"filter term {word!r} has no operator; write FIELD=VALUE, or one of != < <= > >=")
    field, operator, text = match.groups()
    check_field(field, failures)
    if operator in ("<", "<=", ">", ">=") and field not in NUMBER_FIELDS:
        raise DataError(f"filter term {word!r}: {field!r} is text, so only = and != apply")
    values = [_value(field, part, word) for part in text.split(",")]
    if field == "level_id" and operator in ("=", "==") and any(0 < len(str(value)) < LEVEL_ID for value in values):
        return {field: {"$regex": f"^({'|'.join(re.escape(str(value)) for value in values)})"}}
    if operator in ("=", "==", "!=") and len(values) > 1:
        return {field: {"$nin" if operator == "!=" else "$in": values}}
    if len(values) > 1:
        raise DataError(f"filter term {word!r}: {operator} takes one number")
    return {field: {_OPERATORS[operator]: values[0]}}


def _value(field: str, text: str, word: str) -> str | float | int:
    if field not in NUMBER_FIELDS:
        return text
    try:
        number = float(text)
    except ValueError as error:
        raise DataError(f"filter term {word!r}: {text!r} is no number") from error
    return int(number) if number.is_integer() else number


def check_field(field: str, failures: bool = False) -> None:
    """Raise DataError, naming the nearest, unless ``field`` is one of labels (or of ``failures``)."""
    here = [*TEXT_FIELDS, *NUMBER_FIELDS]
    if failures:
        here = [*(name for name in here if name not in OF_LABELS), *OF_FAILURES]
    if field in here or field in SpinConfig.model_fields:
        return
    near = difflib.get_close_matches(field, here, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(here)}"
    raise DataError(f"unknown field {field!r}{' of failures' if failures else ''}; {hint}")


def _sets(members: dict[tuple[str, str], list[SpinPoint]]) -> Iterator[PairSet]:
    for (level_id, _), points in members.items():
        if len(points) > 1:
            ordered = sorted(points, key=lambda p: (p.ordering, p.config_id))
            yield PairSet(points[0].pair_id, level_id, ordered)


def _readable(store: SpinStore, level_id: str) -> dict[str, Any]:
    document = store.points.query_one({"level_id": level_id}, ["level_of_theory", "point_id"])
    return dict(checked(document, level_of_theory=dict)["level_of_theory"]) if document else {}
