"""Sampling protocols of the artificial Hamiltonians: sizes of the paper, reproducible, uniform, in bounds."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from workflows.engines import get_engine
from workflows.engines.spin_lattice.samples import (
    PAPER_COUNTS,
    PEROVSKITE_CELL,
    delafossite_samples,
    perovskite_crystal,
    perovskite_samples,
)

MAKERS = {"delafossite": delafossite_samples, "perovskite": perovskite_samples}


@pytest.mark.parametrize("name", MAKERS)
def test_same_seed_same_samples_from_any_start(name):
    make = MAKERS[name]
    first = [config.config_id for config in make(6, seed=3)]
    assert [config.config_id for config in make(6, seed=3, start=4)] == first[4:]
    assert len(set(first)) == 6
    assert not set(first) & {config.config_id for config in make(6, seed=4)}


def test_spins_are_uniform_on_the_sphere():
    spins = np.concatenate([config.magmoms_in for config in delafossite_samples(100)])
    assert len(spins) == 9600
    assert np.linalg.norm(spins, axis=1) == pytest.approx(np.ones(9600), abs=1e-12)
    assert spins.mean(axis=0) == pytest.approx(np.zeros(3), abs=4 / np.sqrt(3 * 9600))
    assert spins.T @ spins / 9600 == pytest.approx(np.eye(3) / 3, abs=0.02)
    for axis in range(3):  # Archimedes: each component is uniform within -1 and 1
        found = np.histogram(spins[:, axis], bins=10, range=(-1, 1))[0]
        assert np.abs(found - 960).max() < 5 * np.sqrt(960)


def test_passengers_make_the_whole_crystal():
    config = next(delafossite_samples(1, passengers=True))
    assert len(config.species) == 384
    assert config.formula == "FeCuO2"
    structure = config.to_structure()
    oxygen = next(i for i, symbol in enumerate(config.species) if symbol == "O")
    around = sorted((n.nn_distance, n.specie.symbol) for n in structure.get_neighbors(structure[oxygen], 2.2))
    assert [symbol for _, symbol in around] == ["Cu", "Fe", "Fe", "Fe"]


def test_perovskite_distortions_stay_in_bounds():
    ideal = perovskite_crystal()
    assert abs(round(np.linalg.det(PEROVSKITE_CELL))) == 10
    widths = []
    for config in islice(perovskite_samples(50, displacement=0.05, strain=0.02), 50):
        gradient = np.linalg.solve(ideal[1], config.lattice)
        assert np.abs(gradient - np.eye(3)).max() <= 0.02
        assert gradient == pytest.approx(gradient.T)
        moves = config.positions - ideal[2] @ gradient
        assert np.abs(moves).max() <= 0.1
        widths.append(moves.std() / 0.05)
        magnetic = np.array(config.species) == "Mn"
        assert np.linalg.norm(config.magmoms_in, axis=1) == pytest.approx(magnetic.astype(float), abs=1e-12)
    assert min(widths) < 0.2
    assert 0.7 < max(widths) < 1


@pytest.mark.parametrize("name", PAPER_COUNTS)
def test_default_samples_give_accepted_labels(name):
    engine = get_engine({"type": "spin-lattice", "hamiltonian": name})
    make = MAKERS[name.split("-")[0]]
    points = [engine.label(config) for config in make(20, seed=1)]
    assert {point.verdict for point in points} == {"accepted"}
    assert np.std([point.energy for point in points]) / len(points[0].species) > 1e-4
