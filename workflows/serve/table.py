"""The table of labels: a page of it at a time, filtered, sorted and counted by the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datastore import SpinStore
from datastore.errors import DataError
from datastore.filters import parse_filter, path_of
from datastore.levels import names
from datastore.stores import explained
from workflows.names import short_name

PAGE = 25
"""Labels of a page unless asked otherwise."""

LARGEST = 200

FIELDS = (
    *(
        "point_id",
        "formula",
        "cell",
        "ordering",
        "ordering_found",
        "deformation",
        "generation",
        "energy",
        "free_energy",
    ),
    *("total_moment", "verdict", "verdict_reasons", "campaign", "pair_id", "level_id", "level_of_theory", "species"),
)
SORTABLE = frozenset(
    {"formula", "cell", "ordering", "deformation", "generation", "energy", "total_moment", "verdict", "campaign"}
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """What is asked of the table; as text it is what addresses hold."""

    where: str = ""
    """In the language of ``data query``."""
    sort: str = ""
    """Field, with ``-`` before it for the largest first; empty: in order of arrival."""
    page: int = 1
    size: int = PAGE

    def __post_init__(self) -> None:
        if not (1 <= self.size <= LARGEST and self.page >= 1):
            raise DataError(f"pages are numbered from 1 and have 1 to {LARGEST} labels")

    @property
    def criteria(self) -> dict[str, Any]:
        """MongoDB criteria. Raises DataError where the filter cannot be read."""
        return parse_filter(self.where)

    @property
    def order(self) -> dict[str, int] | None:
        """MongoDB sort order. Raises DataError for unknown fields."""
        if not self.sort:
            return None
        field = self.sort.removeprefix("-")
        return {path_of(field): -1 if self.sort.startswith("-") else 1}

    @property
    def parameters(self) -> dict[str, str]:
        """Query part of an address, without what is as by default."""
        found = {"where": self.where, "sort": self.sort, "page": str(self.page), "size": str(self.size)}
        usual = {"where": "", "sort": "", "page": "1", "size": str(PAGE)}
        return {name: value for name, value in found.items() if value != usual[name]}


def read_query(parameters: Mapping[str, str]) -> Query:
    """The query of an address. Raises DataError where its numbers are none."""
    try:
        page, size = int(parameters.get("page", "1")), int(parameters.get("size", str(PAGE)))
    except ValueError:
        raise DataError("page and size are whole numbers") from None
    return Query(parameters.get("where", "").strip(), parameters.get("sort", "").strip(), page, size)


def read_page(store: SpinStore, query: Query) -> list[Row]:
    """Labels of one page as the table shows them: plain values, energies in eV per atom and per cell."""
    skip = (query.page - 1) * query.size
    with explained(store.uri):
        found = list(store.points.query(query.criteria, list(FIELDS), query.order, skip=skip, limit=query.size))
    levels = names({str(d.get("level_id")): d.get("level_of_theory") or {} for d in found})
    return [_row(document, levels) for document in found]


def count(store: SpinStore, query: Query) -> int:
    """How many labels match, on all pages."""
    with explained(store.uri):
        return int(store.points.count(query.criteria))


def _row(document: Mapping[str, Any], levels: Mapping[str, str]) -> Row:
    """Cells of one label. Whatever a document holds, a cell is text, a number or None."""
    found = document.get("ordering_found")
    atoms = len(document.get("species") or ()) or 1
    free = document.get("free_energy")
    reasons = document.get("verdict_reasons") or []
    return {
        **{name: _plain(document.get(name)) for name in ("point_id", "formula", "cell", "deformation", "campaign")},
        **{name: _plain(document.get(name)) for name in ("generation", "energy", "total_moment", "verdict", "pair_id")},
        "ordering": short_name(str(document.get("ordering", ""))),
        "found": "" if found == document.get("ordering") else short_name(str(found)),
        "atoms": atoms,
        "per_atom": free / atoms if isinstance(free, int | float) else None,
        "reasons": "; ".join(map(str, reasons)),
        "level": levels.get(str(document.get("level_id")), ""),
    }


def _plain(value: Any) -> str | int | float | None:
    return value if isinstance(value, str | int | float) or value is None else str(value)
