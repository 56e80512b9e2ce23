"""MongoDB criteria, projections and sort orders for documents kept as JSON text in SQLite.

SQL narrows the candidates (so that indexes help), then :func:`matches` decides with the matcher that maggma's own
in-memory store uses. The SQL condition may therefore select too much but never too little; what cannot be said in SQL
is simply left to the matcher. MongoDB looks *into* arrays (``{"species": "Ni"}``), hence the array terms.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

import orjson
from maggma.core import Sort
from maggma.stores.mongolike import mongomock  # whichever mongomock this maggma uses

from datastore.errors import DataError

Criteria = Mapping[str, Any]
Document = dict[str, Any]

_SEGMENT = re.compile(r"[\w@$ +\-]+")
_COMPARE = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_DATE = "$date"
EVERYTHING = "1"
"""SQL condition of all documents."""


def encode(document: Mapping[str, Any]) -> str:
    """JSON text of a document. datetimes keep their type (UTC, naive); NaN becomes null, which JSON has not."""
    content = {key: value for key, value in document.items() if key != "_id"}
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(content, default=_plain, option=options).decode()
    except TypeError as error:
        raise DataError(f"document cannot be stored as JSON: {error}; pass plain numbers, text and lists") from error


def decode(text: str) -> Document:
    """Inverse of :func:`encode`, but for a ``$date`` that is no time: it stays as it is. Raises ValueError: no JSON."""
    document: Document = orjson.loads(text)
    dates = text.count(f'"{_DATE}"')
    for key, value in document.items() if dates else ():
        if isinstance(value, dict) and value.keys() == {_DATE}:
            document[key] = _datetime(value)
            dates -= 1
    # Usually last_updated was the only one; looking for more among thousands of numbers is what takes the time.
    return _revive(document) if dates else document


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        utc = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return {_DATE: utc.isoformat(timespec="microseconds")}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if hasattr(value, "tolist"):  # numpy arrays that are not contiguous
        return value.tolist()
    if type(value).__name__ in {"ObjectId", "UUID", "PosixPath"}:
        return str(value)
    raise TypeError(f"no JSON form of {type(value).__name__}")


def _revive(value: Any) -> Any:
    if isinstance(value, list):
        return [_revive(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_DATE}:
        return _datetime(value)
    return {key: _revive(item) for key, item in value.items()}


def _datetime(value: Document) -> Any:
    """The time in ``{"$date": ...}``; left as it is where none can be read, so that one document spoils no query."""
    try:
        return datetime.fromisoformat(value[_DATE])
    except (TypeError, ValueError):
        return value


def expression(field: str) -> str | None:
    """SQL for the value at a dotted path, as used in conditions and in indexes; None for an unusual name."""
    path = _path(field)
    return None if path is None else f"json_extract(doc,'{path}')"


def index_expressions(field: str) -> list[str]:
    """Expressions to index so that conditions on ``field`` are covered: its value, and arrays on the way to it."""
    value = expression(field)
    if value is None:
        raise DataError(f"field {field!r} cannot be indexed; use letters, digits, '_', '@', '-' and dots")
    return [value, *_parents(field)]


class Condition(NamedTuple):
    """A WHERE clause."""

    sql: str
    parameters: list[Any]
    exact: bool
    """Whether it selects the matches and nothing else, so that nobody has to look into the documents."""


def quoted(table: str) -> str:
    """Name of a table in SQL."""
    return '"' + table.replace('"', '""') + '"'


def index_statements(table: str, fields: Sequence[str], plain: bool, unique: bool) -> dict[str, str]:
    """Name -> SQL of the index of some fields; for a single one that is not ``plain``, of arrays on its way, too.

    ``unique``: that of the values is.
    """
    expressions = index_expressions(fields[0])[: 1 if plain else None]
    if len(fields) > 1:
        expressions = [", ".join(index_expressions(field)[0] for field in fields)]
    statements = {}
    for position, columns in enumerate(expressions):
        kind = "UNIQUE INDEX" if unique and not position else "INDEX"
        name = "ix_" + hashlib.sha256(f"{table}|{columns}|{unique}".encode()).hexdigest()[:16]
        statements[name] = f"CREATE {kind} IF NOT EXISTS {name} ON {quoted(table)} ({columns})"
    return statements


def where(criteria: Criteria | None, plain: Callable[[str], bool] = lambda _: False) -> Condition:
    """SQL condition (a superset of the matches).

    ``plain``: tells which fields hold, in every document, nothing or one value of one kind (text, number, truth value,
    time).
    """
    found = [
        _junction(field, value, plain) if field.startswith("$") else _field(field, value, plain(field))
        for field, value in (criteria or {}).items()
    ]
    return _joined(found, " AND ")


def _joined(parts: list[Condition], word: str) -> Condition:
    known = [part for part in parts if part.sql != EVERYTHING]
    sql = word.join(f"({part.sql})" for part in known) or EVERYTHING
    return Condition(sql, [v for part in known for v in part.parameters], all(part.exact for part in parts))


def order_by(sort: Mapping[str, Sort | int] | None, key: str = "") -> str:
    """SQL sort order; ties and no order at all mean the order of insertion. By its ``key`` no documents are tied."""
    parts = []
    for field, direction in (sort or {}).items():
        value = expression(field)
        if value is None:
            raise DataError(f"cannot sort by {field!r}: unusual field name")
        sign = direction.value if isinstance(direction, Sort) else direction
        parts.append(f"{value} {'DESC' if sign < 0 else 'ASC'}")
    # More than an index has would make SQLite sort by itself.
    return ", ".join(parts if key in (sort or {}) else [*parts, "id"])


def matcher(criteria: Criteria) -> Callable[[Document], bool]:
    """:func:`matches` for many documents. Texts are looked up in long lists, not compared with each entry."""
    tests: list[Callable[[Document], bool]] = []
    others: Document = {}
    for field, value in criteria.items():
        if field in ("$and", "$or") and isinstance(value, list) and value:
            tests.append(partial(_all_or_any, all if field == "$and" else any, [matcher(part) for part in value]))
        elif (texts := _texts(field, value)) is not None:
            tests.append(partial(_is_among, field, texts, value))
        else:
            others[field] = value
    if others:
        tests.append(partial(matches, others))
    return partial(_all_or_any, all, tests)


def _all_or_any(
    combine: Callable[[Iterable[bool]], bool], tests: list[Callable[[Document], bool]], document: Document
) -> bool:
    return combine(test(document) for test in tests)


def _texts(field: str, value: Any) -> frozenset[str] | None:
    """The texts of a condition ``$in`` on a field at the top of documents; None for any other condition."""
    if field.startswith("$") or "." in field or not isinstance(value, Mapping) or list(value) != ["$in"]:
        return None
    operand = value["$in"]
    if not isinstance(operand, list | tuple | set) or not all(isinstance(item, str | None) for item in operand):
        return None
    return frozenset(item for item in operand if item is not None)


def _is_among(field: str, texts: frozenset[str], condition: Any, document: Document) -> bool:
    found = document.get(field)
    return found in texts if isinstance(found, str) else matches({field: condition}, document)


def matches(criteria: Criteria, document: Document) -> bool:
    """Whether a document fulfils MongoDB criteria. Raises DataError for operators that do not exist."""
    try:
        return bool(mongomock.filtering.filter_applies(dict(criteria), document))
    except (NotImplementedError, ValueError) as error:
        raise DataError(f"criteria cannot be used: {error}") from error
    except Exception as error:
        if type(error).__name__ in {"OperationFailure", "WriteError"}:
            raise DataError(f"criteria cannot be used: {error}") from error
        raise


def project(document: Document, properties: Mapping[str, Any] | Iterable[str] | None) -> Document:
    """The asked (or not unasked) fields of a document; dotted paths look into lists of documents."""
    if not properties:
        return document
    chosen = dict(properties) if isinstance(properties, Mapping) else dict.fromkeys(properties, 1)
    chosen.pop("_id", None)
    if not chosen:
        return document
    keep = bool(next(iter(chosen.values())))
    result: Document = {} if keep else document
    for field in chosen:
        if keep:
            _copy(document, result, field.split("."))
        else:
            _drop(result, field.split("."))
    return result


def _path(field: str) -> str | None:
    segments = field.split(".")
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        return None
    return "$" + "".join(f'."{segment}"' for segment in segments)


def _parents(field: str) -> list[str]:
    """json_type of every prefix of a dotted path; it is 'array' where MongoDB would look into the elements."""
    segments = field.split(".")
    return [f"json_type(doc,'{_path('.'.join(segments[:i]))}')" for i in range(1, len(segments))]


def _junction(operator: str, parts: Any, plain: Callable[[str], bool]) -> Condition:
    if operator not in ("$and", "$or", "$nor"):
        return Condition(EVERYTHING, [], exact=False)
    if operator == "$nor":
        part = _junction("$or", parts, plain)
        known = part.exact and part.sql != EVERYTHING
        return Condition(f"({part.sql}) IS NOT 1" if known else EVERYTHING, part.parameters if known else [], known)
    translated = [where(part, plain) for part in parts]
    if operator == "$or" and any(part.sql == EVERYTHING for part in translated):
        return Condition(EVERYTHING, [], exact=any(part.sql == EVERYTHING and part.exact for part in translated))
    return _joined(translated, " AND " if operator == "$and" else " OR ")


def _field(field: str, value: Any, plain: bool) -> Condition:
    target = expression(field)
    if target is None:
        return Condition(EVERYTHING, [], exact=False)
    operators = value if isinstance(value, Mapping) else {"$eq": value}
    if plain:
        return _joined([_plain_condition(target, *item) for item in operators.items()], " AND ")
    terms: list[Condition] = []
    for operator, operand in operators.items():
        condition = _condition(target, operator, operand)
        if condition is None:
            terms.append(Condition(EVERYTHING, [], exact=False))
            continue
        # '\' follows '[' in ASCII: the range selects every array, through the same index.
        arrays = [f"({target} >= '[' AND {target} < '\\')", *(f"{kind} = 'array'" for kind in _parents(field))]
        terms.append(Condition(" OR ".join([condition[0], *arrays]), condition[1], exact=False))
    return _joined(terms, " AND ")


def _plain_condition(target: str, operator: str, operand: Any) -> Condition:
    """Of a plain field. MongoDB compares numbers with numbers and texts with texts only."""
    if operator == "$ne" and (operand is None or _scalar(operand) is not None):
        return Condition(f"{target} IS NOT ?", [_scalar(operand)], exact=True)
    condition = _condition(target, operator, operand)
    if condition is None:
        return Condition(EVERYTHING, [], exact=False)
    if operator not in ("$gt", "$gte", "$lt", "$lte"):
        return Condition(*condition, exact=operator != "$exists")
    # In SQLite every number is smaller than every text.
    bound = f"{target} >= ''" if isinstance(condition[1][0], str) else f"{target} < ''"
    return Condition(f"{condition[0]} AND {bound}", condition[1], exact=True)


def _condition(target: str, operator: str, operand: Any) -> tuple[str, list[Any]] | None:
    if operator == "$exists":
        kind = target.replace("json_extract", "json_type", 1)
        return (f"{kind} IS NOT NULL" if operand else f"{target} IS NULL"), []
    if operator == "$eq" and operand is None:
        return f"{target} IS NULL", []
    if operator == "$in" and isinstance(operand, list | tuple | set):
        values = [_scalar(item) for item in operand if item is not None]
        if any(item is None for item in values):
            return None
        missing = f" OR {target} IS NULL" if None in operand else ""
        return f"{target} IN (SELECT value FROM json_each(?)){missing}", [orjson.dumps(values).decode()]
    if operator not in _COMPARE:
        return None
    scalar = _scalar(operand)
    return None if scalar is None else (f"{target} {_COMPARE[operator]} ?", [scalar])


def _scalar(value: Any) -> Any:
    """The value as json_extract returns it, None where SQL cannot compare it."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, datetime):
        return orjson.dumps(_plain(value)).decode()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return None


def _copy(source: Any, target: Document, segments: list[str]) -> None:
    head, *rest = segments
    if not isinstance(source, dict) or head not in source:
        return
    value = source[head]
    if not rest:
        target[head] = value
    elif isinstance(value, dict):
        _copy(value, target.setdefault(head, {}), rest)
    elif isinstance(value, list):
        inner = [item for item in value if isinstance(item, dict)]
        copies = target.setdefault(head, [{} for _ in inner])
        for item, copy in zip(inner, copies, strict=True):
            _copy(item, copy, rest)


def _drop(target: Any, segments: list[str]) -> None:
    head, *rest = segments
    if isinstance(target, list):
        for item in target:
            _drop(item, segments)
    elif isinstance(target, dict) and head in target:
        if rest:
            _drop(target[head], rest)
        else:
            del target[head]
