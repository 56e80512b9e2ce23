"""Rounds of active learning end to end: honest tests, frozen tests, decisions, edits and kills. Nothing is a stand-in.

The engine is the spin-lattice Hamiltonian, which writes down every calculation.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

from datastore import open_store
from datastore.queries import find
from datastore.registry import promote
from datastore.snapshot import load_snapshot
from tests.support.cli import environment, in_this_process, tiny_campaign
from tests.support.counted_engine import Counted
from workflows.campaign import load_campaign
from workflows.flows import CampaignMaker
from workflows.flows.active_learning import decide_next
from workflows.jobs.decide import decision
from workflows.jobs.honest import _unspoilt, predict_new_labels
from workflows.results import latest_evaluation, outcome
from workflows.submit import run_local

LOG = "engine.log"
ROUNDS = {"rounds": 2, "labels": 3, "candidates": 6, "promote": {"md_steps": 0, "structures": 1}}
HELD_OUT = ("AFM-I", "NiO")
FIRST = 2 * 3 * 5

DRIVER = """
import sys
from pathlib import Path
from tests.integration.test_active_learning import run
run(Path(sys.argv[1]))
"""


def write(folder: Path, **active_learning) -> Path:
    folder.mkdir(exist_ok=True)
    return tiny_campaign(
        folder,
        structures__parents=[
            {"species": species, "lattice_constant": 4.2, "cell": "all8"} for species in ({"Mn": 0.5, "Ni": 0.5}, "Ni")
        ],
        structures__orderings=["FM", "AFM-I", "AFM-II"],
        structures__deformations=[
            {"kind": "none"},
            {"kind": "displacement", "count": 2, "amplitude": [0.02, 0.06]},
            {"kind": "volume", "count": 2, "amplitude": [0.95, 1.05]},
        ],
        split={"by": "named", "held_out": list(HELD_OUT), "fractions": [0.6, 0.2, 0.2]},
        committee=2,
        active_learning={**ROUNDS, **active_learning},
    )


def run(campaign: Path):
    """Run a campaign with an engine that counts; the jobs' processes find it on the path."""
    with contextlib.chdir(campaign.parent), mock.patch.dict(os.environ, environment()):
        options, _ = load_campaign(campaign)
        engine = Counted(log=str(campaign.parent / LOG))
        maker = CampaignMaker(options, engine)
        return run_local(maker.make(), options.store, Path(options.folder), workers=2)


def ended(campaign: Path, result) -> dict:
    with opened(campaign) as store:
        return outcome(store, result)


def opened(campaign: Path):
    return open_store(f"local:{campaign.parent / 'runs/tiny/store'}")


def computed(campaign: Path) -> list[str]:
    return (campaign.parent / LOG).read_text().split()


