"""Errors per task and group, elements where they matter, signs only where there is one."""

import numpy as np
import pytest
from ase import Atoms

from spinmultinet.comparison import compare, grouped, per_element, right_sign, summary
from spinmultinet.pair_energies import pair_energies


def cell(ordering="FM", lengths=(1.7, -2.6, 0.05)):
    """NiCoO: Ni and Co with a moment, O without; labels given by hand."""
    atoms = Atoms("NiCoO", positions=np.eye(3) * 2, cell=np.eye(3) * 4, pbc=True)
    atoms.info.update(ordering=ordering, free_energy=-10.0, stress=np.zeros(6))
    atoms.arrays["magmom_in"] = np.array([2.0, -2.0, 0.0])
    atoms.arrays["magmom_out"] = np.array(lengths)
    atoms.arrays["forces"] = np.zeros((3, 3))
    return atoms


def prediction(moments=(1.8, -2.4, 0.05), force=0.003):
    forces = np.zeros((3, 3))
    forces[1] = force
    return {"energy": -9.97, "forces": forces, "stress": np.full((3, 3), 0.002), "magmoms": np.array(moments)}


def test_elements_have_their_own_sites():
    frames = [cell(), cell()]
    rows = [compare(a, prediction(), "here") for a in frames]
    found = per_element(rows, frames)
    assert found["Ni"]["moments"] == {"mae": pytest.approx(0.1), "rmse": pytest.approx(0.1), "n": 2}
    assert found["Co"]["moments"]["mae"] == pytest.approx(0.2)
    assert found["Co"]["forces"]["mae"] == pytest.approx(3.0)
    assert found["Ni"]["forces"]["mae"] == 0.0
    assert found["Co"]["right_sign"] == 1.0
    assert "moments" not in found["O"]  # no input moment: not a magnetic site
    assert found["O"]["moments_all"]["n"] == 2
    assert not any("energy" in e or "stress" in e for e in found.values())
    assert summary(rows)["stress"]["mae"] == pytest.approx(2.0)


def test_groups_add_up_to_all():
    frames = [cell("FM"), cell("AFM-II"), cell("FM")]
    rows = [compare(a, prediction(force=f), "here") for a, f in zip(frames, (0.001, 0.002, 0.006), strict=True)]
    found = grouped(rows, frames, "ordering")
    total = sum(g["forces"]["mae"] * g["forces"]["n"] for g in found.values()) / summary(rows)["forces"]["n"]
    assert total == pytest.approx(summary(rows)["forces"]["mae"])
    assert found["AFM-II"]["right_sign"] == 1.0


def test_a_vanished_moment_has_no_sign():
    good, bad = prediction((1.8, 0.03, 0.0)), prediction((-1.8, 0.03, 0.0))
    vanished = cell(lengths=(1.7, -0.02, 0.0))
    assert right_sign([compare(vanished, good, "here")]) == 1.0
    assert right_sign([compare(vanished, good, "here"), compare(vanished, bad, "here")]) == 0.5
    assert right_sign([compare(cell(lengths=(0.02, -0.02, 0.0)), good, "here")]) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["energy", "forces", "magmoms"])
def test_a_prediction_that_is_not_finite_is_an_infinite_error_and_a_missing_label_none(key, bad):
    broken = prediction()
    broken[key] = np.array(broken[key]) * np.where(np.array(broken[key]) == 0, np.nan, bad)
    task = "moments" if key == "magmoms" else key
    rows = [compare(cell(), p, "here") for p in (prediction(), broken)]
    scores = summary(rows)
    assert scores[task]["mae"] == scores[task]["rmse"] == np.inf
    assert scores[task]["n"] == 2 * summary(rows[:1])[task]["n"]
    assert all(np.isfinite(found["mae"]) for name, found in scores.items() if not name.startswith(task))
    assert grouped(rows, [cell("FM"), cell("AFM-I")], "ordering")["FM"][task]["mae"] < np.inf
    unlabelled = cell()
    unlabelled.info.pop("free_energy")
    unlabelled.arrays.pop("forces")
    unlabelled.arrays.pop("magmom_out")
    assert task not in compare(unlabelled, broken, "here")


def test_a_moment_that_is_no_number_has_the_wrong_sign():
    assert right_sign([compare(cell(), prediction((np.nan, -2.4, 0.0)), "here")]) == 0.5


def test_a_stress_of_nan_is_not_predicted():
    """As models give it for what is not periodic in three directions."""
    assert "stress" not in compare(cell(), prediction() | {"stress": np.full((3, 3), np.nan)}, "here")


def test_a_pair_with_an_energy_that_is_no_number_has_an_infinite_error():
    frames = [cell("AFM-II"), cell("FM")]
    for atoms in frames:
        atoms.info["pair_id"] = "p"
    assert pair_energies(frames, [-10.0, np.nan])["mae"] == np.inf
    assert pair_energies(frames, [-10.0, -9.97])["mae"] == pytest.approx(10.0)


def test_direction_of_vectors_is_their_sign():
    atoms = cell()
    atoms.arrays["magmom_out"] = np.outer(atoms.arrays["magmom_out"], [0.0, 0.0, 1.0])
    turned = prediction() | {"magmoms": np.array([[0, 1.6, 0.5], [0, 2.6, 0.1], [0, 0, 0.0]])}
    row = compare(atoms, turned, "here")
    assert row["agrees"].tolist() == [True, False]
    assert row["predicted_length"] == pytest.approx([np.hypot(1.6, 0.5), np.hypot(2.6, 0.1)])
