"""What no candidate may be: unphysical geometries are dropped and counted, one bad frame never ends a search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from datastore.atoms import config_to_atoms
from datastore.schema import SpinConfig
from workflows.exploration.task import SEARCHING, Task
from workflows.learning import ExploreOptions
from workflows.progress import report

FloatArray = NDArray[np.float64]

NOT_FINITE, CONTACT, VOLUME, FORCE = "not finite", "close contact", "volume", "force"
TOGETHER = 64
"""Candidates per call of the committee, so that progress is seen."""


def bad_geometry(atoms: Atoms, options: ExploreOptions, parent_lattice: FloatArray | None = None) -> str:
    """Why a geometry is none: one of NOT_FINITE, CONTACT, VOLUME; '' where nothing is wrong.

    CONTACT: two atoms, periodic images included, nearer than ``min_distance`` times the sum of their covalent radii.
    VOLUME: outside the range ``volume`` times that of ``parent_lattice`` (3, 3), which holds as many atoms.
    """
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return NOT_FINITE
    if parent_lattice is not None:
        low, high = options.volume
        ratio = abs(np.linalg.det(atoms.cell.array) / np.linalg.det(parent_lattice))
        if not low <= ratio <= high:  # before the contacts: a collapsed cell has very many neighbours
            return VOLUME
    radii = [options.min_distance * covalent_radii[atomic_numbers[symbol]] for symbol in atoms.symbols]
    return CONTACT if len(neighbor_list("i", atoms, radii)) else ""


def keep_physical(task: Task, configs: Sequence[SpinConfig], asked: bool) -> list[SpinConfig]:
    """Candidates without the unphysical ones, which are counted in ``task.dropped``.

    ``asked``: the user asked for these geometries, so that only contacts are looked at. Others are predicted once each:
    FORCE is a predicted force above ``max_force`` (eV/Angstrom), or one that is no number.
    """
    options = task.options.active_learning.explore
    kept = []
    for config in configs:
        reason = bad_geometry(config_to_atoms(config), options, None if asked else config.parent_lattice)
        if reason:
            task.dropped[reason] += 1
        else:
            kept.append(config)
    return kept if asked else _with_small_forces(task, kept, options.max_force)


def _with_small_forces(task: Task, configs: list[SpinConfig], limit: float) -> list[SpinConfig]:
    kept = []
    for start in range(0, len(configs), TOGETHER):
        report(SEARCHING + (1 - SEARCHING) * start / len(configs), f"{task.source}: forces")
        part = configs[start : start + TOGETHER]
        results = task.calculator.calculate_many([config_to_atoms(config) for config in part])
        small = [bool(np.linalg.norm(r["forces"], axis=1).max() <= limit) for r in results]  # NaN is not
        kept += [config for config, good in zip(part, small, strict=True) if good]
        task.dropped[FORCE] += small.count(False)
    return kept
