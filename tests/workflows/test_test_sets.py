"""Errors by test set and by group, against sums made by hand."""

import numpy as np
import pytest
from ase.io import read

from datastore.splits import SplitOptions
from spinmultinet.evaluate import ConstantPerOrdering, evaluate
from tests.support.evaluation import LABELS
from workflows.test_sets import evaluate_by_test, formula_of

pytestmark = pytest.mark.filterwarnings("ignore::spinmultinet.levels.LevelWarning")
SPLIT = SplitOptions(by="named", held_out=("AFM-II",))


@pytest.fixture(scope="module")
def judged():
    frames = read(LABELS, ":")
    model = ConstantPerOrdering(frames)
    return frames, evaluate(model, frames), evaluate_by_test(model, frames, SPLIT)


def test_the_evaluation_is_what_it_was(judged):
    _, plain, result = judged
    assert {key: result[key] for key in plain if key != "structures"} == {
        key: plain[key] for key in plain if key != "structures"
    }
    without = [{k: v for k, v in structure.items() if k != "test"} for structure in result["structures"]]
    assert without == plain["structures"]


def test_every_label_is_in_one_test_set_and_errors_are_those_of_its_labels(judged):
    frames, _, result = judged
    assert set(result["tests"]) == {"random", "orderings", "pairs"}
    names = [structure["test"] for structure in result["structures"]]
    assert names == ["orderings" if atoms.info["ordering"] == "AFM-II" else "random" for atoms in frames]
    for name in ("random", "orderings"):
        mine = [s["energy"] for s, test in zip(result["structures"], names, strict=True) if test == name]
        errors = 1e3 * np.array([energy["predicted"] - energy["label"] for energy in mine])
        found = result["tests"][name]
        assert found["n"] == found["energy"]["n"] == len(errors)
        assert found["energy"]["mae"] == pytest.approx(np.abs(errors).mean())
        assert found["energy"]["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))


def test_pairs_are_differences_of_energy(judged):
    _, plain, result = judged
    assert result["tests"]["pairs"] == {
        "n": plain["pairs"]["n"],
        "energy": {key: plain["pairs"][key] for key in ("mae", "rmse", "n")},
    }


def test_groups_cover_all_labels_once_per_kind(judged):
    frames, plain, result = judged
    for kind in ("ordering", "deformation", "composition"):
        mine = {name: group for name, group in result["groups"].items() if name.startswith(f"{kind}:")}
        assert sum(group["n"] for group in mine.values()) == len(frames)
    ordering = plain["per_ordering"]["FM"]
    assert result["groups"]["ordering:FM"]["forces"] == ordering["forces"]
    assert formula_of(frames[0]) == "NiO"
