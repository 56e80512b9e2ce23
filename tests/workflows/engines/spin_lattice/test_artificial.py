"""All artificial Hamiltonians: derivatives by moments, symmetries, labels, refusals."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.schema import SpinPoint
from tests.workflows.engines.spin_lattice.support import NAMES, SMALL, changed, crystal, engine, rotation, sample
from workflows.engines import LabelError, get_engine
from workflows.engines.spin_lattice.artificial import build
from workflows.engines.spin_lattice.delafossite import Delafossite
from workflows.engines.spin_lattice.perovskite import HEISENBERG, HIGH_ORDER
from workflows.engines.spin_lattice.samples import delafossite_samples, random_spins

UNIT = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("columns", [1, 3])
def test_moment_gradient_matches_finite_differences(name, columns):
    model, rng, step = build(name, sample(name)), np.random.default_rng(5), 1e-5
    shape = (model.n, 3) if columns == 3 else (model.n,)
    m, direction = rng.normal(size=shape), rng.normal(size=shape)
    slope = (model.energy(m + step * direction) - model.energy(m - step * direction)) / 2 / step
    assert model.moment_gradient(m).shape == shape
    assert np.sum(model.moment_gradient(m) * direction) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
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
