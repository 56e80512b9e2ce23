"""The table of labels: a page of it at a time, filtered, sorted and counted by the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydash import get

from datastore import SpinStore
from datastore.errors import DataError
from datastore.filters import path_of
from datastore.levels import names
from datastore.select import count as matching
from datastore.select import select
from workflows.names import short_name

PAGE = 25
"""Labels of a page unless asked otherwise."""

LARGEST = 200
LAST = 1_000_000

FIELDS = (
    *("point_id", "formula", "cell", "ordering", "ordering_found", "deformation", "generation", "energy", "species"),
    *("total_moment", "verdict", "verdict_reasons", "campaign", "level_id", "level_of_theory", path_of("fmax")),
)
SORTABLE = ("generation", "cell", "energy_per_atom", "fmax")
"""Columns that have an index of their own: sorting by others would read all labels."""

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
        if not (1 <= self.size <= LARGEST and 1 <= self.page <= LAST):
            raise DataError(f"pages are numbered from 1 to {LAST} and have 1 to {LARGEST} labels")

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
    found = list(select(store, query.where, FIELDS, query.sort, query.size, skip=skip))
    levels = names({str(d.get("level_id")): d.get("level_of_theory") or {} for d in found})
    return [_row(document, levels) for document in found]


def count(store: SpinStore, query: Query) -> int:
    """How many labels match, on all pages."""
    return matching(store, query.where)


def _row(document: Mapping[str, Any], levels: Mapping[str, str]) -> Row:
    """Cells of one label. Whatever a document holds, a cell is text, a number or None."""
    found = document.get("ordering_found")
    atoms = len(document.get("species") or ()) or 1
    energy = document.get("energy")
    reasons = document.get("verdict_reasons") or []
    return {
        **{name: _plain(document.get(name)) for name in ("point_id", "formula", "cell", "deformation", "campaign")},
        **{name: _plain(document.get(name)) for name in ("generation", "total_moment", "verdict")},
        "ordering": short_name(str(document.get("ordering", ""))),
        "found": "" if found == document.get("ordering") else short_name(str(found)),
        "atoms": atoms,
        "energy_per_atom": energy / atoms if isinstance(energy, int | float) else None,
        "fmax": _plain(get(document, path_of("fmax"))),
        "reasons": "; ".join(map(str, reasons)),
        "level": levels.get(str(document.get("level_id")), ""),
    }


def _plain(value: Any) -> str | int | float | None:
    return value if isinstance(value, str | int | float) or value is None else str(value)
