import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks.active_learning import statistics
from benchmarks.active_learning.__main__ import main
from benchmarks.active_learning.curves import Comparison
from benchmarks.active_learning.page import verdicts
from benchmarks.active_learning.plan import read_plan
from benchmarks.active_learning.scores import difference_error
from benchmarks.active_learning.statistics import Interval, error_ratio, labels_for, mean_and_interval, share_of_labels

COUNTS = [10, 20, 40, 80]
PLAN = {
    "default": "balanced",
    "baselines": ["farthest-point"],
    "strategies": {
        "balanced": {"select": {"rule": "balanced"}},
        "farthest-point": {"select": {"rule": "farthest-point", "spread_over": [], "geometry_once": False}},
        "spread": {"select": {"rule": "spread"}, "members": 2},
    },
    "tasks": [
        {
            "name": "spin-lattice",
            "counts": [4, 6, 8],
            "seeds": [0, 1],
            "strategies": ["balanced", "farthest-point"],
            "steps": 3,
            "size": {
                "parents": 2,
                "geometries": 1,
                "temperatures": [300.0],
                "steps": 1,
                "interval": 1,
                "relaxation_steps": 1,
                "relaxation_interval": 1,
                "test_geometries": 1,
            },
            "model": {"layers": 1, "channels": 2, "l_max": 0, "cutoff": 2.5, "n_bessel": 2, "radial_hidden": [4]},
            "training": {"batch_structures": 4},
        }
    ],
}


def power_law(factor=1.0, seeds=4):
    return np.array([[factor * 10 / n * (1 + 0.1 * s) for n in COUNTS] for s in range(seeds)])


def test_labels_for_an_error_between_and_on_points():
    errors = np.array([1.0, 0.5, 0.25, 0.125])
    assert labels_for(COUNTS, errors, 0.4) == pytest.approx(25)
    assert labels_for(COUNTS, errors, 0.25) == pytest.approx(40)
    assert labels_for(COUNTS, errors, 2.0) == 10
    assert labels_for(COUNTS, errors, 0.1) == float("inf")


def test_an_error_that_rises_again_was_reached():
    assert labels_for(COUNTS, np.array([1.0, 0.5, 0.7, 0.25]), 0.5) == pytest.approx(20)
    assert 40 < labels_for(COUNTS, np.array([1.0, 0.5, 0.7, 0.25]), 0.4) < 80


def test_half_the_error_at_one_over_n_takes_half_the_labels():
    share = share_of_labels(COUNTS, power_law(0.5), power_law(), 80)
    assert (share.value, share.low, share.high) == pytest.approx((0.5, 0.5, 0.5))
    assert share_of_labels(COUNTS, power_law(), power_law(0.1), 80).value == float("inf")


@pytest.mark.parametrize("late", [1.0, 10.0])
def test_a_baseline_that_gains_nothing_more_needs_no_more_labels(late):
    theirs = power_law()
    theirs[:, 3] = late * theirs[:, 2]
    assert share_of_labels(COUNTS, power_law(0.5), theirs, 80).value == pytest.approx(0.5)  # 20 of 40, not of 80


def test_equal_curves_take_equal_labels_at_every_count():
    errors = power_law() * np.exp(np.random.default_rng(0).normal(scale=0.5, size=(4, 4)))
    for at in COUNTS:
        share = share_of_labels(COUNTS, errors, errors, at)
        assert (share.value, share.low, share.high) == (1, 1, 1)


def test_shares_of_each_in_the_other_are_inverse():
    one, other = power_law(0.7), power_law()
    shares = [share_of_labels(COUNTS, *pair, 40).value for pair in ((one, other), (other, one))]
    assert shares == pytest.approx([0.7, 1 / 0.7])


@pytest.mark.parametrize(("seeds", "covered"), [(6, 0.85), (40, 0.937)])
def test_intervals_of_shares_are_too_narrow_with_six_seeds(seeds, covered, monkeypatch):
    """The share is 0.5; each seed of each strategy has errors of its own size, 0.3 in the logarithm."""
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    rng, held = np.random.default_rng(0), []
    for _ in range(300):
        mine, theirs = (
            np.outer(np.exp(rng.normal(scale=0.3, size=seeds)), factor * 10 / np.array(COUNTS)) for factor in (0.5, 1)
        )
        share = share_of_labels(COUNTS, mine, theirs, 40)
        held.append(share.low <= 0.5 <= share.high)
    assert np.mean(held) == pytest.approx(covered, abs=0.02)


def test_half_the_labels_is_said_to_be_shown_only_of_whole_intervals():
    shares = {40: Interval(0.3, 0.2, 0.5), 80: Interval(0.4, 0.3, 0.6), 160: Interval(0.6, 0.4, 0.7)}
    compared = [Comparison("seen/differences", "random", shares, Interval(1, 1, 1))]
    assert next(verdicts(read_plan(), compared)).endswith(
        "beside random: half the labels or fewer, with 95 % confidence, for its error at 40; "
        "half or fewer on the mean, not shown with 95 % confidence, for its error at 80; "
        "more than half, for its error at 160."
    )


