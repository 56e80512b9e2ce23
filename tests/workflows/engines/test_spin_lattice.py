"""The spin-lattice model: derivatives, symmetries, size consistency, branches, physics and speed."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from datastore.schema import SpinConfig
from workflows.engines import LabelError, get_engine
from workflows.engines.spin_lattice.hamiltonian import Hamiltonian, switch
from workflows.engines.spin_lattice.moments import TOLERANCE, relax_moments
from workflows.engines.spin_lattice.table import TABLE
from workflows.structures import apply_ordering, rocksalt

ENGINE = get_engine("spin-lattice")
LATTICE = {"Ni": 4.27, "Co": 4.31, "Mn": 4.51}


def config(
    species: object = "Ni", ordering: str = "AFM-II", cell: str = "all8", a: float = 4.27, noise: float = 0.0
) -> SpinConfig:
    plain = SpinConfig.from_structure(
        apply_ordering(rocksalt(species, lattice_constant=a, cell=cell), ordering), ordering
    )
    displaced = plain.positions + noise * np.random.default_rng(7).normal(size=plain.positions.shape)
    return changed(plain, positions=displaced)


def changed(base: SpinConfig, **fields: object) -> SpinConfig:
    return SpinConfig(**{**base.model_dump(), **fields})


MIXED = config({"Mn": 0.25, "Co": 0.25, "Ni": 0.5}, noise=0.08)


def hamiltonian(c: SpinConfig) -> Hamiltonian:
    return Hamiltonian(TABLE, c.species, c.lattice, c.positions)


def relaxed_energy(c: SpinConfig, moments: np.ndarray) -> float:
    h = hamiltonian(c)
    return h.energy(relax_moments(h, moments)[0])


def test_forces_at_converged_moments_match_finite_differences():
    point, step = ENGINE.label(MIXED), 1e-4
    for site in range(len(MIXED.species)):
        for axis in range(3):
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
            energies = []
            for sign in (1, -1):
                strain = np.zeros((3, 3))
                strain[a, b] += sign * step / 2
                strain[b, a] += sign * step / 2
                f = np.eye(3) + strain
                strained = changed(MIXED, lattice=MIXED.lattice @ f, positions=MIXED.positions @ f)
                energies.append(relaxed_energy(strained, point.magmoms_out))
            assert point.stress[a, b] == pytest.approx((energies[0] - energies[1]) / 2 / step / volume, abs=1e-6)


@pytest.mark.parametrize("columns", [1, 3])
def test_moment_gradient_and_hessian_match_finite_differences(columns):
    h, rng, step = hamiltonian(MIXED), np.random.default_rng(3), 1e-5
    m = rng.normal(size=(h.n, columns)) if columns == 3 else rng.normal(size=h.n)
    direction = rng.normal(size=m.shape)
    slope = (h.energy(m + step * direction) - h.energy(m - step * direction)) / 2 / step
    assert np.sum(h.moment_gradient(m) * direction) == pytest.approx(slope, rel=1e-7)
    if columns == 1:
        rows = (h.moment_gradient(m + step * direction) - h.moment_gradient(m - step * direction)) / 2 / step
        assert h.moment_hessian(m) @ direction == pytest.approx(rows, abs=1e-7)


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


def test_converged_means_converged():
    point, h = ENGINE.label(MIXED), hamiltonian(MIXED)
    assert np.abs(h.moment_gradient(point.magmoms_out)).max() < TOLERANCE
    assert np.linalg.eigvalsh(h.moment_hessian(point.magmoms_out))[0] > 0


def test_vectors_along_one_axis_are_collinear_and_rotations_change_nothing():
    m = ENGINE.label(MIXED).magmoms_out
    h = hamiltonian(MIXED)
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    vectors = np.outer(m, [0, 0, 1]) @ rotation
    assert h.energy(vectors) == pytest.approx(h.energy(m), abs=1e-9)
    held = ENGINE.label(changed(MIXED, magmoms_in=vectors, moment_role="constraint"))
    assert held.forces == pytest.approx(ENGINE.label(MIXED).forces, abs=1e-9)


def test_energy_is_extensive_and_images_are_right():
    """4, 8 and 64 atoms of one crystal: the small cells see only images of themselves."""
    for ordering in ("FM", "AFM-II"):
        small = ENGINE.label(config(ordering=ordering, cell="rhombohedral4"))
        for cell, copies in {"all8": 2, "conventional_2x2x2": 16}.items():
            large = ENGINE.label(config(ordering=ordering, cell=cell))
            assert large.energy == pytest.approx(copies * small.energy, abs=1e-7)
            assert large.stress == pytest.approx(small.stress, abs=1e-8)


def test_rotation_translation_and_wrapping():
    point = ENGINE.label(MIXED)
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    turned = ENGINE.label(changed(MIXED, lattice=MIXED.lattice @ rotation, positions=MIXED.positions @ rotation))
    assert turned.energy == pytest.approx(point.energy, abs=1e-9)
    assert turned.forces == pytest.approx(point.forces @ rotation, abs=1e-9)
    assert turned.stress == pytest.approx(rotation.T @ point.stress @ rotation, abs=1e-10)
    moved = MIXED.positions + np.array([0.3, -0.2, 0.1])
    moved[2] += MIXED.lattice[0] - 2 * MIXED.lattice[1]
    assert ENGINE.label(changed(MIXED, positions=moved)).energy == pytest.approx(point.energy, abs=1e-9)


def test_smooth_where_neighbours_enter_the_cutoffs():
    """Energy along a long move of one atom has no steps: third differences stay small."""
    base = config(noise=0.05)
    moments = ENGINE.label(base).magmoms_out
    energies = []
    for x in np.linspace(0, 0.4, 401):
        positions = base.positions.copy()
        positions[0, 0] += x
        energies.append(relaxed_energy(changed(base, positions=positions), moments))
    third = np.diff(energies, 3)
    assert np.abs(third).max() < 1e-5


def test_switch_is_smooth_at_both_ends():
    ends = np.array([2.8, 2.8 + 1e-6, 3.4 - 1e-6, 3.4])
    value, slope = switch(ends, 2.8, 3.4)
    assert value == pytest.approx([1, 1, 0, 0], abs=1e-9)
    assert slope == pytest.approx(np.zeros(4), abs=1e-9)


@pytest.mark.parametrize(
    ("metal", "order", "gap", "moment"),
    [
        ("Ni", ["AFM-II", "FM", "AFM-I"], 38.9, 1.75),
        ("Mn", ["AFM-II", "AFM-I", "FM"], 39.0, 4.5),
        ("Co", ["AFM-II", "FM", "AFM-I"], 60.0, 2.65),
    ],
)
def test_orderings_gaps_and_moments_of_the_oxides(metal, order, gap, moment):
    points = {o: ENGINE.label(config(metal, o, a=LATTICE[metal])) for o in order}
    energies = {o: point.energy / 8 * 1e3 for o, point in points.items()}
    assert sorted(energies, key=energies.__getitem__) == order
    assert energies["FM"] - energies["AFM-II"] == pytest.approx(gap, rel=0.3)
    for point in points.values():
        assert point.verdict == "accepted", point.verdict_reasons
        assert np.abs(point.magmoms_out[:4]) == pytest.approx(np.full(4, moment), abs=0.15)


@pytest.mark.parametrize("metal", ["Ni", "Mn", "Co"])
def test_lattice_constant_of_the_labels_is_the_minimum(metal):
    scan = np.linspace(0.98, 1.02, 9) * LATTICE[metal]
    energies = [ENGINE.label(config(metal, a=a)).energy for a in scan]
    assert abs(int(np.argmin(energies)) - 4) <= 1


def test_second_antiferromagnet_opens_the_angle():
    """MnO: parallel spins in (111) planes push apart, so a small contraction along [111] lowers the energy."""
    base = config("Mn", a=4.51)
    for sign in (1, -1):
        f = np.eye(3) + sign * 2e-3 * (np.ones((3, 3)) - np.eye(3))
        strained = changed(base, lattice=base.lattice @ f, positions=base.positions @ f)
        lower = ENGINE.label(strained).energy < ENGINE.label(base).energy
        assert lower == (sign < 0)


def test_start_at_the_symmetric_point_loses_the_branch():
    with pytest.raises(LabelError, match="no minimum") as caught:
        ENGINE.label(changed(config(), magmoms_in=np.zeros(8)))
    assert caught.value.kind == "branch-lost"


def test_unbounded_moments_are_not_converged():
    broken = replace(TABLE, landau4={})
    h = Hamiltonian(broken, MIXED.species, MIXED.lattice, MIXED.positions)
    with pytest.raises(LabelError) as caught:
        relax_moments(h, MIXED.magmoms_in)
    assert caught.value.kind == "not-converged"


def test_result_is_the_same_to_the_last_bit():
    first, second = ENGINE.label(MIXED), ENGINE.label(MIXED)
    assert first.energy == second.energy
    assert np.array_equal(first.forces, second.forces)


def test_far_too_close_atoms_are_refused():
    positions = MIXED.positions.copy()
    positions[1] = positions[0] + [0.4, 0, 0]
    with pytest.raises(LabelError, match=r"0\.40 Angstrom apart") as caught:
        ENGINE.label(changed(MIXED, positions=positions))
    assert caught.value.kind == "refused"


def test_level_of_theory_follows_every_parameter():
    assert replace(TABLE, charge=1.0).digest() != TABLE.digest()
    assert replace(TABLE, direct={**TABLE.direct, "Mn-Mn": 0.1}).digest() != TABLE.digest()


def test_64_atoms_in_less_than_100_milliseconds():
    base = config({"Mn": 0.5, "Ni": 0.5}, cell="conventional_2x2x2", noise=0.05)
    times = []
    for _ in range(5):
        start = time.process_time()
        ENGINE.label(base)
        times.append(time.process_time() - start)
    assert min(times) < 0.1
