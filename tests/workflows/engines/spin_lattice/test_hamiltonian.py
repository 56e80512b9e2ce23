"""The oxide model: exact derivatives, symmetries, size consistency, smoothness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workflows.engines.spin_lattice.oxides import (
    ENGINE,
    MIXED,
    changed,
    hamiltonian,
    oxide,
    relaxed_energy,
    strained,
)


def test_forces_at_converged_moments_match_finite_differences():
    point, step = ENGINE.label(MIXED), 1e-4
    for site, axis in np.ndindex(len(MIXED.species), 3):
        energies = []
        for sign in (1, -1):
            positions = MIXED.positions.copy()
            positions[site, axis] += sign * step
            energies.append(relaxed_energy(changed(MIXED, positions=positions), point.magmoms_out))
        assert point.forces[site, axis] == pytest.approx(-(energies[0] - energies[1]) / 2 / step, abs=2e-6)


def test_stress_matches_finite_differences():
    point, step = ENGINE.label(MIXED), 1e-4
    volume = abs(np.linalg.det(MIXED.lattice))
    for a in range(3):
        for b in range(a, 3):
            strain = np.zeros((3, 3))
            strain[a, b] += step / 2
            strain[b, a] += step / 2
            energies = [relaxed_energy(strained(MIXED, sign * strain), point.magmoms_out) for sign in (1, -1)]
            assert point.stress[a, b] == pytest.approx((energies[0] - energies[1]) / 2 / step / volume, abs=1e-6)


@pytest.mark.parametrize("columns", [1, 3])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_moment_gradient_and_hessian_match_finite_differences(columns, seed):
    h, rng, step = hamiltonian(MIXED), np.random.default_rng(seed), 1e-5
    m = 2 * rng.normal(size=(h.n, columns))
    m = m if columns == 3 else m[:, 0]
    direction = rng.normal(size=m.shape)
    slope = (h.energy(m + step * direction) - h.energy(m - step * direction)) / 2 / step
    assert np.sum(h.moment_gradient(m) * direction) == pytest.approx(slope, rel=1e-5, abs=1e-6)
    row = (h.moment_gradient(m + step * direction) - h.moment_gradient(m - step * direction)) / 2 / step
    assert h.moment_hessian(m) @ direction.ravel() == pytest.approx(row.ravel(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("columns", [1, 3])
def test_magnetic_forces_of_held_moments_match_finite_differences(columns):
    m = np.random.default_rng(3).normal(size=(8, columns)).reshape((8, 3) if columns == 3 else 8)
    held = changed(MIXED, magmoms_in=m, moment_role="constraint")
    forces, step = ENGINE.label(held).magnetic_forces, 1e-5
    assert forces.shape == m.shape
    direction = np.random.default_rng(4).normal(size=m.shape)
    energies = [ENGINE.label(changed(held, magmoms_in=m + s * step * direction)).energy for s in (1, -1)]
    assert -np.sum(forces * direction) == pytest.approx((energies[0] - energies[1]) / 2 / step, rel=1e-6)
    assert ENGINE.label(MIXED).magnetic_forces is None


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rotation_of_spins_inversion_permutation_and_time_reversal(seed):
    rng = np.random.default_rng(seed)
    m = 2 * rng.normal(size=(8, 3))
    h = hamiltonian(MIXED)
    energy, (forces, stress) = h.energy(m), h.forces_and_stress(m)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert h.energy(m @ rotation) == pytest.approx(energy, abs=1e-8)
    assert h.energy(-m) == pytest.approx(energy, abs=1e-10)
    order = rng.permutation(8)
    other = changed(MIXED, species=[MIXED.species[i] for i in order], positions=MIXED.positions[order])
    assert hamiltonian(other).energy(m[order]) == pytest.approx(energy, abs=1e-8)
    turned = changed(MIXED, lattice=MIXED.lattice @ rotation, positions=MIXED.positions @ rotation)
    found, turned_stress = hamiltonian(turned).forces_and_stress(m)
    assert found == pytest.approx(forces @ rotation, abs=1e-8)
    assert turned_stress == pytest.approx(rotation.T @ stress @ rotation, abs=1e-9)


def test_vectors_along_one_axis_are_collinear():
    m = ENGINE.label(MIXED).magmoms_out
    h = hamiltonian(MIXED)
    axis = np.array([2, -1, 2]) / 3
    vectors = np.outer(m, axis)
    assert h.energy(vectors) == pytest.approx(h.energy(m), abs=1e-9)
    held = ENGINE.label(changed(MIXED, magmoms_in=vectors, moment_role="constraint"))
    assert held.forces == pytest.approx(ENGINE.label(MIXED).forces, abs=1e-9)


def test_energy_is_extensive_and_images_are_right():
    """4, 8 and 64 atoms of one crystal: the small cells see only images of themselves."""
    for ordering in ("FM", "AFM-II"):
        small = ENGINE.label(oxide(ordering=ordering, cell="rhombohedral4"))
        for cell, copies in {"all8": 2, "conventional_2x2x2": 16}.items():
            large = ENGINE.label(oxide(ordering=ordering, cell=cell))
            assert large.energy == pytest.approx(copies * small.energy, abs=1e-6)
            assert large.stress == pytest.approx(small.stress, abs=1e-8)


def test_translation_and_wrapping():
    point = ENGINE.label(MIXED)
    moved = MIXED.positions + np.array([0.3, -0.2, 0.1])
    moved[2] += MIXED.lattice[0] - 2 * MIXED.lattice[1]
    assert ENGINE.label(changed(MIXED, positions=moved)).energy == pytest.approx(point.energy, abs=1e-9)


def test_smooth_where_neighbours_enter_the_cutoffs():
    """Energy along a long move of one atom has no steps: third differences stay small."""
    base = oxide(noise=0.05)
    moments = ENGINE.label(base).magmoms_out
    energies = []
    for x in np.linspace(0, 0.4, 401):
        positions = base.positions.copy()
        positions[0, 0] += x
        energies.append(relaxed_energy(changed(base, positions=positions), moments))
    assert np.abs(np.diff(energies, 3)).max() < 1e-5