def test_ratio_of_errors_and_its_t_interval():
    ratio = error_ratio(power_law(0.8), power_law())
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.8, 0.8, 0.8))
    logs = np.array([-0.1, 0.0, 0.1])
    ratio = error_ratio(np.exp(logs)[:, None] * np.ones((3, 4)), np.ones((3, 4)))
    half = 4.302653 * 0.1 / np.sqrt(3)  # t of two degrees of freedom
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1, np.exp(-half), np.exp(half)), rel=1e-5)


def test_mean_over_seeds_is_geometric():
    mean, low, high = mean_and_interval(np.array([[1.0], [4.0]]))
    assert mean == pytest.approx(2)
    assert low * high == pytest.approx(4)


def test_differences_are_of_one_geometry_and_against_fm():
    def frame(pair, ordering, energy):
        atoms = Atoms("NiO", positions=[[0, 0, 0], [0, 0, 2]], info={"pair_id": pair, "ordering": ordering})
        atoms.calc = SinglePointCalculator(atoms, energy=energy, free_energy=energy)
        return atoms

    frames = [frame("a", "AFM-II", -1.0), frame("a", "FM", 0.0), frame("a", "AFM-I", 0.5), frame("b", "AFM-II", 7.0)]
    assert difference_error(frames, [-1.0, 0.0, 0.5, 0.0]) == 0  # b has no FM
    assert difference_error(frames, [-1.2, 0.2, 0.5, 0.0]) == pytest.approx(1e3 * (0.4 + 0.2) / 2 / 2)


def test_the_default_of_the_plan_is_no_baseline_and_its_seeds_are_not_those_of_tuning():
    plan = read_plan()
    assert plan.default not in plan.baselines
    assert all(not {100, 101} & set(task.seeds) and len(task.seeds) >= 5 for task in plan.tasks)
    assert all({plan.default, *plan.baselines} <= set(task.strategies) for task in plan.tasks)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of the tiny plan that nothing disturbed: its folder."""
    folder = tmp_path_factory.mktemp("active-learning")
    (folder / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    main(["run", "--out", str(folder), "--plan", str(folder / "plan.yaml"), "--task", "spin-lattice"])
    return folder


def lines(folder):
    return [json.loads(line) for line in (folder / "spin-lattice.jsonl").read_text().splitlines()]


def by_key(folder):
    return {line["key"]: line["result"] for line in lines(folder)}


def test_strategies_begin_alike_and_choose_for_themselves(whole):
    found = by_key(whole)
    assert len(found) == len(lines(whole)) == 2 + 2 * 2 * 3
    for seed in (0, 1):
        first = [found[f"{name}/{seed}/4"] for name in ("balanced", "farthest-point")]
        assert first[0]["errors"] == first[1]["errors"]
        assert first[0]["next"] != first[1]["next"]
        assert [len(set(found[f"balanced/{seed}/{n}"]["next"])) for n in (4, 6, 8)] == [2, 2, 0]


def test_killed_and_started_again_gives_the_same_lines(whole, tmp_path):
    folder = tmp_path / "killed"
    folder.mkdir()
    for place in whole.glob("spin-lattice-*"):  # candidates are there; what is killed is the learning
        shutil.copytree(place, folder / place.name)
    shutil.copy(whole / "plan.yaml", folder)
    command = ["run", "--out", str(folder), "--plan", str(folder / "plan.yaml"), "--task", "spin-lattice"]
    command += ["--seeds", "0"]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.active_learning", *command])
    end = time.monotonic() + 300
    while time.monotonic() < end and not (folder / "spin-lattice.jsonl").exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    expected = [line for line in lines(whole) if line["key"].split("/")[1] == "0"]
    assert 0 < len(by_key(folder)) < len(expected)
    main(command)
    assert lines(folder) == expected


def test_the_page_has_every_error_and_a_figure(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    main(["page", "--results", str(whole), "--plan", str(whole / "plan.yaml"), "--docs", str(tmp_path)])
    text = (tmp_path / "results" / "active-learning.md").read_text()
    error = by_key(whole)
    first = np.exp(np.mean([np.log(error[f"balanced/{seed}/4"]["errors"]["seen/energy"]) for seed in (0, 1)]))
    assert f"| {first:.3g} (" in text
    assert (tmp_path / "images" / "active-learning-spin-lattice.png").stat().st_size > 1000


def test_a_committee_gives_spreads(whole):
    command = ["run", "--out", str(whole), "--plan", str(whole / "plan.yaml"), "--task", "spin-lattice"]
    main([*command, "--strategies", "spread", "--seeds", "0"])
    assert len(by_key(whole)["spread/0/4"]["next"]) == 2


def test_unknown_strategy_is_named(whole):
    with pytest.raises(Exception, match="no strategy 'best'"):
        main(["run", "--out", str(whole), "--plan", str(whole / "plan.yaml"), "--strategies", "best"])
