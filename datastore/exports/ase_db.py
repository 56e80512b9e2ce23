"""ASE database (SQLite): rows with results, key-value pairs to select by, and the whole label under ``data``.

A row's energy is the free energy, whose derivatives its forces and stress are; its ``magmoms`` are the converged
moments, its initial ones those asked for. ``data["spinmultinet"]`` holds the label as documents do.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from datastore.atoms import point_to_atoms
from datastore.exports.labels import LABEL, Labelled
from datastore.schema import SpinPoint

PAIRS = (
    "ordering",
    "ordering_found",
    "deformation",
    "verdict",
    "campaign",
    "engine",
    "parent",
    "pair_id",
    "generation",
)
"""Fields of a label that become key-value pairs of its row, with ids, ``cell_type`` and ``split``."""


def write(path: Path, labels: Iterable[Labelled]) -> int:
    """Write labels to a new database; returns how many."""
    from ase.db import connect

    count = 0
    with connect(str(path), type="db", append=False, use_lock_file=False) as database:
        for labelled in labels:
            atoms = point_to_atoms(labelled.point)
            atoms.calc.results["energy"] = labelled.point.free_energy
            document = labelled.point.to_document()
            database.write(atoms, key_value_pairs=_accepted(_pairs(labelled)), data={LABEL: document})
            count += 1
    return count


def _pairs(labelled: Labelled) -> dict[str, Any]:
    point: SpinPoint = labelled.point
    pairs = {name: getattr(point, name) for name in PAIRS}
    ids = {"point_id": point.point_id, "level_id": point.level_id, "cell_type": point.cell, "split": labelled.split}
    return pairs | ids


def _accepted(pairs: dict[str, Any]) -> dict[str, Any]:
    """Those that ASE takes: no empty texts, and none that look like a number."""
    from ase.db.core import check

    found = {}
    for key, value in pairs.items():
        with suppress(ValueError):
            check({key: value})
            if value != "":
                found[key] = value
    return found
