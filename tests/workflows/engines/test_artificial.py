"""The artificial Hamiltonians: counts of shells and terms, derivatives, symmetries, known energies, refusals."""

from __future__ import annotations

import json
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.schema import SpinConfig, SpinPoint
from workflows.engines import LabelError, get_engine
from workflows.engines.spin_lattice.artificial import TABLES, build
from workflows.engines.spin_lattice.delafossite import Delafossite, DelafossiteHamiltonian
from workflows.engines.spin_lattice.perovskite import HEISENBERG, HIGH_ORDER, PAIRS, Perovskite, PerovskiteHamiltonian
from workflows.engines.spin_lattice.samples import (
    delafossite_crystal,
    delafossite_samples,
    perovskite_crystal,
    perovskite_samples,
    random_spins,
)

PEROVSKITES = ("perovskite-heisenberg", "perovskite-high-order")
NAMES = tuple(TABLES)
SEEDS = st.integers(0, 2**32 - 1)
SMALL = (2, 2, 1)
UNIT = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def engine(name: str):
    return get_engine({"type": "spin-lattice", "hamiltonian": name})


def changed(base: SpinConfig, **fields: object) -> SpinConfig:
    return SpinConfig(**{**base.model_dump(), **fields})


def sample(name: str, seed: int = 0) -> SpinConfig:
    """A distorted perovskite with random spins, or random spins on 12 delafossite sites with passengers."""
    if name == "delafossite":
        return next(delafossite_samples(1, seed, SMALL, passengers=True))
    return next(perovskite_samples(1, seed))


def crystal(name: str, *args: object) -> SpinConfig:
    """The ideal crystal with all spins along z."""
    species, lattice, positions = (delafossite_crystal if name == "delafossite" else perovskite_crystal)(*args)
    magnetic = "Fe" if name == "delafossite" else "Mn"
    moments = np.outer([float(symbol == magnetic) for symbol in species], [0, 0, 1])
    return SpinConfig(
        species=species,
        lattice=lattice,
        positions=positions,
        magmoms_in=moments,
        moment_role="constraint",
        ordering="FM",
    )


def energy(name: str, config: SpinConfig) -> float:
    return build(name, config).energy(config.magmoms_in)


def rotation(seed: int, improper: bool = False) -> np.ndarray:
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return q * (np.sign(np.linalg.det(q)) * (-1 if improper else 1))


# -- counts against values by hand ---------------------------------------------------------------------------------


def test_shells_of_the_delafossite_lattice():
    """By hand: a, sqrt(3) a, 2 a and sqrt(7) a in a layer; layers shifted by a / sqrt(3), c / 3 apart."""
    distances, counts = Delafossite().shells()
    a, height = 2.86, 16.95 / 3
    expected = [a, 3**0.5 * a, 2 * a, *(np.hypot(height, k * a / 3**0.5) for k in (1, 2)), np.hypot(height, 4.3687)]
    assert distances == pytest.approx([*expected, 7**0.5 * a], abs=1e-4)
    assert counts.tolist() == [6, 6, 6, 6, 6, 12, 12]


def test_96_sites_in_six_layers_with_three_rhombi_each():
    config = next(delafossite_samples(1))
    assert config.magmoms_in.shape == (96, 3)
    heights, members = np.unique(np.round(config.positions[:, 2], 6), return_counts=True)
    assert (len(heights), set(members)) == (6, {16})
    model = DelafossiteHamiltonian(Delafossite(), config)
    assert [int(np.sum(model.exchange == value)) for value in Delafossite().exchange.values()] == [96 * 3] * 5
    assert [int(np.sum(model.biquadratic == k)) for k in Delafossite().biquadratic.values()] == [288, 288, 576]
    (a, b), (c, d) = model.rhombi
    assert len(a) == 2 * 3 * 96  # two products of opposite edges
    corners = {tuple(sorted(sites)) for sites in zip(a, b, c, d, strict=True)}
    assert len(corners) == 3 * 96
    assert all(len(set(sites)) == 4 for sites in corners)


def test_rhombi_pair_opposite_edges():
    config = next(delafossite_samples(1))
    for a, b in DelafossiteHamiltonian(Delafossite(), config).rhombi:
        fractional = (config.positions[b] - config.positions[a]) @ np.linalg.inv(config.lattice)
        edges = (fractional - np.round(fractional)) @ config.lattice
        assert np.linalg.norm(edges, axis=1) == pytest.approx(np.full(len(a), 2.86))


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


# -- energies known in closed form ---------------------------------------------------------------------------------


