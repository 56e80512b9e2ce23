"""The perovskite Hamiltonians: terms and clusters against counts by hand, known energies, forces and stress."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
import pytest

from tests.workflows.engines.spin_lattice.support import PEROVSKITES, changed, crystal, energy, sample
from workflows.engines.spin_lattice.artificial import TABLES, build
from workflows.engines.spin_lattice.perovskite import HEISENBERG, HIGH_ORDER, PAIRS, Perovskite, PerovskiteHamiltonian


@pytest.mark.parametrize(("table", "wanted"), [(HEISENBERG, 108), (HIGH_ORDER, 274)])
def test_number_of_terms_is_the_papers(table, wanted):
    assert sum(count_terms(table, kinds) for kinds in [(kind,) for kind in table.pairs()] + table.triangles()) == wanted


def count_terms(table: Perovskite, kinds: tuple[str, ...]) -> int:
    """Orbits of (edges whose spin products enter, monomial) under permutations of edges of one kind.

    Every permutation of the edges of a triangle is one of its corners.
    """
    magnetic = [e for e, kind in enumerate(kinds) if PAIRS[kind][:2] == ("Mn", "Mn")]
    symmetry = [p for p in permutations(range(len(kinds))) if [kinds[e] for e in p] == list(kinds)]
    order = table.pair_order if len(kinds) == 1 else table.triangle_order
    groups = [([()], 2, order), ([(e,) for e in magnetic], 0, table.exchange_order)]
    if table.four_spin_order is not None:
        groups.append((list(combinations(magnetic, 2)), 0, table.four_spin_order))
    orbits = set()
    for factors, low, high in groups:
        monomials = [m for m in product(range(high + 1), repeat=len(kinds)) if low <= sum(m) <= high]
        for factor, monomial in product(factors, monomials):
            images = (
                (tuple(sorted(p[e] for e in factor)), tuple(monomial[p.index(e)] for e in range(len(p))))
                for p in symmetry
            )
            orbits.add(min(images))
    return len(orbits)


def test_clusters_of_the_ideal_perovskite():
    """Per formula unit: 3, 6, 4 magnetic pairs, 6 B-O, 8 A-B, 12 A-O, 12 O-O; triangles of a cubic lattice."""
    config = crystal("perovskite-heisenberg")
    model = PerovskiteHamiltonian(HEISENBERG, config)
    found = {s.clusters.kinds: len(s.clusters.i) * s.clusters.weight / 10 for s in model.sums}
    assert found == {
        ("BB1",): 3,
        ("BB2",): 6,
        ("BB3",): 4,
        ("BO",): 6,
        ("AB",): 8,
        ("AO",): 12,
        ("OO",): 12,
        ("BB1", "BB1", "BB2"): 12,
        ("BB1", "BB2", "BB3"): 24,
        ("BB2", "BB2", "BB2"): 8,
        ("BO", "BO", "BB1"): 3,
        ("BO", "BO", "OO"): 12,
        ("OO", "OO", "OO"): 8,
    }
    assert config.magmoms_in.shape == (50, 3)
    assert config.formula == "SrMnO3"


@pytest.mark.parametrize(
    ("name", "pairs", "triangles"), [(PEROVSKITES[0], 13, (12, 24, 8)), (PEROVSKITES[1], 9, (12, 8))]
)
def test_ferromagnetic_ideal_perovskite(name, pairs, triangles):
    """All windows are 1 and all elongations 0: 0.1 eV per magnetic pair, and per magnetic edge of a triangle."""
    bridges = 3  # B-O-B, one magnetic edge each
    site = 0.1 * (pairs + 3 * sum(triangles) + bridges)
    if name == "perovskite-high-order":
        site += 0.1 * 3 * sum(triangles)  # three pairs of edges per triangle
    assert energy(name, crystal(name)) / 10 == pytest.approx(site, abs=1e-9)


def test_g_type_antiferromagnet():
    """Nearest neighbours are antiparallel, second ones parallel, third ones antiparallel."""
    config = crystal("perovskite-heisenberg", ((2, 0, 0), (0, 2, 0), (0, 0, 2)))
    signs = np.where(np.round(config.positions.sum(axis=1) / 3.8) % 2, -1.0, 1.0)
    spins = config.magmoms_in * signs[:, None]
    pairs, triangles, bridges = -3 + 6 - 4, 12 * (-1 - 1 + 1) + 24 * (-1 + 1 - 1) + 8 * 3, -3
    assert energy("perovskite-heisenberg", changed(config, magmoms_in=spins)) / 8 == pytest.approx(
        0.1 * (pairs + triangles + bridges), abs=1e-9
    )


def test_ideal_crystals_are_at_rest():
    """No forces by symmetry; without spins the ideal perovskite is the minimum, free of stress."""
    for name in PEROVSKITES:
        config = crystal(name)
        model = build(name, config)
        forces, _ = model.forces_and_stress(config.magmoms_in)
        assert np.abs(forces).max() < 1e-9
        none = np.zeros((50, 3))
        assert np.abs(model.forces_and_stress(none)[1]).max() < 1e-9
        assert build(name, sample(name)).energy(none) > 0.1
        assert model.energy(none) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", PEROVSKITES)
def test_forces_match_finite_differences(name):
    config, step = sample(name, 3), 1e-4
    forces, _ = build(name, config).forces_and_stress(config.magmoms_in)
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=forces.shape)
        ends = [energy(name, changed(config, positions=config.positions + s * step * direction)) for s in (1, -1)]
        assert -np.sum(forces * direction) == pytest.approx((ends[0] - ends[1]) / 2 / step, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("name", PEROVSKITES)
def test_stress_matches_finite_differences(name):
    config, step = sample(name, 4), 1e-5
    _, stress = build(name, config).forces_and_stress(config.magmoms_in)
    volume = abs(np.linalg.det(config.lattice))
    for a, b in combinations(range(4), 2):
        strain = np.zeros((3, 3))
        strain[a, b - 1] += step / 2
        strain[b - 1, a] += step / 2
        ends = []
        for sign in (1, -1):
            f = np.eye(3) + sign * strain
            ends.append(energy(name, changed(config, lattice=config.lattice @ f, positions=config.positions @ f)))
        assert stress[a, b - 1] == pytest.approx((ends[0] - ends[1]) / 2 / step / volume, abs=1e-6)


@pytest.mark.parametrize("name", PEROVSKITES)
def test_smooth_where_neighbours_leave_their_windows(name):
    """One magnetic ion moves by 0.55 Angstrom along [111], so that its farthest shell crosses the cutoff.

    Third differences fall by 8 when the step is halved; by 4 or 2 with a jump in the curvature or the slope.
    """
    config = sample(name)
    ion, cutoff = config.species.index("Mn"), TABLES[name].cutoff
    energies, crossed = [], []
    for x in np.linspace(0.1, 0.55, 151):
        positions = config.positions.copy()
        positions[ion] += x / np.sqrt(3)
        model = build(name, changed(config, positions=positions))
        energies.append(model.energy(config.magmoms_in))
        crossed.append(sum(len(s.clusters.i) for s in model.sums))
        assert max(s.length.max() for s in model.sums) < cutoff
    assert crossed[0] > crossed[-1]
    fine, coarse = np.abs(np.diff(energies, 3)).max(), np.abs(np.diff(energies[::2], 3)).max()
    assert fine < 1e-3
    assert coarse / fine > 5
