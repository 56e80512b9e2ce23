"""CSV of scalars: one row per label, for spreadsheets and pandas. Not read back, because it has no structures."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from datastore.exports.labels import Labelled
from datastore.schema import SpinPoint

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that spreadsheets compute."""

_IDS = ("point_id", "config_id", "level_id", "formula", "ordering", "ordering_found", "cell", "parent", "pair_id")
TEXTS = (*_IDS, "deformation", "campaign", "engine", "engine_version", "moment_role", "verdict")
NUMBERS = ("generation", "energy", "free_energy", "total_moment", "band_gap", "excitation")
"""Energies in eV per cell, gap in eV, excitation in eV/atom, total moment in muB per cell."""

_DERIVED = ("free_energy_per_atom", "volume", "pressure", "largest_force", "largest_moment", "staggered_moment")
COLUMNS = (*TEXTS, "verdict_reasons", "split", "atoms", *NUMBERS, *_DERIVED, "wall_seconds")
"""volume in Angstrom^3, pressure in eV/Angstrom^3, largest_force in eV/Angstrom (length of a vector), largest_moment in
muB, staggered_moment in muB (mean length of the converged moments on sites asked to have one)."""


def write(path: Path, labels: Iterable[Labelled]) -> int:
    """Write labels; returns how many. Numbers have as many digits as it takes to read the same ones back."""
    count = 0
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for labelled in labels:
            table.writerow({name: _harmless(value) for name, value in row(labelled).items()})
            count += 1
    return count


def row(labelled: Labelled) -> dict[str, Any]:
    """The COLUMNS of a label; None (an empty cell) where it has no such number."""
    point: SpinPoint = labelled.point
    volume = abs(float(np.linalg.det(point.lattice)))
    lengths, asked = (_lengths(moments) for moments in (point.magmoms_out, point.magmoms_in))
    found = {name: getattr(point, name) for name in (*TEXTS, *NUMBERS)}
    return found | {
        "verdict_reasons": "; ".join(point.verdict_reasons),
        "split": labelled.split,
        "atoms": len(point.species),
        "free_energy_per_atom": point.free_energy / len(point.species),
        "volume": volume,
        "pressure": None if point.stress is None else -float(np.trace(point.stress)) / 3,
        "largest_force": float(_lengths(point.forces).max()),
        "largest_moment": float(lengths.max()),
        "staggered_moment": float(lengths[asked > 0].mean()) if (asked > 0).any() else None,
        "wall_seconds": point.timings.get("wall"),
    }


def _harmless(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _lengths(values: Any) -> Any:
    return np.abs(values) if values.ndim == 1 else np.linalg.norm(values, axis=1)