def test_ferromagnetic_delafossite():
    """Per site: half of the neighbours per shell, three rhombi with two products each."""
    t = Delafossite()
    j, k = t.exchange, t.biquadratic
    site = 3 * sum(j.values()) + 3 * k[1] + 3 * k[5] + 6 * k[7] + 6 * t.four_spin
    config = crystal("delafossite", SMALL)
    assert energy("delafossite", config) / 12 == pytest.approx(site, abs=1e-12)


def test_120_degree_order_in_the_layers():
    """cos is -1/2 in shells 1, 3 and 7 and 1 in shell 2; the three spins around a site of another layer cancel.

    Their squared cosines average to 1/2, and opposite edges of a rhombus give 1/4.
    """
    t = Delafossite()
    j, k = t.exchange, t.biquadratic
    config = crystal("delafossite", (3, 3, 1))
    fractional = config.positions @ np.linalg.inv(delafossite_crystal((1, 1, 1))[1])
    phase = 2 * np.pi / 3 * (fractional[:, 0] + fractional[:, 1])
    spins = np.stack([np.cos(phase), np.sin(phase), 0 * phase], axis=1)
    site = -1.5 * (j[1] + j[3]) + 3 * j[2] + 0.75 * k[1] + 1.5 * k[5] + 1.5 * k[7] + 1.5 * t.four_spin
    found = energy("delafossite", changed(config, magmoms_in=spins)) / len(spins)
    assert found == pytest.approx(site, abs=1e-12)


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


# -- derivatives ---------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("columns", [1, 3])
def test_moment_gradient_matches_finite_differences(name, columns):
    model, rng, step = build(name, sample(name)), np.random.default_rng(5), 1e-5
    shape = (model.n, 3) if columns == 3 else (model.n,)
    m, direction = rng.normal(size=shape), rng.normal(size=shape)
    slope = (model.energy(m + step * direction) - model.energy(m - step * direction)) / 2 / step
    assert model.moment_gradient(m).shape == shape
    assert np.sum(model.moment_gradient(m) * direction) == pytest.approx(slope, rel=1e-6)


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


# -- symmetries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_symmetries(name, seed):
    """Translation and wrapping, rotation of the lattice, of the spins, time reversal, permutation."""
    config, rng = sample(name, seed), np.random.default_rng(seed)
    point = engine(name).label(config)
    turn, spin_turn = rotation(seed, improper=bool(seed % 2)), rotation(seed + 1)
    order = rng.permutation(len(config.species))
    wrapped = config.positions + rng.uniform(-3, 3, size=3) + rng.integers(-2, 3, size=(len(order), 3)) @ config.lattice
    other = changed(
        config,
        species=[config.species[i] for i in order],
        lattice=config.lattice @ turn,
        positions=(wrapped @ turn)[order],
        magmoms_in=(-config.magmoms_in @ spin_turn)[order],
    )
    again = engine(name).label(other)
    assert again.energy == pytest.approx(point.energy, abs=1e-8)
    assert again.forces == pytest.approx((point.forces @ turn)[order], abs=1e-8)
    assert again.stress == pytest.approx(turn.T @ point.stress @ turn, abs=1e-9)
    assert again.magnetic_forces == pytest.approx((-point.magnetic_forces @ spin_turn)[order], abs=1e-8)
    assert np.abs(point.forces.sum(axis=0)).max() < 1e-8


