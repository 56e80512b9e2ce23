"""Are the numbers that came out those of the configuration that went in?

The inputs were checked before the run, and the outputs against each other after it. What is left: whole and consistent
outputs of something else, such as files of another folder, a cell that was standardised on the way, or sites in another
order. Nothing in such files is wrong by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from datastore.schema import FloatArray, SpinConfig
from workflows.engines.interface import LabelError

CLOSE = 1e-4
"""Angstrom, muB. vasprun.xml has eight digits."""


def check_result(result: Any, config: SpinConfig, folder: Path) -> None:
    """Raise LabelError (refused) unless a VaspResult in the caller's order is one of a single point of ``config``.

    Compared are the species, the lattice, each site (modulo the lattice) and the moments that VASP began with. Inputs
    of a left-handed lattice are written with all vectors reversed.
    """
    if list(result.species) != config.species:
        _refuse(folder, f"species {' '.join(result.species)}, expected {' '.join(config.species)}")
    lattice = config.lattice * np.sign(np.linalg.det(config.lattice) * np.linalg.det(result.lattice))
    if (off := float(np.abs(result.lattice - lattice).max())) > CLOSE:
        _refuse(folder, f"a lattice that is off by {off:.2g} Angstrom")
    away = (result.positions - config.positions) @ np.linalg.inv(config.lattice)
    distances = np.linalg.norm((away - np.round(away)) @ config.lattice, axis=1)
    if distances.max() > CLOSE:
        _refuse(
            folder, f"site {int(distances.argmax())} off by {distances.max():.2g} Angstrom; is its order another one?"
        )
    _check_moments(result.magmoms_in, config.magmoms_in, folder)


def _check_moments(found: FloatArray | None, asked: FloatArray, folder: Path) -> None:
    if found is None:
        _refuse(folder, "no MAGMOM")
    elif found.ndim > asked.ndim:
        asked = np.column_stack([np.zeros_like(asked), np.zeros_like(asked), asked])
    off = np.abs(np.asarray(found) - asked).reshape(len(asked), -1).max(axis=1)
    if off.max() > CLOSE:
        _refuse(folder, f"a MAGMOM that is off by {off.max():.2g} muB on site {int(off.argmax())}")


def _refuse(folder: Path, what: str) -> None:
    raise LabelError(f"{folder}: the outputs are not those of the configuration, they have {what}", "refused")
