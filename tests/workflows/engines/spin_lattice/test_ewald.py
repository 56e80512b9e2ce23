"""Ewald's sum: Madelung constants, another implementation, derivatives, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.core import Lattice, Structure

from workflows.engines.spin_lattice import ewald
from workflows.engines.spin_lattice.geometry import Pairs


def electrostatics(lattice, positions, charges):
    """Energy, forces and strain derivative of point charges."""
    pairs = Pairs.build(lattice, positions, ewald.CUTOFF)
    near = ewald.near(pairs.d, charges[pairs.i] * charges[pairs.j])
    far = ewald.far(lattice, positions, charges)
    gradient = (near.slope / pairs.d)[:, None] * pairs.D
    forces = far.forces.copy()
    np.add.at(forces, pairs.i, gradient)
    np.add.at(forces, pairs.j, -gradient)
    return near.value.sum() + far.energy, forces, pairs.D.T @ gradient + far.strain


def random_crystal(seed: int, n: int = 6):
    rng = np.random.default_rng(seed)
    lattice = 5 * np.eye(3) + 0.6 * rng.normal(size=(3, 3))
    fractional = (np.arange(n)[:, None] / n + [0, 0.5, 0.25]) % 1 + 0.03 * rng.normal(size=(n, 3))
    charges = rng.normal(size=n)
    return lattice, fractional @ lattice, charges - charges.mean()


@pytest.mark.parametrize(
    ("name", "fractional", "shortest", "madelung"),
    [
        # Madelung constants per nearest-neighbour distance: Borwein, Borwein and Taylor, J. Math. Phys. 26, 2999 (1985)
        ("rocksalt", [[0, 0, 0], [0.5, 0.5, 0.5]], 0.5, 1.7475645946),
        ("caesium chloride", [[0, 0, 0], [0.5, 0.5, 0.5]], np.sqrt(3) / 2, 1.7626747731),
    ],
)
def test_madelung_constants(name, fractional, shortest, madelung):
    a = 4.2
    cubic = {"rocksalt": a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0.0]]), "caesium chloride": a * np.eye(3)}[name]
    energy, forces, _ = electrostatics(cubic, np.array(fractional) @ cubic, np.array([1.0, -1.0]))
    assert energy == pytest.approx(-madelung * ewald.COULOMB / (shortest * a), rel=1e-8)
    assert forces == pytest.approx(np.zeros((2, 3)), abs=1e-9)


def test_energy_and_forces_agree_with_pymatgen():
    lattice, positions, charges = random_crystal(3)
    structure = Structure(Lattice(lattice), ["H"] * 6, positions, coords_are_cartesian=True)
    structure.add_oxidation_state_by_site(list(charges))
    other = EwaldSummation(structure, acc_factor=16, compute_forces=True)
    energy, forces, _ = electrostatics(lattice, positions, charges)
    assert energy == pytest.approx(other.total_energy, abs=2e-5)
    assert forces == pytest.approx(other.forces, abs=2e-5)


def test_forces_and_strain_derivative_match_finite_differences():
    lattice, positions, charges = random_crystal(5)
    _, forces, strain = electrostatics(lattice, positions, charges)
    step = 1e-4
    for site, axis in np.ndindex(6, 3):
        moved = np.zeros((6, 3))
        moved[site, axis] = step
        ends = [electrostatics(lattice, positions + s * moved, charges)[0] for s in (1, -1)]
        assert forces[site, axis] == pytest.approx(-(ends[0] - ends[1]) / 2 / step, abs=1e-6)
    for a, b in np.ndindex(3, 3):
        small = np.zeros((3, 3))
        small[a, b] = step
        ends = [
            electrostatics(lattice @ (np.eye(3) + s * small), positions @ (np.eye(3) + s * small), charges)[0]
            for s in (1, -1)
        ]
        assert strain[a, b] == pytest.approx((ends[0] - ends[1]) / 2 / step, abs=2e-5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.tuples(*[st.floats(-9, 9)] * 3))
def test_choice_of_cell_repetition_and_origin_do_not_matter(seed, shift):
    lattice, positions, charges = random_crystal(seed)
    energy, forces, _ = electrostatics(lattice, positions, charges)
    other_cell = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]]) @ lattice
    skewed = electrostatics(other_cell, positions + shift, charges)
    assert skewed[0] == pytest.approx(energy, abs=1e-6)
    assert skewed[1] == pytest.approx(forces, abs=1e-6)
    doubled = np.diag([2, 1, 1]) @ lattice
    twice = electrostatics(doubled, np.concatenate([positions, positions + lattice[0]]), np.tile(charges, 2))
    assert twice[0] == pytest.approx(2 * energy, abs=1e-6)
    assert twice[1][:6] == pytest.approx(forces, abs=1e-6)
