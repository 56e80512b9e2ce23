"""The filter language of the command line, and MongoDB filters in JSON: text in, criteria out.

    formula=NiO verdict=accepted (ordering=FM,AFM-II or m(Ni)>1.2) not deformation=shear fmax<0.5

Terms FIELD OPERATOR VALUE stand side by side for *and*; ``or``, ``not`` and parentheses mean what they say. Fields
and their units are in :data:`TEXT_FIELDS` to :data:`ELEMENT_FIELDS`. Nothing here asks a store.
"""

from __future__ import annotations

import difflib
import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from numbers import Real
from typing import Any

from ase.data import chemical_symbols

from datastore.errors import DataError
from datastore.schema import SEARCH, SpinConfig, SpinFailure, SpinPoint

Criteria = dict[str, Any]

TEXT_FIELDS = (
    *("formula", "ordering", "ordering_found", "deformation", "verdict", "campaign", "cell", "parent", "pair_id"),
    *("config_id", "point_id", "level_id", "engine", "engine_version", "moment_role", "species", "start", "ground"),
    *("system", "elements"),
)
NUMBER_FIELDS = (
    *("generation", "energy", "free_energy", "total_moment", "band_gap", "excitation", "schema_version"),
    *("atoms", "fmax", "energy_per_atom", "above"),
)
"""eV and muB per cell, excitation and energy_per_atom in eV/atom, fmax in eV/Angstrom, above in meV/atom."""

ELEMENT_FIELDS = {"x": "x", "m": "moment", "mmax": "moment_max"}
"""Fields with an element, such as ``x(Co)`` and ``m(Ni)`` (muB), and where :mod:`datastore.search` keeps them."""

FLAGS = ("flipped",)
UPDATED = "last_updated"
DATE_FIELDS = {"since": "$gte", "before": "$lt"}
"""Of the last time a label was stored or judged, UTC."""

OF_FAILURES = ("error_type", "error")
"""What only failures have; they have no results and are not searched by what is computed from results."""

ABOVE = "$above"
"""Stands in criteria for the energy above the lowest ordering of the geometry (eV/atom), which no label knows of
itself; :mod:`datastore.queries` answers it."""

DEEPEST = 50
"""Parentheses, or parts of a filter in JSON, in each other."""

FLATTER = "write it with fewer in each other"

PREFIXES = {"level_id": 16, "config_id": 24, "point_id": 41}
"""Ids and their digits; a filter with fewer means all that begin so."""