def log(campaign: Path, event: str, kind: str) -> list[str]:
    file = campaign.parent / "runs/tiny/calculations.jsonl"
    entries = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [entry["job"] for entry in entries if (entry["event"], entry["type"]) == (event, kind)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A campaign of two rounds, its run, and what it ended with."""
    campaign = write(tmp_path_factory.mktemp("finished") / "whole")
    result = run(campaign)
    return campaign, result, ended(campaign, result)


@pytest.fixture
def copy(finished, tmp_path):
    """The finished campaign's folder under another name would be another campaign: a copy that is put back after."""
    campaign, _, _ = finished
    kept = tmp_path / "kept"
    shutil.copytree(campaign.parent, kept)
    yield campaign
    shutil.rmtree(campaign.parent)
    shutil.copytree(kept, campaign.parent)


def test_rounds_end_with_a_decision_that_says_why(finished):
    campaign, result, end = finished
    assert [entry["generation"] for entry in end["history"]] == [0, 1, 2]
    assert [entry["labels"] for entry in end["history"]] == [FIRST, FIRST + 3, FIRST + 6]
    assert len(computed(campaign)) == len(set(computed(campaign))) == FIRST + 6
    told = [json.loads(Path(path).read_text()) for path in end["decisions"]]
    assert [decision["stop"] for decision in told] == [False, False, True]
    assert told[-1]["why"] == "no round is left of at most 2"
    assert told[-1]["history"] == end["history"]
    kinds = {kind: len(uuids) for kind, uuids in result.uuids.items()}
    assert kinds["explore"] == kinds["select"] == kinds["honest"] == 2
    assert kinds["dataset"] == kinds["evaluate"] == kinds["promote"] == kinds["decide"] == 3
    assert (kinds["train"], kinds["conclude"]) == (2 * 3 + 2, 1)


def test_honest_tests_are_of_labels_that_the_model_has_not_seen(finished):
    campaign, _, end = finished
    tests = [json.loads(Path(path).read_text()) for path in end["honest"]]
    assert [test["generation"] for test in tests] == [1, 2]
    with opened(campaign) as store:
        points = {point.point_id: point for point in find(store)}
        for test in tests:
            model = store.get_model(test["model_id"])
            trained = store.snapshots.query_one({"snapshot_id": model.snapshot_id})["points"]
            assert {points[point_id].generation for point_id in test["point_ids"]} == {test["generation"]}
            assert not {p for split in trained.values() for p in split} & set(test["point_ids"])
            assert test["n"] == 3
            assert {"energy", "forces", "moments"} <= set(test["overall"])
            assert {"energy", "forces", "moments"} == set(test["uncertainty"])
            assert sum(group["n"] for name, group in test["groups"].items() if name.startswith("ordering:")) == 3
    order = [json.loads(line) for line in (campaign.parent / "runs/tiny/calculations.jsonl").read_text().splitlines()]
    when = {(entry["job"], entry["event"]): number for number, entry in enumerate(order)}
    for number in (1, 2):
        assert when[f"honest {number}", "done"] < when[f"dataset {number}", "started"]


def test_held_out_is_labelled_once_tested_on_and_never_chosen(finished):
    campaign, _, end = finished
    folder = campaign.parent / "runs/tiny"
    snapshots = [load_snapshot(next((folder / f"generation_{g}/snapshot").glob("*/*"))) for g in range(3)]
    assert all(snapshot.points["test"] == snapshots[0].points["test"] for snapshot in snapshots)
    with opened(campaign) as store:
        points = {point.point_id: point for point in find(store)}
        scores = store.get_model(end["model_id"]).scores
    held = {name for name, point in points.items() if point.ordering == "AFM-I" or point.formula == "NiO"}
    assert {points[name].generation for name in held} == {0}
    assert len(held) == 15 + 5
    for snapshot in snapshots:
        assert not held & {*snapshot.points["train"], *snapshot.points["val"]}
    chosen = [json.loads(Path(path).read_text()) for path in end["selections"]]
    assert len(chosen) == 2
    assert all(c["ordering"] != "AFM-I" and c["formula"] == "MnNiO2" for s in chosen for c in s["candidates"])
    assert all(choice["reason"] for selection in chosen for choice in selection["chosen"])
    assert set(scores["tests"]) == {"random", "orderings", "compositions", "pairs"}
    assert scores["tests"]["compositions"]["n"] == 15
    assert set(scores["tests"]["pairs"]) == {"n", "energy"}
    assert {"ordering:AFM-I", "composition:NiO", "deformation:volume"} <= set(scores["groups"])
    assert {"model", "constant", "no_spin"} <= set(scores)


def test_each_tested_structure_says_which_test_it_belongs_to(finished):
    results = json.loads(Path(finished[2]["results"]).read_text())
    for structure in results["model"]["structures"]:
        composition = "Mn" not in structure["symbols"]
        ordering = "orderings" if structure["ordering"] == "AFM-I" else "random"
        assert structure["test"] == ("compositions" if composition else ordering)
    assert results["tests"]["orderings"]["energy"]["n"] == sum(
        s["test"] == "orderings" for s in results["model"]["structures"]
    )


def test_the_summary_is_of_the_model_in_use_beside_its_baselines(finished):
    campaign, _, end = finished
    with opened(campaign) as store:
        evaluated = latest_evaluation(store, "tiny")
        assert evaluated == end
        champion = store.get_model(evaluated["model_id"])
    assert champion.status == "champion"
    assert [file.path for file in champion.files] == [member["path"] for member in evaluated["members"]]


def test_a_rerun_executes_nothing(finished):
    campaign, result, _ = finished
    again = run(campaign)
    assert (again.executed, again.reused) == (0, result.executed)


def test_more_rounds_go_on_from_where_it_stands(copy):
    before = len(computed(copy)), set(log(copy, "done", "train")), set(log(copy, "done", "evaluate"))
    write(copy.parent, rounds=3)
    result = run(copy)
    assert len(computed(copy)) == len(set(computed(copy))) == before[0] + 3
    assert result.executed_by_kind["label"] == 3
    new = {"explore": 1, "select": 3, "honest": 1, "dataset": 1, "evaluate": 1, "promote": 1, "decide": 4, "train": 4}
    assert {kind: result.executed_by_kind[kind] for kind in new} == new  # of trainings, two are of the baseline
    assert [entry["generation"] for entry in ended(copy, result)["history"]] == [0, 1, 2, 3]


def test_targets_end_the_rounds_and_an_edit_trains_nothing_that_is_unchanged(copy, finished):
    errors = [entry["errors"]["random"]["energy"] for entry in finished[2]["history"]]
    target = (max(errors) + min(errors)) / 2
    first = next(number for number, error in enumerate(errors) if error <= target)
    labelled = len(computed(copy))
    write(copy.parent, rounds=5, stop={"targets": {"random": {"energy": target}}})
    result = run(copy)
    end = ended(copy, result)
    assert end["last"] == first
    why = json.loads(Path(end["decisions"][-1]).read_text())["why"]
    assert why.startswith(f"all targets are met: energy on random {errors[first]:.3g}, target")
    assert len(computed(copy)) == labelled
    assert set(result.executed_by_kind) <= {"decide", "select", "conclude", "train"}
    baseline = 0 if first == 2 else 2
    assert result.executed_by_kind.get("train", 0) == baseline


def test_a_dry_run_shows_the_labels_that_the_run_then_calculates(copy):
    """With the campaign's own engine, which is another one: its labels are there, as they are of the same level."""
    path = write(copy.parent, rounds=3)
    files = sorted(str(p) for p in copy.parent.rglob("*") if "/store/" not in str(p))
    shown = json.loads(in_this_process(path.parent, "run", path.name, "--dry-run", "--json").stdout)
    assert sorted(str(p) for p in copy.parent.rglob("*") if "/store/" not in str(p)) == files
    assert shown["decision"]["why"] == "round 3 of at most 3 follows"
    assert (shown["round"], shown["asked"]) == (3, False)
    asked = {choice["candidate"]["config_id"] for choice in shown["selection"]}
    assert all(choice["reason"] for choice in shown["selection"])
    before = set(computed(copy))
    run(copy)
    assert set(computed(copy)) - before == asked


def kill_when(campaign: Path, event: str, kind: str, number: int) -> None:
    """Run the campaign in a process and kill it, -9, once so many jobs of a kind have begun or ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(campaign)], env=environment(), start_new_session=True, stderr=subprocess.PIPE
    )
    deadline = time.time() + 300
    while len(log(campaign, event, kind)) < number:
        assert process.poll() is None, process.stderr.read()
        assert time.time() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(0.3)  # its workers end with it


def test_killed_again_and_again_it_ends_with_the_same_labels_and_decisions(finished, tmp_path):
    whole, _, end = finished
    campaign = write(tmp_path / "whole")
    moments = [("done", "label", 7), ("started", "train", 1), ("started", "promote", 1), ("done", "label", FIRST + 1)]
    for moment in [*moments, ("started", "honest", 1), ("started", "select", 2)]:
        kill_when(campaign, *moment)
    found = ended(campaign, run(campaign))
    assert set(computed(campaign)) == set(computed(whole))
    assert sorted(found["point_ids"]) == sorted(end["point_ids"])
    decisions = [[json.loads(Path(path).read_text()) for path in e["decisions"]] for e in (found, end)]
    assert [(d["stop"], d["why"]) for d in decisions[0]] == [(d["stop"], d["why"]) for d in decisions[1]]
    for mine, other in zip(found["history"], end["history"], strict=True):
        same = ("generation", "labels", "promoted")
        assert [mine[key] for key in same] == [other[key] for key in same]
        assert mine["errors"]["random"]["energy"] == pytest.approx(other["errors"]["random"]["energy"], rel=1e-4)
    selections = [[json.loads(Path(path).read_text())["chosen"] for path in e["selections"]] for e in (found, end)]
    ids = [[[choice["candidate"]["config_id"] for choice in chosen] for chosen in one] for one in selections]
    assert ids[0] == ids[1]


def promotion(campaign: Path, number: int) -> dict:
    with opened(campaign) as store:
        document = store.jobs.query_one({"metadata.kind": "promote", "output.generation": number}, ["output"])
    return document["output"]


def model_of(promoted: dict) -> dict:
    return {key: promoted[key] for key in ("model_id", "members", "generation")}


def options_of(campaign: Path):
    with contextlib.chdir(campaign.parent):
        return load_campaign(campaign)[0]


def test_a_model_that_was_trained_on_the_labels_is_not_asked_about_them(finished, tmp_path):
    """After an edit the model in use may be of a later round than the one that is done again."""
    campaign, _, end = finished
    first, last = promotion(campaign, 0), promotion(campaign, 2)
    batch = json.loads(Path(end["honest"][0]).read_text())["point_ids"]
    spoilt = {**first, "champion": model_of(last)}
    before = {**promotion(campaign, 1), "champion": model_of(first)}
    with opened(campaign) as store:
        assert _unspoilt(store, spoilt, batch)["model_id"] == first["model_id"]
        # the model in use, not the newest, which has seen them
        assert _unspoilt(store, before, batch)["model_id"] == first["model_id"]
    told = predict_new_labels.original(options_of(campaign), 1, batch, first, str(tmp_path))
    assert (told["n"], told["model_id"]) == (3, first["model_id"])


def test_what_a_person_put_to_use_after_the_end_is_used_where_the_campaign_goes_on(copy):
    """A decision asked for anew is about the model in use now, and so is what follows it."""
    first, last = promotion(copy, 0), promotion(copy, 2)
    used = last["champion"]["model_id"]
    other = first["model_id"] if used == last["model_id"] else last["model_id"]
    with opened(copy) as store:
        promote(store, "tiny", other, "ada", ["moments of the other look wrong"], used)
    with contextlib.chdir(write(copy.parent, rounds=3).parent):
        response = decide_next.original(CampaignMaker(options_of(copy), Counted(log="unused")), 2, last)
    assert response.output["history"][-1]["champion"] == other
    previous = next(job for job in response.addition.jobs if job.metadata["kind"] == "explore").function_args[3]
    assert previous["champion"]["model_id"] == other


def test_a_batch_without_labels_is_tested_on_nothing(finished, tmp_path):
    campaign, _, _ = finished
    previous = promotion(campaign, 0)
    told = predict_new_labels.original(options_of(campaign), 1, ["no-such-label"], previous, str(tmp_path))
    assert told["n"] == 0
    entry = decision(options_of(campaign), 1, {**previous, "honest": [told["file"]]})["history"][-1]
    assert entry["honest"] is None


def test_errors_that_decide_are_those_of_the_model_in_use(finished):
    campaign, _, end = finished
    first, last = promotion(campaign, 0), promotion(campaign, 2)
    refused = {**last, "promoted": False, "champion": model_of(first), "history": end["history"][:2]}
    entry = decision(options_of(campaign), 2, refused)["history"][-1]
    assert (entry["model_id"], entry["champion"], entry["promoted"]) == (last["model_id"], first["model_id"], False)
    assert entry["errors"] == end["history"][0]["own_errors"]
    assert entry["own_errors"] == end["history"][2]["own_errors"]
    assert entry["labels"] == FIRST + 6
    assert entry["core_hours"] > end["history"][0]["core_hours"] > 0
