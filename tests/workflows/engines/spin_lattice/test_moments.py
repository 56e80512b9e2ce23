"""Self-consistent moments: convergence, branches, flips, failures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.quality import name_ordering
from tests.workflows.engines.spin_lattice.oxides import ENGINE, MIXED, changed, hamiltonian, oxide
from workflows.engines import LabelError
from workflows.engines.spin_lattice.hamiltonian import Hamiltonian
from workflows.engines.spin_lattice.moments import TOLERANCE, relax_moments
from workflows.engines.spin_lattice.table import TABLE
from workflows.structures import StructureOptions, generate

VECTORS = np.where([[s != "O"] for s in MIXED.species], 2.0, 0.0) * np.array([[0.6, 0.0, 0.8]])


def test_converged_means_converged():
    point, h = ENGINE.label(MIXED), hamiltonian(MIXED)
    assert np.abs(h.moment_gradient(point.magmoms_out)).max() < TOLERANCE
    assert np.linalg.eigvalsh(h.moment_hessian(point.magmoms_out))[0] > 0


def test_reversed_start_gives_the_reversed_end_and_both_the_same_to_the_last_bit():
    h = hamiltonian(MIXED)
    m, steps = relax_moments(h, MIXED.magmoms_in)
    again, same = relax_moments(hamiltonian(MIXED), MIXED.magmoms_in)
    reversed_, _ = relax_moments(h, -MIXED.magmoms_in)
    assert np.array_equal(m, again)
    assert steps == same
    assert reversed_ == pytest.approx(-m, abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_random_starts_end_below_where_they_began(seed):
    """Whatever the start, the end is a minimum of lower energy, or a failure that says so."""
    h, rng = hamiltonian(MIXED), np.random.default_rng(seed)
    start = np.where([s != "O" for s in MIXED.species], rng.uniform(-3, 3, 8), 0.0)
    try:
        m, _ = relax_moments(h, start)
    except LabelError:
        return
    assert h.energy(m) < h.energy(start)
    assert np.linalg.eigvalsh(h.moment_hessian(m))[0] > 0


def test_vector_moments_turn_and_stretch_to_a_minimum():
    tilted = VECTORS + 0.3 * np.random.default_rng(2).normal(size=(8, 3)) * (np.abs(VECTORS) > 0)
    h = hamiltonian(MIXED)
    m, _ = relax_moments(h, tilted)
    assert np.abs(h.moment_gradient(m)).max() < TOLERANCE
    lowest = np.linalg.eigvalsh(h.moment_hessian(m))
    assert lowest[0] > -1e-6, "no direction leads down"
    assert np.sum(lowest < 1e-6) <= 3, "only common rotations are free"
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    assert relax_moments(h, tilted @ rotation)[0] == pytest.approx(m @ rotation, abs=1e-6)


def low_spin_sites(config) -> np.ndarray:
    point = ENGINE.label(config)
    cobalt = np.array([symbol == "Co" for symbol in config.species])
    return np.abs(point.magmoms_out[cobalt]) < 1.8


@pytest.mark.parametrize("ordering", ["FM", "AFM-II"])
def test_cobalt_is_high_spin_on_ideal_sites_from_any_sensible_start(ordering):
    ideal = oxide("Co", ordering, a=4.31)
    for scale in (0.8, 1.0, 2.0, 3.0):
        assert not low_spin_sites(changed(ideal, magmoms_in=ideal.magmoms_in * scale)).any()


def test_low_spin_cobalt_exists_on_compressed_sites_beside_high_spin():
    squeezed = oxide({"Co": 0.25, "Ni": 0.75}, "FM", a=4.04)
    assert low_spin_sites(squeezed).all()
    larger = np.where(np.array(squeezed.species) == "Co", 3.0, squeezed.magmoms_in)
    assert not low_spin_sites(changed(squeezed, magmoms_in=larger)).any(), "two branches of one geometry"


def test_low_spin_cobalt_exists_on_distorted_sites_of_the_usual_volume():
    base = oxide({"Co": 0.25, "Ni": 0.75}, "FM", a=4.28)
    site = base.species.index("Co")
    assert not low_spin_sites(base).any()
    centre, positions = base.positions[site], base.positions.copy()
    for i, symbol in enumerate(base.species):
        if symbol == "O":  # two opposite oxygens move in, at constant volume
            vector = np.linalg.solve(base.lattice.T, positions[i] - centre)
            vector = (vector - np.round(vector)) @ base.lattice
            if abs(vector[2]) > 1.5 and np.linalg.norm(vector) < 2.5:
                positions[i] -= 0.3 * vector / np.linalg.norm(vector)
    assert low_spin_sites(changed(base, positions=positions)).any()


def test_low_spin_cobalt_is_rare_in_a_campaign():
    mixtures = [{"Co": 1.0}, {"Mn": 0.5, "Co": 0.5}, {"Co": 0.5, "Ni": 0.5}, {"Mn": 0.25, "Co": 0.5, "Ni": 0.25}]
    deformations = [
        {"kind": "displacement", "count": 8, "amplitude": [0.03, 0.12]},
        {"kind": "shear", "count": 8, "amplitude": [-0.06, 0.06], "displacement": 0.03},
        {"kind": "tensile", "count": 8, "amplitude": [-0.06, 0.06], "displacement": 0.03},
        {"kind": "volume", "count": 8, "amplitude": [0.88, 1.1], "displacement": 0.03},
    ]
    parents = [{"species": mix, "lattice_constant": 4.33} for mix in mixtures]
    options = {"parents": parents, "orderings": ["FM", "AFM-I", "AFM-II"], "deformations": deformations, "seed": 4}
    states = np.concatenate([low_spin_sites(c) for c in generate(StructureOptions.model_validate(options))])
    assert len(states) > 800
    assert 0.003 <= states.mean() <= 0.05


def test_small_initial_moments_flip_where_their_neighbours_want_it():
    base = oxide("Ni", "FM", cell="conventional_2x2x2")
    timid = base.magmoms_in.copy()
    timid[0] = 0.02
    point = ENGINE.label(changed(base, magmoms_in=timid))
    # Six straight bridges to moments of full length push it over; a start of the usual length stays.
    assert point.magmoms_out[0] < -1.5
    assert point.verdict == "rejected"
    assert name_ordering(base, ENGINE.label(base).magmoms_out) == "FM"


def test_start_at_the_symmetric_point_loses_the_branch():
    with pytest.raises(LabelError, match="no minimum") as caught:
        ENGINE.label(changed(oxide(), magmoms_in=np.zeros(8)))
    assert caught.value.kind == "branch-lost"


def test_unbounded_moments_are_not_converged():
    broken = Hamiltonian(replace(TABLE, landau4={}, landau8={}), MIXED.species, MIXED.lattice, MIXED.positions)
    with pytest.raises(LabelError) as caught:
        relax_moments(broken, MIXED.magmoms_in)
    assert caught.value.kind == "not-converged"
