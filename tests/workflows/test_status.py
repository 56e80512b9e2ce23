"""Status of a real campaign: before it began, while it runs, after kill -9, at the end, and after a failed job."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.support.cli import MODEL, TRAINING, assert_one_line, command, environment, in_this_process, tiny_campaign
from workflows.status import mean_errors

FEW = {"active_learning": {"rounds": 1, "labels": 2, "candidates": 4, "stop": {"targets": {"random": {"energy": 1e4}}}}}


def asked(folder, code=0):
    done = in_this_process(folder, "status", "tiny.yaml", "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """Folder of a campaign that was killed in the middle and then finished, and its status at each time."""
    folder = tmp_path_factory.mktemp("course")
    tiny_campaign(folder, **FEW)
    told = {"before": asked(folder)}
    assert not (folder / "runs").exists()
    run = subprocess.Popen(command("run", "tiny.yaml"), cwd=folder, env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.time() + 120
    while time.time() < deadline:
        now = asked(folder)
        if now["state"] == "running" and now["jobs"]["label"]["done"] >= 3:
            break
        time.sleep(0.2)
    os.kill(run.pid, signal.SIGKILL)
    told |= {"running": now, "pid": run.pid}
    run.wait()
    told["killed"] = asked(folder)
    assert in_this_process(folder, "run", "tiny.yaml").returncode == 0
    return folder, told | {"end": asked(folder)}


def test_before_the_first_run(course):
    told = course[1]["before"]
    assert (told["state"], told["stage"], told["generation"]) == ("not started", "label", 0)
    assert told["jobs"]["label"] == {"done": 0, "failed": 0, "running": 0, "waiting": 12}
    assert told["left"]["labels"] == 12
    assert told["left"]["seconds"] > 0
    assert told["left"]["labels_later"] == 2
    assert told["champion"] is None
    assert told["errors"] == []
    assert told["targets"] == [{"test": "random", "task": "energy", "target": 1e4, "now": None, "met": False}]
    assert told["next"][0].startswith("12 labels, then take the labels into the dataset")


def test_while_a_process_is_at_work(course):
    told = course[1]["running"]
    assert told["process"] == str(course[1]["pid"])
    assert f"process {course[1]['pid']}" in told["at_work"]
    counts = told["jobs"]["label"]
    assert sum(counts.values()) >= 12
    assert sum(entry["running"] for entry in told["jobs"].values()) >= 1


def test_after_a_kill_nothing_runs_and_nothing_is_lost(course):
    running, told = course[1]["running"], course[1]["killed"]
    assert told["state"] == "stopped"
    assert told["process"] == ""
    assert sum(entry["running"] for entry in told["jobs"].values()) == 0
    assert told["jobs"]["label"]["done"] >= running["jobs"]["label"]["done"]
    assert told["left"]["labels"] == told["jobs"]["label"]["waiting"]


def test_at_the_end(course):
    told = course[1]["end"]
    assert (told["state"], told["stage"], told["next"]) == ("finished", "", [])
    assert all(entry["waiting"] == entry["running"] == 0 for entry in told["jobs"].values())
    assert told["left"]["labels"] == told["left"]["labels_later"] == told["left"]["trainings"] == 0
    accepted = told["cost"]["accepted"]
    assert told["jobs"]["label"]["done"] == accepted
    assert [entry["labels"] for entry in told["errors"]][-1] == accepted
    assert told["targets"][0]["met"]
    assert told["champion"]["model_id"] in {entry["model_id"] for entry in told["errors"]}
    assert told["training_seconds"] > 0
    assert told["failures"] == []


def test_tables_for_people(course):
    done = in_this_process(course[0], "status", "tiny.yaml")
    assert done.returncode == 0
    for text in ("campaign tiny: finished", "model in use:", "random energy, meV/atom", "left: no labels and no"):
        assert text in done.stdout


def files_of(folder):
    """When each file was written; SQLite's own side files come and go with every reader."""
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and ".sqlite-" not in p.name}


def test_a_status_changes_nothing(course):
    folder = course[0] / "runs" / "tiny"
    before = files_of(folder)
    asked(course[0])
    assert files_of(folder) == before


def test_a_failed_job_is_named_with_its_file_and_an_exit_code(tmp_path):
    tiny_campaign(tmp_path, split={"fractions": [0.7, 0, 0.3]})
    best = {"model": MODEL, "training": {**TRAINING, "keep": "best"}}  # of no labels for validation
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(best))
    assert in_this_process(tmp_path, "run", "tiny.yaml").returncode == 1
    told = asked(tmp_path, code=1)
    assert (told["state"], told["stage"]) == ("failed", "train")
    (failure,) = told["failures"]
    assert failure["job"] == "train 0 member 0"
    assert "keep: best need a validation set, and there is none" in failure["error"]
    assert "Traceback" in Path(failure["file"]).read_text()
    shown = in_this_process(tmp_path, "status", "tiny.yaml")
    assert "failed: train 0 member 0:" in shown.stdout
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"model": MODEL, "training": TRAINING}))
    assert in_this_process(tmp_path, "run", "tiny.yaml").returncode == 0  # which needs no validation
    assert asked(tmp_path)["state"] == "finished"


def test_no_campaign_file(tmp_path):
    assert_one_line(in_this_process(tmp_path, "status", "none.yaml"), 2, "none.yaml")


def test_the_model_is_not_loaded(tmp_path):
    """torch takes seconds, and a status is asked for often."""
    tiny_campaign(tmp_path)
    code = "import sys; from workflows.cli import run; run(['status', 'tiny.yaml']); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_scores_of_models_from_before_there_were_several_tests():
    old = {"model": {"energy": {"mae": 3.0, "n": 4}, "forces": {"mae": 40.0}}, "constant": {}}
    assert mean_errors(old) == {"random": {"energy": 3.0, "forces": 40.0}}
    new = {**old, "tests": {"pairs": {"n": 2, "energy": {"mae": 1.0, "rmse": 2.0, "n": 2}}}}
    assert mean_errors(new) == {"pairs": {"energy": 1.0}}
    assert mean_errors({}) == {}
