"""Predictions, errors in the right units and groups, and the honest baseline."""

import json

import numpy as np
import pytest

from spinmultinet import SpinMultiNetError, build_model
from spinmultinet.evaluate import ConstantPerOrdering, constant_per_ordering, evaluate, predict


class Shifted:
    """Labels plus known errors."""

    def predict(self, frames):
        out = []
        for a in frames:
            r = a.calc.results
            s = np.asarray(r["stress"])[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
            up = a.info["ordering"] == "FM"
            out.append(
                {
                    "energy": r["energy"] + (0.04 if up else 0.0),
                    "forces": r["forces"] + 0.002,
                    "stress": s - 0.001,
                    "magmoms": a.arrays["magmom_out"] * (-1 if up else 1) + np.array([0, 0, 0.01, 0.01]),
                }
            )
        return out


def test_errors_have_the_right_size_unit_and_group(nio):
    found = evaluate(Shifted(), nio)
    assert found["overall"]["energy"]["mae"] == pytest.approx(5.0)
    assert found["per_ordering"]["FM"]["energy"]["mae"] == pytest.approx(10.0)
    assert found["per_ordering"]["AFM-II"]["energy"]["mae"] == pytest.approx(0.0)
    assert found["overall"]["energy"]["rmse"] == pytest.approx(10 / np.sqrt(2))
    assert found["overall"]["forces"]["mae"] == pytest.approx(2.0)
    assert found["overall"]["stress"]["mae"] == pytest.approx(1.0)
    assert found["right_sign"] == pytest.approx(0.5)
    assert found["per_ordering"]["AFM-II"]["moments"]["mae"] == pytest.approx(0.0)
    assert found["per_ordering"]["AFM-II"]["moments_all"]["mae"] == pytest.approx(0.005)
    assert set(found["per_deformation"]) == {a.info["deformation"] for a in nio}
    assert found["per_element"]["O"]["forces"]["n"] == 24 * 2 * 3
    assert found["pairs"]["n"] == 12
    assert found["pairs"]["mae"] == pytest.approx(10.0)
    assert found["pairs"]["right_order"] == 1.0
    assert found["structures"][0]["energy"]["label"] == pytest.approx(nio[0].calc.results["energy"] / 4)
    json.dumps(found)


def test_missing_tasks_are_absent(nio, tiny_options):
    model = build_model(tiny_options.model_copy(update={"moments": False}), ["O", "Ni"])
    del nio[0].calc.results["stress"]
    found = evaluate(model, nio[:1])
    assert set(found["overall"]) == {"energy", "forces"}
    assert found["right_sign"] is None
    assert "moments" not in found["structures"][0]
    json.dumps(found)


def test_vector_labels_of_a_model_that_predicts_no_moments(nio, tiny_options):
    """Held moments are not predicted; the vectors are still part of the label."""
    frames = [a.copy() for a in nio[:2]]
    for copy, original in zip(frames, nio[:2], strict=True):
        copy.calc = original.calc
        for key in ("magmom_in", "magmom_out"):
            vectors = np.outer(original.arrays[key], [0, 0.6, 0.8])
            del copy.arrays[key]
            copy.set_array(key, vectors)
    options = tiny_options.model_copy(update={"moments": False})
    found = evaluate(build_model(options, ["Ni", "O"]), frames)
    assert "moments" not in found["overall"]
    assert found["overall"]["forces"]["n"] == 2 * 4 * 3


def test_constant_per_ordering(nio):
    train, test = nio[:16], nio[16:]
    fm = [a for a in train if a.info["ordering"] == "FM"]
    prediction = ConstantPerOrdering(train).predict([a for a in test if a.info["ordering"] == "FM"])[0]
    assert prediction["energy"] == pytest.approx(np.mean([a.calc.results["energy"] for a in fm]))
    assert not prediction["forces"].any()
    mean_o = np.mean([a.arrays["magmom_out"][2:] for a in fm])
    np.testing.assert_allclose(prediction["magmoms"][2:], mean_o)
    afm = next(a for a in test if a.info["ordering"] == "AFM-II")
    moments = ConstantPerOrdering(train).predict([afm])[0]["magmoms"]
    assert moments[0] == pytest.approx(-moments[1])
    assert np.sign(moments[0]) == np.sign(afm.arrays["magmom_in"][0])
    scores = constant_per_ordering(train, test)
    assert scores["overall"]["forces"]["mae"] == pytest.approx(
        1e3 * np.mean([np.abs(a.calc.results["forces"]).mean() for a in test])
    )
    assert scores["right_sign"] == 1.0
    json.dumps(scores)


def test_baseline_of_an_unseen_ordering_is_the_mean_of_all(nio):
    fm = [a for a in nio if a.info["ordering"] == "FM"]
    afm = [a for a in nio if a.info["ordering"] != "FM"]
    assert np.isfinite(ConstantPerOrdering(fm).predict(afm)[0]["magmoms"]).all()


def test_empty_lists_are_refused(tiny_options):
    with pytest.raises(SpinMultiNetError, match="empty"):
        evaluate(build_model(tiny_options, ["O", "Ni"]), [])
    with pytest.raises(SpinMultiNetError, match="empty"):
        ConstantPerOrdering([])


def test_predict_keeps_the_order_and_needs_no_labels(nio, tiny_options):
    model = build_model(tiny_options, ["O", "Ni"])
    bare = [a.copy() for a in nio[:3]] + [nio[0].repeat((1, 1, 2))]
    found = predict(model, bare)
    assert [len(p["forces"]) for p in found] == [4, 4, 4, 8]
    assert found[3]["energy"] == pytest.approx(2 * found[0]["energy"], rel=1e-5)
    assert predict(model, []) == []


@pytest.mark.parametrize("axes", [1, 3])
def test_magnetic_forces_are_compared_on_sites_with_a_moment(nio, tiny_options, axes):
    model = build_model(tiny_options, ["O", "Ni"])
    frames = [a.copy() for a in nio[:2]]
    for atoms, original in zip(frames, nio, strict=False):
        atoms.calc = original.calc
        atoms.info["moment_role"] = "constraint"
        moments = np.outer(atoms.arrays.pop("magmom_in"), [0.6, 0.0, 0.8]) if axes == 3 else atoms.arrays["magmom_in"]
        atoms.arrays.pop("magmom_out")
        atoms.arrays["magmom_in"] = moments
    model.metadata["moment_role"] = "constraint"
    for atoms, p in zip(frames, predict(model, frames), strict=True):
        assert p["magnetic_forces"].shape == atoms.arrays["magmom_in"].shape
        atoms.set_array("magnetic_forces", p["magnetic_forces"] + 0.002)
    found = evaluate(model, frames)
    assert found["overall"]["magnetic_forces"]["mae"] == pytest.approx(2.0)
    assert found["overall"]["magnetic_forces"]["n"] == 2 * 2 * axes
    assert found["units"]["magnetic_forces"] == "meV/muB"
    assert np.shape(found["structures"][0]["magnetic_forces"]["label"]) == atoms.arrays["magmom_in"].shape
    assert "moments" not in found["overall"]
    json.dumps(found)
    for atoms in frames:
        del atoms.arrays["magnetic_forces"]
    assert "magnetic_forces" not in evaluate(model, frames)["overall"]


def test_structures_without_labels_are_refused_before_they_are_predicted(nio):
    for atoms in nio:
        atoms.calc = None
        del atoms.arrays["magmom_out"]
    with pytest.raises(SpinMultiNetError, match="no labels in the 24 structures"):
        evaluate(None, nio)


def test_labels_in_a_wrong_unit_are_refused_before_anything_is_predicted(nio):
    nio[5].calc.results["energy"] = -1e5 * len(nio[5])
    with pytest.raises(SpinMultiNetError, match=r"structure 5.*total energies in eV"):
        evaluate(None, nio)
