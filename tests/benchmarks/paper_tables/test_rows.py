"""Rows of the tables: equal size, scores on labels whose answer is known, going on after a stop."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks.paper_tables import rows as script
from benchmarks.paper_tables.data import DataSet
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.model import build_model

SPECIES = ["O", "Co"]
BASE = ModelOptions(layers=2, channels=8, l_max=1, cutoff=3.2, radial_hidden=[8], n_bessel=4)


def labelled(seed, signs=(1, 1), pair="a", energy=None, length=2.6):
    """CoO of 4 atoms with moments in and out."""
    atoms = bulk("CoO", "rocksalt", a=4.25) * (1, 1, 2)
    atoms.rattle(0.05, rng=np.random.default_rng(seed))
    moments = np.zeros(4)
    moments[atoms.numbers == 27] = signs
    atoms.set_array("magmom_in", 1.0 * moments)
    atoms.set_array("magmom_out", length * moments)
    atoms.info |= {"pair_id": pair, "ordering": "FM" if signs == (1, 1) else "AFM-I", "level_id": "x"}
    rng = np.random.default_rng([seed, 1])
    energy = -20 + rng.normal() if energy is None else energy
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=rng.normal(size=(4, 3)))
    return atoms


def frames(count):
    return [labelled(k, (1, -1 if k % 2 else 1), pair=str(k // 2)) for k in range(count)]


@pytest.mark.parametrize("row", script.ROWS)
def test_all_rows_have_about_as_many_parameters(row):
    wanted = build_model(BASE, SPECIES).n_parameters()
    found = build_model(script.variant(row, BASE, SPECIES), SPECIES)
    assert found.n_parameters() == pytest.approx(wanted, rel=0.05)
    assert found.options.has_odd == (row not in ("no-spin", "invariant"))
    assert (found.moment_kind != "none") == (row in ("multi-task", "invariant"))


def test_reversal_turns_moments_and_nothing_else():
    atoms = labelled(0, (1, -1))
    found = script.reversed_moments(atoms)
    assert np.array_equal(found.arrays["magmom_in"], -atoms.arrays["magmom_in"])
    assert np.array_equal(found.arrays["magmom_out"], -atoms.arrays["magmom_out"])
    assert found.get_potential_energy() == atoms.get_potential_energy()
    assert np.array_equal(found.get_forces(), atoms.get_forces())
    assert np.array_equal(atoms.arrays["magmom_in"], labelled(0, (1, -1)).arrays["magmom_in"])


def test_only_the_invariant_model_confuses_a_state_with_its_reverse():
    test = frames(6)
    for row in ("multi-task", "invariant"):
        model = build_model(script.variant(row, BASE, SPECIES), SPECIES, seed=1)
        model.moment_readout.scale.fill_(1.0)
        scores = script.scored(model, test)
        if row == "multi-task":
            assert scores["right_sign"] == scores["right_sign_reversed"]
        else:  # what is right for a state is wrong for its reverse
            assert scores["right_sign"] + scores["right_sign_reversed"] == pytest.approx(1)


def test_scores_of_a_model_without_spin_reach_the_bound_of_pairs():
    model = build_model(script.variant("no-spin", BASE, SPECIES), SPECIES)
    energy = 4 * model.energy_readout.shift.mean().item()
    test = [labelled(0, (1, 1), energy=energy + 0.4), labelled(0, (1, -1), energy=energy - 0.4)]
    scores = script.scored(model, test)
    assert scores["pair_difference"] == pytest.approx(200, abs=0.01)  # float32
    assert "right_sign" not in scores
    assert script.blind_bound(test) == pytest.approx(100)
    assert scores["energy"] >= 100 - 0.01


def test_the_bound_needs_pairs():
    assert script.blind_bound([labelled(0, pair="a"), labelled(1, pair="b")]) is None


def test_errors_are_told_apart_by_spin_state():
    low = labelled(1, pair="b", length=1.0)
    assert script.has_low_spin(low)
    assert not script.has_low_spin(labelled(0))
    scores = script.scored(build_model(BASE, SPECIES), [labelled(0), low])
    assert scores["energy"] == pytest.approx((scores["energy_low_spin"] + scores["energy_high_spin"]) / 2)


def test_finished_trainings_are_not_done_again(tmp_path):
    everything = frames(8)
    data = DataSet("pairs", everything[:4], everything[4:6], everything[6:], {})
    options = TrainOptions(epochs=1, batch_structures=2)
    trainings = [script.Training(row, data, 0) for row in ("no-spin", "multi-task")]
    shares = []
    scores = script.train_all(trainings, (BASE, options), tmp_path, 2, shares.append)
    assert list(scores) == ["pairs/no-spin/seed_0", "pairs/multi-task/seed_0"]
    assert scores["pairs/no-spin/seed_0"]["epochs"] == script.PASSES["pairs"]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    times = [p.stat().st_mtime_ns for p in sorted(tmp_path.rglob("model.pt"))]
    assert script.train_all(trainings, (BASE, options), tmp_path, 1, shares.append) == scores
    assert times == [p.stat().st_mtime_ns for p in sorted(tmp_path.rglob("model.pt"))]
