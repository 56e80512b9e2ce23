"""Candidates and tests from the PBE+U labels in benchmarks/data: pool-based, a part of the labels is hidden.

AFM-I is never a candidate (``unseen``). Of the geometries of the others a share is for testing (``seen``), other ones
for every seed; a geometry is either for testing or among the candidates, in all its orderings.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

from benchmarks.paper_tables.data import from_files

FILE = Path(__file__).parents[1] / "data" / "gpaw_pool.extxyz"
UNSEEN = "AFM-I"
TESTED = 0.3
"""Share of the geometries."""


def first_principles(folder: Path, seed: int) -> tuple[list[Atoms], dict[str, list[Atoms]]]:
    """Candidates and tests (``seen``, ``unseen``); labels that the project's rules reject are in none of them."""
    data = from_files([FILE], folder / "gpaw", 0)
    frames = sorted([*data.train, *data.val, *data.test], key=lambda atoms: str(atoms.info["config_id"]))
    for atoms in frames:
        atoms.info.pop("split", None)
    unseen = [atoms for atoms in frames if atoms.info["ordering"] == UNSEEN]
    others = [atoms for atoms in frames if atoms.info["ordering"] != UNSEEN]
    geometries = sorted({str(atoms.info["pair_id"]) for atoms in others})
    drawn = np.random.default_rng(seed).permutation(geometries)[: round(TESTED * len(geometries))]
    tested = set(drawn.tolist())
    seen = [atoms for atoms in others if atoms.info["pair_id"] in tested]
    return [atoms for atoms in others if atoms.info["pair_id"] not in tested], {"seen": seen, "unseen": unseen}