@pytest.mark.parametrize("name", NAMES)
def test_no_torque_on_all_spins_together(name):
    """Energy without spin-orbit coupling: a rotation of all spins costs nothing."""
    config = sample(name, 8)
    torque = np.cross(config.magmoms_in, engine(name).label(config).magnetic_forces).sum(axis=0)
    assert torque == pytest.approx(np.zeros(3), abs=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_collinear_spins_are_vectors_along_one_axis(name):
    config = sample(name)
    signs = np.sign(config.magmoms_in[:, 0])
    flat = engine(name).label(changed(config, magmoms_in=signs))
    vectors = engine(name).label(changed(config, magmoms_in=np.outer(signs, [0, 0.6, 0.8])))
    assert flat.energy == pytest.approx(vectors.energy, abs=1e-9)
    assert flat.forces == pytest.approx(vectors.forces, abs=1e-9)
    assert np.outer(flat.magnetic_forces, [0, 0.6, 0.8]) == pytest.approx(vectors.magnetic_forces, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_energy_is_extensive_and_images_are_right(name):
    """The smallest cell sees images of itself only; a supercell repeats its spins."""
    small = crystal(name, (1, 1, 1) if name == "delafossite" else UNIT)
    magnetic = "Fe" if name == "delafossite" else "Mn"
    spins = random_spins(small.species, magnetic, np.random.default_rng(2))
    shifts = np.array(list(product(range(2), repeat=3)))
    large = changed(
        small,
        species=[symbol for symbol in small.species for _ in shifts],
        lattice=2 * small.lattice,
        positions=(small.positions[:, None] + shifts @ small.lattice).reshape(-1, 3),
        magmoms_in=np.repeat(spins, 8, axis=0),
    )
    one, eight = engine(name).label(changed(small, magmoms_in=spins)), engine(name).label(large)
    assert eight.energy == pytest.approx(8 * one.energy, abs=1e-9)
    assert eight.stress == pytest.approx(one.stress, abs=1e-10)
    assert eight.magnetic_forces == pytest.approx(np.repeat(one.magnetic_forces, 8, axis=0), abs=1e-10)


@pytest.mark.parametrize(("name", "heisenberg"), list(zip(NAMES, [False, True, False], strict=True)))
def test_only_the_heisenberg_model_is_linear_in_each_spin(name, heisenberg):
    """E(S) + E(-S) of one spin does not depend on its direction where the energy is bilinear."""
    config, rng = sample(name), np.random.default_rng(9)
    model, site = build(name, config), int(np.argmax(np.linalg.norm(config.magmoms_in, axis=1)))
    sums = []
    for _ in range(3):
        spins = np.array(config.magmoms_in)
        spins[site] = rotation(int(rng.integers(1000)))[0]
        up = model.energy(spins)
        spins[site] *= -1
        sums.append(up + model.energy(spins))
    assert (np.ptp(sums) < 1e-9) == heisenberg


# -- engine --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_accepted_and_hold_their_spins(name):
    config = sample(name)
    point = engine(name).label(config)
    assert (point.verdict, point.ordering_found) == ("accepted", "random"), point.verdict_reasons
    assert np.array_equal(point.magmoms_out, config.magmoms_in)
    assert SpinPoint.from_document(json.loads(json.dumps(point.to_document()))) == point
    assert point.level_of_theory["hamiltonian"] == name
    if name == "delafossite":
        assert not point.forces.any()
        assert not point.stress.any()


def test_levels_of_theory_are_apart_and_the_oxide_has_kept_its_own():
    levels = {name: engine(name).level_id() for name in ("oxide", *NAMES)}
    assert len(set(levels.values())) == 4
    assert levels["oxide"] == get_engine("spin-lattice").level_id()
    assert "hamiltonian" not in engine("oxide").level_of_theory()
    assert Delafossite(four_spin=0.0).digest() != Delafossite().digest()
    assert HEISENBERG.digest() != HIGH_ORDER.digest()


REFUSALS = [
    ("delafossite", {"species": ["Ni"] * 12}, "not Ni"),
    ("delafossite", {"species": ["Cu"] * 12}, "has to have Fe"),
    ("delafossite", {"lattice": 1.02}, r"sites? .* neighbours in shell|between the shells"),
    ("delafossite", {"magmoms_in": 2.0}, r"length 1 muB.*has 2"),
    ("delafossite", {"moment_role": "guess"}, "collinear or vector moments with moment_role='constraint'"),
    ("perovskite-heisenberg", {"species": ["Ni"] * 50}, "not Ni"),
    ("perovskite-heisenberg", {"lattice": 1.3}, r"site 10 \(Mn\) has 0 Mn neighbours, not 6"),
    ("perovskite-high-order", {"magmoms_in": 0.5}, r"length 1 muB.*has 0\.5"),
    ("perovskite-high-order", {"moment_role": "guess"}, "moment_role='constraint'"),
]


@pytest.mark.parametrize(("name", "change", "message"), REFUSALS)
def test_refusals(name, change, message):
    config = next(delafossite_samples(1, 0, SMALL)) if name == "delafossite" else sample(name)
    fields = dict(change)
    if "lattice" in change:
        fields = {"lattice": config.lattice * change["lattice"], "positions": config.positions * change["lattice"]}
    if "magmoms_in" in change:
        fields = {"magmoms_in": config.magmoms_in * change["magmoms_in"]}
    with pytest.raises(LabelError, match=message) as caught:
        engine(name).label(changed(config, **fields))
    assert caught.value.kind == "refused"
    assert "\n" not in str(caught.value)


def test_spins_on_passengers_are_refused():
    config = sample("perovskite-heisenberg")
    spins = config.magmoms_in.copy()
    spins[config.species.index("O")] = [0, 0, 0.1]
    with pytest.raises(LabelError, match=r"none elsewhere: site 20 \(O\) has 0\.1"):
        engine("perovskite-heisenberg").label(changed(config, magmoms_in=spins))