_SEARCHED = ("system", "atoms", "fmax", "energy_per_atom", *FLAGS)
_OF_LABELS = (
    *("verdict", "ordering_found", "energy", "free_energy", "total_moment", "band_gap", "excitation", "ground"),
    *(*_SEARCHED, "elements", "above"),
)
_OPERATORS = {"=": "$eq", "==": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_HOLDS: dict[str, Callable[[float, float], bool]] = {
    **{"$eq": operator.eq, "$ne": operator.ne, "$lt": operator.lt, "$lte": operator.le},
    **{"$gt": operator.gt, "$gte": operator.ge},
}
_NAME = re.compile(r"[^\s=!<>()'\"]+(?:\([^\s=!<>()]*\))?")
_SIGN = re.compile(r"(\s*)(==|!=|<=|>=|=|<|>)")
_WORD = re.compile(r"(and|or|not)(?=[\s()]|$)", re.IGNORECASE)
_OF_ELEMENT = re.compile(r"(\w+)\((\w*)\)")
_MONGO = (
    *("$and", "$or", "$nor", "$not", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin"),
    *("$exists", "$regex", "$options", "$elemMatch", "$size", "$all", "$type", "$mod"),
)


def parse_filter(text: str, failures: bool = False) -> Criteria:
    """MongoDB criteria from ``"ordering=AFM-II,FM verdict=accepted energy<-5"``.

    Operators: = != < <= > >=; ``,`` in a value of ``=`` or ``!=`` means any of. Values with spaces need quotes. Ids
    may be cut. With ``failures`` the fields are those of recorded failures. Raises DataError, which tells the position,
    for unknown fields (naming the nearest) and what cannot be read.
    """
    return _Reader(text, failures).criteria()


def parse_mongo(text: str) -> Criteria:
    """Criteria from a MongoDB filter in JSON; ``{"$date": "2026-11-01"}`` is a time.

    Raises DataError for what is no JSON object, and for operators that are not known here: those run code in the
    database, or search it in ways that a local store cannot.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise DataError(f"filter with over {DEEPEST} parts in each other; {FLATTER}") from None
    except ValueError as error:
        raise DataError(f'{text!r} is no JSON: {error}; write \'{{"formula": "NiO"}}\'') from error
    if not isinstance(content, dict):
        raise DataError(f'{text!r} is no MongoDB filter; write \'{{"formula": "NiO"}}\'')
    return dict(_allowed(content))


def check_field(field: str, failures: bool = False, where: str = "") -> None:
    """Raise DataError, naming the nearest, unless ``field`` is one of labels (or of ``failures``)."""
    here = [*TEXT_FIELDS, *NUMBER_FIELDS, *FLAGS, *DATE_FIELDS]
    if failures:
        here = [*(name for name in here if name not in _OF_LABELS), *OF_FAILURES]
    elif (found := _OF_ELEMENT.fullmatch(field)) and found[1] in ELEMENT_FIELDS:
        if found[2] not in chemical_symbols:
            raise DataError(f"unknown element {found[2]!r} in {field!r}{where}; write {found[1]}(Ni)")
        return
    stored = {*(SpinFailure if failures else SpinPoint).model_fields, UPDATED}
    if field in here or field in SpinConfig.model_fields or (field in stored and not where):
        return
    near = difflib.get_close_matches(field, here, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(here)}"
    if not failures:
        hint += "" if near else f", {', '.join(f'{name}(ELEMENT)' for name in ELEMENT_FIELDS)}"
    raise DataError(f"unknown field {field!r}{' of failures' if failures else ''}{where}; {hint}")


def path_of(field: str, failures: bool = False) -> str:
    """Where documents keep a field of the filter language. Raises DataError, naming the nearest."""
    check_field(field, failures)
    if found := _OF_ELEMENT.fullmatch(field):
        return f"{SEARCH}.{ELEMENT_FIELDS[found[1]]}.{found[2]}"
    if field in ("elements", "above"):
        raise DataError(f"{field!r} is for filters only; " + ("take 'system'" if field == "elements" else "see pairs"))
    return f"{SEARCH}.{field}" if field in _SEARCHED else UPDATED if field in DATE_FIELDS else field


def equal_to(field: str, value: Any) -> Criteria:
    """Criteria of ``FIELD=VALUE`` for a value of Python; a list means any of.

    Raises DataError for unknown fields, those that take another operator, and values of another kind.
    """
    check_field(field)
    if field in DATE_FIELDS or field == "above":
        raise DataError(f"{field!r} needs a filter, such as 'above<50 since=2026-11-01'")
    values = list(value) if isinstance(value, list | tuple | set) else [value]
    numeric = field in NUMBER_FIELDS or _OF_ELEMENT.fullmatch(field)
    kind: Any = bool | None if field in FLAGS else Real | None if numeric else str if field in TEXT_FIELDS else object
    if wrong := [one for one in values if not isinstance(one, kind)]:
        asked = "True or False" if field in FLAGS else "a number" if numeric else "a text"
        raise DataError(f"{field}={wrong[0]!r}: give {asked}")
    if not values:
        return {"point_id": {"$in": []}}
    if numeric:
        return _of_number(field, "$eq", values)
    if field in TEXT_FIELDS:
        return _of_text(field, True, values, f"{field}={value!r}")
    return {path_of(field): _compared("$eq", values)}


def conditions(criteria: Mapping[str, Any]) -> list[Criteria]:
    """The parts of criteria that all have to hold, one field or operator each."""
    parts: list[Criteria] = []
    for key, value in criteria.items():
        parts += [part for inner in value for part in conditions(inner)] if key == "$and" else [{key: value}]
    return parts


def mentioned(criteria: Any) -> set[str]:
    """All fields and operators in criteria, at any depth."""
    if isinstance(criteria, list | tuple):
        return {key for part in criteria for key in mentioned(part)}
    if not isinstance(criteria, Mapping):
        return set()
    return {str(key) for key in criteria}.union(*(mentioned(value) for value in criteria.values()))


class _Reader:
    """One pass from left to right."""

    def __init__(self, text: str, failures: bool):
        self.text, self.failures, self.at, self.depth = text, failures, 0, 0

    def criteria(self) -> Criteria:
        """All of the text."""
        if not self.rest():
            return {}
        found = self.any_of()
        if self.rest():
            raise self.wrong(f"')' closes nothing; quote values that hold one, or remove it{self.here()}")
        return found

    def rest(self) -> str:
        """What is left, from the next character that is no space."""
        self.at = len(self.text) - len(self.text[self.at :].lstrip())
        return self.text[self.at :]

    def here(self, at: int | None = None) -> str:
        return f" at character {(self.at if at is None else at) + 1}"

    def wrong(self, problem: str) -> DataError:
        return DataError(f"filter {self.text!r} cannot be read: {problem}")

    def word(self) -> str:
        """``and``, ``or`` or ``not``, where the next is one."""
        found = _WORD.match(self.rest())
        return found[1].lower() if found else ""

    def take(self, word: str) -> bool:
        if self.word() != word:
            return False
        self.at += len(word)
        return True

    def any_of(self) -> Criteria:
        parts = [self.all_of()]
        while self.take("or"):
            parts.append(self.all_of())
        return parts[0] if len(parts) == 1 else {"$or": [self.without_above(part) for part in parts]}

    def all_of(self) -> Criteria:
        parts = [self.one()]
        while (rest := self.rest()) and not rest.startswith(")") and self.word() != "or":
            self.take("and")
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else {"$and": parts}

    def one(self) -> Criteria:
        if self.depth > DEEPEST:
            raise DataError(f"filter with over {DEEPEST} parentheses and 'not' in each other{self.here()}; {FLATTER}")
        if self.take("not"):
            return {"$nor": [self.without_above(self.below(self.one))]}
        if not self.rest().startswith("("):
            return self.term()
        opened = self.at
        self.at += 1
        found = self.below(self.any_of)
        if not self.rest().startswith(")"):
            raise self.wrong(f"'('{self.here(opened)} is not closed")
        self.at += 1
        return found

    def below(self, read: Callable[[], Criteria]) -> Criteria:
        self.depth += 1
        found = read()
        self.depth -= 1
        return found

    def without_above(self, part: Criteria) -> Criteria:
        if ABOVE in mentioned(part):
            raise self.wrong("'above' goes with 'and' only, not with 'or' and 'not'")
        return part

    def term(self) -> Criteria:
        start = self.at
        name = _NAME.match(self.rest())
        if name is None or self.word():
            raise self.wrong(f"a term FIELD=VALUE is missing{self.here()}")
        self.at += name.end()
        sign = _SIGN.match(self.text, self.at)
        if sign is None:
            if name[0] in FLAGS and not self.failures:
                return {path_of(name[0]): True}
            raise DataError(
                f"filter term {name[0]!r}{self.here(start)} has no operator; write FIELD=VALUE, or one of != < <= > >="
            )
        self.at = sign.end()
        if sign[1]:  # spaces before the operator, so there may be some after it
            self.rest()
        values = self.values()
        check_field(name[0], self.failures, self.here(start))
        term = f"filter term {self.text[start : self.at]!r}{self.here(start)}"
        return _condition(name[0], _OPERATORS[sign[2]], values, term)

    def values(self) -> list[str]:
        """Up to a space, or a ')' that is not opened in it, cut at commas; quotes and backslashes as in a shell."""
        found, depth, quote, opened = [""], 0, "", self.at
        while self.at < len(self.text):
            letter = self.text[self.at]
            if not quote and (letter.isspace() or (letter == ")" and not depth)):
                break
            self.at += 1
            if letter == "\\" and quote != "'" and self.at < len(self.text):
                found[-1] += self.text[self.at]
                self.at += 1
            elif letter == quote or (letter in "'\"" and not quote):
                quote, opened = ("" if quote else letter), self.at - 1
            elif letter == "," and not quote:
                found.append("")
            else:
                depth += 0 if quote else {"(": 1, ")": -1}.get(letter, 0)
                found[-1] += letter
        if quote:
            raise self.wrong(f"close the quotes that open{self.here(opened)}")
        return found


def _condition(field: str, operator: str, values: list[str], term: str) -> Criteria:
    """Criteria of one term; ``term`` opens messages."""
    if field in DATE_FIELDS:
        return {UPDATED: {DATE_FIELDS[field]: _time(",".join(values), operator, term)}}
    if field in FLAGS:
        if operator not in ("$eq", "$ne") or len(values) > 1 or values[0] not in ("yes", "no", "true", "false"):
            raise DataError(f"{term}: write {field}, {field}=no or not {field}")
        return {path_of(field): (values[0] in ("yes", "true")) == (operator == "$eq")}
    if field in NUMBER_FIELDS or _OF_ELEMENT.fullmatch(field):
        numbers = [_number(value, term) for value in values]
        if len(numbers) > 1 and operator not in ("$eq", "$ne"):
            raise DataError(f"{term}: the operator takes one number")
        if field == "above":
            return {ABOVE: _compared(operator, [1e-3 * number for number in numbers])}
        return _of_number(field, operator, numbers)
    if operator not in ("$eq", "$ne"):
        raise DataError(f"{term}: {field!r} is text, so only = and != apply")
    return _of_text(field, operator == "$eq", values, term)


def _compared(operator: str, values: list[Any]) -> Criteria:
    if len(values) > 1:
        return {"$nin" if operator == "$ne" else "$in": values}
    return {operator: values[0]}


def _of_number(field: str, operator: str, numbers: list[float | int]) -> Criteria:
    path = path_of(field)
    condition = {path: _compared(operator, list(numbers))}
    if field.startswith("x("):  # an element that is not there has the share 0
        holds = [_HOLDS[operator](0.0, number) for number in numbers]
        if all(holds) if operator == "$ne" else any(holds):
            return {"$or": [condition, {path: None}]}
    # A label without a number fulfils no condition on it; databases think otherwise of '!='.
    return {"$and": [condition, {path: {"$ne": None}}]} if operator == "$ne" else condition


def _of_text(field: str, equal: bool, values: list[str], term: str) -> Criteria:
    if field == "elements":
        for value in values:
            check_field(f"x({value})", where=f" of {term}")
        present: list[Criteria] = [{path_of(f"x({value})"): {"$gt": 0} if equal else None} for value in values]
        return present[0] if len(present) == 1 else {"$or" if equal else "$and": present}
    path = path_of(field, failures=field in OF_FAILURES)
    if field == "system":
        values = ["-".join(sorted(value.split("-"))) for value in values]
    if field in PREFIXES and any(0 < len(value) < PREFIXES[field] for value in values):
        ranges = [{path: {"$gte": value, "$lt": value + chr(0x10FFFF)} if value else value} for value in values]
        return {"$nor": ranges} if not equal else ranges[0] if len(ranges) == 1 else {"$or": ranges}
    return {path: _compared("$eq" if equal else "$ne", list(values))}


def _number(text: str, term: str) -> float | int:
    try:
        number = float(text)
    except ValueError as error:
        raise DataError(f"{term}: {text!r} is no number") from error
    if not math.isfinite(number):
        raise DataError(f"{term}: {text!r} is no number")
    return int(number) if number.is_integer() and abs(number) < 2**63 else number  # databases know no larger integer


def _time(text: str, operator: str, term: str) -> datetime:
    if operator != "$eq":
        raise DataError(f"{term}: write since=2026-11-01 or before=2026-11-01")
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{term}: {text!r} is no date; write 2026-11-01 or 2026-11-01T12:00") from error
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def _allowed(content: Any, depth: int = 0) -> Any:
    """The filter with its times; every operator in it has to be a known one."""
    if depth > 2 * DEEPEST:  # each operator is an object, and mostly a list
        raise DataError(f"filter with over {DEEPEST} parts in each other; {FLATTER}")
    if isinstance(content, list):
        return [_allowed(part, depth + 1) for part in content]
    if not isinstance(content, dict):
        return content
    if content.keys() == {"$date"}:
        return _time(str(content["$date"]), "$eq", "$date")
    for key in content:
        if key.startswith("$") and key not in _MONGO:
            known = ", ".join(_MONGO)
            raise DataError(f"operator {key!r} is refused, because it may run code in the database; there are {known}")
    return {key: _allowed(value, depth + 1) for key, value in content.items()}
