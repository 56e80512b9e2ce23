"""Asserts that any model must pass: symmetries, derivatives, smoothness. Usable on whatever predicts a structure.

Each takes `predict`: Atoms -> mapping with energy (eV), forces [N, 3], stress [3, 3] and, if it has them, magmoms and
magnetic_forces [N] or [N, 3] (muB, eV/muB); for example `predictor(model)`. The input moments are read from the array
`magmom_in`. Failures raise AssertionError. Tolerances are relative where values exceed one.

    >>> check_all(predictor(model), atoms, np.random.default_rng(0))  # doctest: +SKIP
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
_PER_MOMENT = {"magmoms": "moments", "magnetic_forces": "magnetic forces"}
Predict = Callable[[Atoms], Mapping[str, Any]]


def predictor(model: SpinMultiNet) -> Predict:
    """The function these asserts take, for a SpinMultiNet; with magnetic_forces if it is of constrained moments."""
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
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    tol: float,
    what: str,
    *,
    rotation: np.ndarray | None = None,
    spin_rotation: np.ndarray | None = None,
) -> None:
    """Prediction `a`, turned by `rotation` [3, 3] in space and by `spin_rotation` [3, 3] in spin space, equals `b`."""
    r = np.eye(3) if rotation is None else rotation
    _close(a["energy"], b["energy"], tol, f"{what}: energy")
    _close(a["forces"] @ r.T, b["forces"], tol, f"{what}: forces")
    _close(r @ a["stress"] @ r.T, b["stress"], tol, f"{what}: stress")
    for key, name in _PER_MOMENT.items():
        if key in b:
            turned = a[key] if spin_rotation is None else np.asarray(a[key]) @ spin_rotation.T
            _close(turned, b[key], tol, f"{what}: {name}")


def check_orthogonal(predict: Predict, atoms: Atoms, matrix: np.ndarray, tol: float = 1e-9) -> None:
    """Rotation or rotoinversion `matrix` [3, 3] of the structure rotates forces and stress and nothing else.

    Holds without spin-orbit coupling only, except for the inversion.
    """
    assert_same(predict(atoms), predict(_turned(atoms, matrix)), tol, "orthogonal transformation", rotation=matrix)


def check_spin_rotation(predict: Predict, atoms: Atoms, matrix: np.ndarray, tol: float = 1e-9) -> None:
    """Orthogonal `matrix` [3, 3] on all moments [N, 3] turns the predicted moments and nothing else (no spin-orbit)."""
    turned = _with_moments(atoms, atoms.arrays[keys.MAGMOM_IN] @ matrix.T)
    assert_same(predict(atoms), predict(turned), tol, "spin rotation", spin_rotation=matrix)


def check_joint_rotation(predict: Predict, atoms: Atoms, matrix: np.ndarray, tol: float = 1e-9) -> None:
    """Orthogonal `matrix` [3, 3] on structure and moments [N, 3] together: the symmetry left by spin-orbit coupling.

    Moments are axial vectors: a rotoinversion acts on them as the rotation in it.
    """
    axial = np.linalg.det(matrix) * matrix
    turned = _with_moments(_turned(atoms, matrix), atoms.arrays[keys.MAGMOM_IN] @ axial.T)
    assert_same(predict(atoms), predict(turned), tol, "joint rotation", rotation=matrix, spin_rotation=axial)


def check_embedding(predict: Predict, atoms: Atoms, axis: np.ndarray, tol: float = 1e-10) -> None:
    """Collinear moments [N] give what the vectors along `axis` [3] give: the same model takes both (no spin-orbit)."""
    unit = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    a = dict(predict(atoms))
    for key in _PER_MOMENT:
        if key in a:
            a[key] = np.asarray(a[key])[:, None] * unit
    assert_same(a, predict(_with_moments(atoms, atoms.arrays[keys.MAGMOM_IN][:, None] * unit)), tol, "embedding")


def _turned(atoms: Atoms, matrix: np.ndarray) -> Atoms:
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ matrix.T)
    turned.positions = atoms.positions @ matrix.T
    return turned


def _with_moments(atoms: Atoms, moments: np.ndarray) -> Atoms:
    changed = atoms.copy()
    del changed.arrays[keys.MAGMOM_IN]
    changed.set_array(keys.MAGMOM_IN, moments)
    return changed


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
    for key in ("forces", *_PER_MOMENT):
        if key in a:
            a[key] = np.asarray(a[key])[order]
    assert_same(a, b, tol, "permutation")


def check_time_reversal(predict: Predict, atoms: Atoms, tol: float = 1e-9) -> None:
    """Reversing all input moments reverses the predicted ones and leaves energy, forces and stress."""
    a, b = dict(predict(atoms)), predict(_with_moments(atoms, -atoms.arrays[keys.MAGMOM_IN]))
    for key in _PER_MOMENT:
        if key in a:
            a[key] = -np.asarray(a[key])
    assert_same(a, b, tol, "time reversal")


def check_supercell(
    predict: Predict, atoms: Atoms, repeat: tuple[int, int, int] = (2, 1, 1), tol: float = 1e-9
) -> None:
    """Energy is extensive; forces, stress and moments repeat."""
    a, b = dict(predict(atoms)), predict(atoms.repeat(repeat))
    n = int(np.prod(repeat))
    a["energy"] = a["energy"] * n
    a["forces"] = np.tile(a["forces"], (n, 1))
    for key in _PER_MOMENT:
        if key in a:
            a[key] = np.tile(a[key], (n,) + (1,) * (np.ndim(a[key]) - 1))
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


def check_magnetic_forces(predict: Predict, atoms: Atoms, atom: int = 0, step: float = 1e-3, tol: float = 1e-6) -> None:
    """-dE/dm of one atom equals differences of the energy (step in muB, tol in eV/muB); models of constraint data."""
    found = np.atleast_1d(predict(atoms)["magnetic_forces"][atom])
    shape = atoms.arrays[keys.MAGMOM_IN].shape
    moments = atoms.arrays[keys.MAGMOM_IN].reshape(len(atoms), -1)
    for axis, expected in enumerate(found):

        def energy(x: float, axis: int = axis) -> float:
            changed = moments.copy()
            changed[atom, axis] += x
            return float(predict(_with_moments(atoms, changed.reshape(shape)))["energy"])

        _close(-_slope(energy, step), expected, tol, f"magnetic force on atom {atom}, component {axis}")


def check_smooth(
    predict: Predict, cutoff: float, moments: np.ndarray, symbols: str = "NiNi", width: float = 1e-4
) -> None:
    """Two atoms with `moments` ([2] or [2, 3], muB) part at `cutoff` (Angstrom) without a step in energy or forces.

    Energy and force may change by 1e-6 (eV, eV/Angstrom) between `width` inside and the cutoff, and by nothing beyond.
    """

    def at(distance: float) -> tuple[float, float]:
        atoms = Atoms(symbols, [[0, 0, 0], [distance, 0, 0]])
        atoms.set_array(keys.MAGMOM_IN, np.asarray(moments, dtype=float))
        found = predict(atoms)
        return float(found["energy"]), float(np.asarray(found["forces"])[0, 0])

    inside, edge, outside = at(cutoff - width), at(cutoff), at(cutoff + width)
    assert outside == edge, f"the energy or force changes beyond the cutoff: {edge} to {outside}"
    _close(inside, edge, 1e-6, "energy or force at the cutoff")
    assert at(0.9 * cutoff) != edge, "a neighbour inside the cutoff does not act at all"


def _slope(energy: Callable[[float], float], h: float) -> float:
    """Five-point difference at zero: its error falls with h^4, as networks with random weights need."""
    return (8 * (energy(h) - energy(-h)) - (energy(2 * h) - energy(-2 * h))) / (12 * h)


def check_spin_matters(predict: Predict, atoms: Atoms, site: int, least: float = 1e-8) -> None:
    """Flipping the moment of one site among several magnetic ones changes the energy by more than `least` (eV)."""
    flipped = atoms.copy()
    flipped.arrays[keys.MAGMOM_IN][site] *= -1
    change = abs(predict(flipped)["energy"] - predict(atoms)["energy"])
    assert change > least, f"one spin flip changes the energy by only {change:.3g} eV: spin channels are dead"


def random_orthogonal(rng: np.random.Generator) -> np.ndarray:
    """A random rotation or rotoinversion [3, 3]."""
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.asarray(matrix)


def check_all(
    predict: Predict, atoms: Atoms, rng: np.random.Generator, tol: float = 1e-9, *, spin_orbit: bool = False
) -> None:
    """All symmetries with random transformations, and the derivatives (finite differences want float64).

    Vector moments are turned: with `spin_orbit` together with space, else on their own. Magnetic forces are looked at
    where `predict` gives them.
    """
    if spin_orbit:
        check_joint_rotation(predict, atoms, random_orthogonal(rng), tol)
    else:
        check_orthogonal(predict, atoms, random_orthogonal(rng), tol)
        if np.ndim(atoms.arrays[keys.MAGMOM_IN]) == 2:
            check_spin_rotation(predict, atoms, random_orthogonal(rng), tol)
    check_inversion(predict, atoms, tol)
    check_translation(predict, atoms, rng.normal(size=3), tol)
    check_permutation(predict, atoms, rng.permutation(len(atoms)), tol)
    check_time_reversal(predict, atoms, tol)
    check_forces(predict, atoms, int(rng.integers(len(atoms))))
    if "magnetic_forces" in predict(atoms):
        check_magnetic_forces(predict, atoms, int(rng.integers(len(atoms))))
    if atoms.pbc.all():
        check_supercell(predict, atoms, tol=tol)
        check_stress(predict, atoms)
