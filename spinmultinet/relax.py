"""Relaxation of atoms and cell at a given ordering, carrying the moments from step to step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from . import keys
from .data import input_moments
from .errors import SpinMultiNetError

_OPTIMISERS = {"BFGS": BFGS, "FIRE": FIRE, "LBFGS": LBFGS}
Carry = Literal["fixed", "signs", "values"]
DEFAULT_CARRY: dict[str, Carry] = {keys.GUESS: "signs", keys.CONSTRAINT: "fixed"}
"""By the role that a model gives its input moments; a calculator that does not say is taken for one of guesses."""


@dataclass(frozen=True)
class RelaxResult:
    """Relaxed structure (with its calculator), energy (eV), largest force (eV/Angstrom) and predicted moments (muB).

    `moments_history` is [steps + 1][N]; `flipped` are the sites whose sign left the ordering asked for.
    """

    atoms: Atoms
    energy: float
    fmax: float
    magmoms: np.ndarray
    converged: bool
    steps: int
    flipped: list[int]
    energies: list[float] = field(default_factory=list)
    moments_history: list[list[float]] = field(default_factory=list)


def relax(
    atoms: Atoms,
    calculator: Calculator,
    *,
    fmax: float = 0.001,
    steps: int = 200,
    relax_cell: bool | Literal["volume"] = True,
    carry: Carry | None = None,
    optimizer: str = "LBFGS",
    logfile: Any = None,
    watch: Callable[[Atoms], None] | None = None,
) -> RelaxResult:
    """Relax a copy of `atoms` to forces (and stress times volume per atom, through the cell filter) below `fmax`.

    `carry` says which input moments the next step gets. fixed: those asked for. signs (for models of guess data): the
    magnitudes asked for, with the signs just predicted, so that a spin that flips stays flipped and the network keeps
    seeing the estimates it was trained on. values: the predicted moments themselves (for self-consistent use).
    Default: fixed for a model of constrained moments, which are held by definition, else signs.
    `relax_cell="volume"` scales the cell and keeps its shape; ASE constraints of `atoms` hold (FixAtoms keeps
    fractional coordinates). `watch` gets the structure, with its results, after every step.
    The default `fmax` (eV/Angstrom) is tight for the angles: at 0.01 half of a rhombohedral distortion is missing.
    Raises SpinMultiNetError for missing moments, an unknown optimiser, a structure that cannot be strained, or moments
    that should move with a model that holds them.
    """
    _check(atoms, optimizer, relax_cell)
    carry = _checked_carry(calculator, carry)
    work = atoms.copy()
    asked = input_moments(work, required=not hasattr(calculator, "model") or calculator.model.options.spin)
    if keys.MAGMOM_IN in work.arrays:
        del work.arrays[keys.MAGMOM_IN]  # one source of truth while the moments move
    work.set_initial_magnetic_moments(asked)
    work.calc = calculator
    target = FrechetCellFilter(work, hydrostatic_strain=relax_cell == "volume") if relax_cell else work
    run = _OPTIMISERS[optimizer](target, logfile=logfile)
    energies: list[float] = []
    moments: list[list[float]] = []
    converged = False
    for step in run.irun(fmax=fmax, steps=steps):
        converged = bool(step)
        energies.append(float(work.get_potential_energy()))
        predicted = _moments(work)
        moments.append(predicted.tolist())
        if watch is not None:
            watch(work)
        carried = _next_input(asked, predicted, carry)
        if not np.array_equal(carried, work.get_initial_magnetic_moments()):
            work.set_initial_magnetic_moments(carried)
    final = _moments(work)
    return RelaxResult(
        work,
        float(work.get_potential_energy()),
        float(np.linalg.norm(work.get_forces(), axis=1).max()),
        final,
        converged,
        len(energies) - 1,
        flipped_sites(asked, final),
        energies,
        moments,
    )


def _check(atoms: Atoms, optimizer: str, relax_cell: bool | Literal["volume"]) -> None:
    if optimizer not in _OPTIMISERS:
        raise SpinMultiNetError(f"unknown optimiser '{optimizer}'; choose one of {', '.join(_OPTIMISERS)}")
    if relax_cell and not all(atoms.pbc):
        raise SpinMultiNetError(
            "the cell can only be relaxed if the structure is periodic in all three directions; use relax_cell=False"
        )


def _checked_carry(calculator: Calculator, carry: Carry | None) -> Carry:
    role = getattr(calculator, keys.MOMENT_ROLE, keys.GUESS)
    if role == keys.CONSTRAINT and carry not in (None, "fixed"):
        raise SpinMultiNetError(
            f"carry '{carry}' moves the moments, but the model's {keys.MOMENT_ROLE} is '{role}': it was trained on "
            "moments that were held; use carry='fixed', or a model of guesses"
        )
    return carry or DEFAULT_CARRY[role]


def _moments(atoms: Atoms) -> np.ndarray:
    assert atoms.calc is not None
    atoms.get_potential_energy()
    found = atoms.calc.results.get("magmoms")
    return np.zeros(len(atoms)) if found is None else np.asarray(found, dtype=float)


def _next_input(asked: np.ndarray, predicted: np.ndarray, carry: Carry) -> np.ndarray:
    if carry == "fixed":
        return asked
    if carry == "values":
        return predicted
    if asked.ndim == 2:
        length = np.linalg.norm(asked, axis=1, keepdims=True)
        direction = predicted / np.maximum(np.linalg.norm(predicted, axis=1, keepdims=True), 1e-12)
        return np.asarray(length * direction)
    return np.where(predicted * asked < 0, -asked, asked)


def flipped_sites(asked: np.ndarray, final: np.ndarray) -> list[int]:
    """Sites against the ordering asked for, modulo one global flip (time reversal makes both the same state)."""
    overlap = (asked * final).reshape(len(asked), -1).sum(1)
    if (overlap < 0).sum() > (overlap > 0).sum():
        overlap = -overlap
    return [int(k) for k in np.flatnonzero(overlap < 0)]
