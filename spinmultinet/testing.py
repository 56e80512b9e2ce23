"""Asserts that any model must pass: symmetries, derivatives, smoothness. Usable on whatever predicts a structure.

Each takes `predict`: Atoms -> mapping with energy (eV), forces [N, 3], stress [3, 3], magmoms [N] or [N, 3] (optional),
for example `predictor(model)`. The input moments are read from the array `magmom_in`. Failures raise AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from . import keys
from .evaluate import predict as predict_many
from .model import SpinMultiNet

_SPACING = 1.7  # Angstrom; closer random atoms only make finite differences noisy
Predict = Callable[[Atoms], Mapping[str, Any]]


def predictor(model: SpinMultiNet) -> Predict:
    """The function these asserts take, for a SpinMultiNet."""
    return lambda atoms: predict_many(model, [atoms])[0]


def random_structure(
    rng: np.random.Generator,
    species: Sequence[str] = ("Ni", "O"),
    n_atoms: int = 4,
    periodic: bool = True,
    axes: int = 1,
) -> Atoms:
    """A random structure with random moments in `magmom_in` (muB; [N], or [N, 3] for three axes), one of them zero."""
    side = _SPACING * (n_atoms + 1) ** (1 / 3) * 1.3
    cell = side * (np.eye(3) + 0.15 * rng.normal(size=(3, 3)))
    positions: list[np.ndarray] = []
    for _ in range(10_000):
        trial = rng.random(3) @ cell
        if all(np.linalg.norm(trial - p) > _SPACING for p in positions):
            positions.append(trial)
        if len(positions) == n_atoms:
            break
    atoms = Atoms(rng.choice(list(species), len(positions)), positions, cell=cell, pbc=periodic)
    moments = rng.normal(scale=2.0, size=(len(atoms), axes))
    moments[0] = 0.0
    atoms.set_array(keys.MAGMOM_IN, moments[:, 0] if axes == 1 else moments)
    return atoms


def _close(a: Any, b: Any, tol: float, what: str) -> None:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    both_nan = np.isnan(a) & np.isnan(b)
    scale = max(1.0, float(np.nanmax(np.abs(b), initial=0.0)))
    worst = float(np.max(np.where(both_nan, 0.0, np.abs(a - b)), initial=0.0))
    assert worst <= tol * scale, f"{what} differs by {worst:.3g} (allowed {tol * scale:.3g})"


def assert_same(
    a: Mapping[str, Any], b: Mapping[str, Any], tol: float, what: str, *, rotation: np.ndarray | None = None
) -> None:
    """Prediction `a`, rotated by `rotation` [3, 3] in real space, equals `b`; moments do not rotate with space."""
    r = np.eye(3) if rotation is None else rotation
    _close(a["energy"], b["energy"], tol, f"{what}: energy")
    _close(a["forces"] @ r.T, b["forces"], tol, f"{what}: forces")
    _close(r @ a["stress"] @ r.T, b["stress"], tol, f"{what}: stress")
    if "magmoms" in b:
        _close(a["magmoms"], b["magmoms"], tol, f"{what}: moments")


def check_orthogonal(predict: Predict, atoms: Atoms, matrix: np.ndarray, tol: float = 1e-9) -> None:
    """Rotation or rotoinversion `matrix` [3, 3] of the structure rotates forces and stress and nothing else."""
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ matrix.T)
    turned.positions = atoms.positions @ matrix.T
    assert_same(predict(atoms), predict(turned), tol, "orthogonal transformation", rotation=matrix)


def check_inversion(predict: Predict, atoms: Atoms, tol: float = 1e-9) -> None:
    """Spatial inversion turns the forces round and changes nothing else."""
    check_orthogonal(predict, atoms, -np.eye(3), tol)


def check_translation(predict: Predict, atoms: Atoms, shift: np.ndarray, tol: float = 1e-9) -> None:
    """A shift [3] (Angstrom) of all atoms changes nothing, and neither does wrapping them into the cell."""
    moved = atoms.copy()
    moved.positions = moved.positions + shift
    if atoms.pbc.all():
        moved.wrap()
    assert_same(predict(atoms), predict(moved), tol, "translation")


def check_permutation(predict: Predict, atoms: Atoms, order: np.ndarray, tol: float = 1e-9) -> None:
    """Reordering the atoms reorders forces and moments."""
    a, b = dict(predict(atoms)), predict(atoms[order])
    for key in ("forces", "magmoms"):
        if key in a:
            a[key] = np.asarray(a[key])[order]
    assert_same(a, b, tol, "permutation")


def check_time_reversal(predict: Predict, atoms: Atoms, tol: float = 1e-9) -> None:
    """Reversing all input moments reverses the predicted ones and leaves energy, forces and stress."""
    flipped = atoms.copy()
    flipped.arrays[keys.MAGMOM_IN] = -atoms.arrays[keys.MAGMOM_IN]
    a, b = dict(predict(atoms)), predict(flipped)
    if "magmoms" in a:
        a["magmoms"] = -np.asarray(a["magmoms"])
    assert_same(a, b, tol, "time reversal")


def check_supercell(
    predict: Predict, atoms: Atoms, repeat: tuple[int, int, int] = (2, 1, 1), tol: float = 1e-9
) -> None:
    """Energy is extensive; forces, stress and moments repeat."""
    a, b = dict(predict(atoms)), predict(atoms.repeat(repeat))
    n = int(np.prod(repeat))
    a["energy"] = a["energy"] * n
    a["forces"] = np.tile(a["forces"], (n, 1))
    if "magmoms" in a:
        a["magmoms"] = np.tile(a["magmoms"], (n,) + (1,) * (np.ndim(a["magmoms"]) - 1))
    assert_same(a, b, tol, "supercell")


def check_forces(predict: Predict, atoms: Atoms, atom: int = 0, step: float = 3e-4, tol: float = 1e-6) -> None:
    """Forces on one atom equal differences of the energy (step in Angstrom, tol in eV/Angstrom, relative above 1)."""
    forces = np.asarray(predict(atoms)["forces"])[atom]
    for axis in range(3):

        def energy(x: float, axis: int = axis) -> float:
            moved = atoms.copy()
            moved.positions[atom, axis] += x
            return float(predict(moved)["energy"])

        _close(-_slope(energy, step), forces[axis], tol, f"force on atom {atom} along {'xyz'[axis]}")


def check_stress(predict: Predict, atoms: Atoms, step: float = 1e-4, tol: float = 1e-6) -> None:
    """Stress equals differences of the energy under symmetric strain over the volume (tol in eV/Angstrom^3)."""
    stress = np.asarray(predict(atoms)["stress"])
    for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):

        def energy(x: float, i: int = i, j: int = j) -> float:
            strain = np.zeros((3, 3))
            strain[i, j] += 0.5 * x
            strain[j, i] += 0.5 * x
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            return float(predict(strained)["energy"])

        slope = _slope(energy, step) / atoms.cell.volume
        _close(slope, stress[i, j], tol, f"stress component {'xyz'[i]}{'xyz'[j]}")


def _slope(energy: Callable[[float], float], h: float) -> float:
    """Five-point difference at zero: its error falls with h^4, as networks with random weights need."""
    return (8 * (energy(h) - energy(-h)) - (energy(2 * h) - energy(-2 * h))) / (12 * h)


def check_spin_matters(predict: Predict, atoms: Atoms, site: int, least: float = 1e-8) -> None:
    """Flipping the moment of one site among several magnetic ones changes the energy by more than `least` (eV)."""
    flipped = atoms.copy()
    flipped.arrays[keys.MAGMOM_IN][site] *= -1
    change = abs(predict(flipped)["energy"] - predict(atoms)["energy"])
    assert change > least, f"one spin flip changes the energy by only {change:.3g} eV: spin channels are dead"


def check_all(predict: Predict, atoms: Atoms, rng: np.random.Generator, tol: float = 1e-9) -> None:
    """All symmetries with random transformations; forces and stress too (finite differences want float64)."""
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    check_orthogonal(predict, atoms, matrix, tol)
    check_inversion(predict, atoms, tol)
    check_translation(predict, atoms, rng.normal(size=3), tol)
    check_permutation(predict, atoms, rng.permutation(len(atoms)), tol)
    check_time_reversal(predict, atoms, tol)
    check_forces(predict, atoms, int(rng.integers(len(atoms))))
    if atoms.pbc.all():
        check_supercell(predict, atoms, tol=tol)
        check_stress(predict, atoms)
