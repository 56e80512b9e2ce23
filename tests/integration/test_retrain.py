"""Retraining of a finished spin-lattice campaign: due, done once, refused, failed, interrupted. Everything is real."""

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from datastore import open_store
from datastore.registry import champion, history
from datastore.retrainings import retrainings
from tests.support.cli import MODEL, command, environment, in_this_process, tiny_campaign
from workflows.campaign import load_campaign
from workflows.results import latest_evaluation
from workflows.retrain import look
from workflows.structures.generate import candidates

pytestmark = pytest.mark.slow
EPOCHS = 8
LEARNING = {
    **{"rounds": 0, "labels": 2, "candidates": 4},
    "promote": {"md_steps": 0, "structures": 1},
    "retrain": {"new_points": 4, "drift": None},
}


def write_model(folder: Path, **training):
    content = {"model": MODEL, "training": {"epochs": EPOCHS, "batch_structures": 4, **training}}
    (folder / "model.yaml").write_text(yaml.safe_dump(content))


def edit(folder: Path, **retrain):
    content = yaml.safe_load((folder / "tiny.yaml").read_text())
    content["active_learning"]["retrain"].update(retrain)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    tiny_campaign(folder, baseline="", active_learning=LEARNING)
    write_model(folder)
    done = in_this_process(folder, "run", "tiny.yaml", "--workers", 1)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def campaign(finished, tmp_path):
    """A copy of the finished campaign, store and all; files of its model stay where they are."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def store_of(folder: Path):
    return open_store(f"local:{folder / 'runs/tiny/store'}")


def add_labels(folder: Path, count: int):
    """Accepted labels of further configurations, as an import would bring them."""
    with contextlib.chdir(folder):
        options, engine = load_campaign(Path("tiny.yaml"))
    configs = list(candidates(options.structures, 7, campaign="tiny", count=count))[:count]
    with store_of(folder) as store:
        for config in configs:
            store.put_point(engine.label(config, workdir=folder))
    return len(configs)


def state(folder: Path):
    with store_of(folder) as store:
        used = champion(store, "tiny")
        return used.model_id, retrainings(store, "tiny"), history(store, "tiny")


def dump(folder: Path):
    """Everything in the store, time stamps included."""
    with contextlib.closing(sqlite3.connect(folder / "runs/tiny/store/store.sqlite")) as database:
        return list(database.iterdump())


def test_where_nothing_is_due_nothing_is_written(campaign):
    files = {p: p.read_bytes() for p in (campaign / "runs").rglob("*") if p.is_file()}
    for arguments in (["--if-due"], ["--if-due", "--quiet"], ["--dry-run", "--json"]):
        done = in_this_process(campaign, "retrain", "tiny.yaml", *arguments)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["due"] == []
    assert {p: p.read_bytes() for p in (campaign / "runs").rglob("*") if p.is_file()} == files


def test_due_once_then_not_any_more(campaign):
    before, _, _ = state(campaign)
    add_labels(campaign, 3)
    assert "nothing due; 3 new labels of 4" in in_this_process(campaign, "retrain", "tiny.yaml", "--if-due").stdout
    add_labels(campaign, 6)
    shown = in_this_process(campaign, "retrain", "tiny.yaml", "--if-due", "--dry-run")
    assert "due: 6 new labels (at least 4)" in shown.stdout
    done = in_this_process(campaign, "retrain", "tiny.yaml", "--if-due", "--workers", 1, "--json")
    content = json.loads(done.stdout)
    now, (record,), log = state(campaign)
    assert (record.labels, record.unseen, record.champion) == (18, 6, before)
    assert content["outcome"] == record.outcome
    assert record.outcome in ("promoted", "refused")
    assert done.returncode == (0 if record.outcome == "promoted" else 1)
    assert record.reasons
    assert now == (record.model_id if record.outcome == "promoted" else before)
    assert [entry.model_id for entry in log] == [before, record.model_id]
    with store_of(campaign) as store:
        assert store.get_model(record.model_id).parents == [before]
        first, second = (
            store.snapshots.query_one({"snapshot_id": store.get_model(m).snapshot_id})
            for m in (before, record.model_id)
        )
    assert set(first["points"]["test"]) == set(second["points"]["test"])  # the test is frozen
    assert set(first["points"]["train"]) < set(second["points"]["train"])
    content_before = dump(campaign)
    again = in_this_process(campaign, "retrain", "tiny.yaml", "--if-due")
    assert (again.returncode, again.stdout[:11]) == (0, "nothing due")
    assert dump(campaign) == content_before
    # The same by hand is found done, but for the decision whether there is anything to do.
    by_hand = in_this_process(campaign, "retrain", "tiny.yaml", "--workers", 1, "--json")
    told = json.loads(by_hand.stdout)
    if record.outcome == "promoted":
        assert (by_hand.returncode, told["outcome"]) == (0, "unchanged")
    else:
        assert (by_hand.returncode, told["outcome"], told["model_id"]) == (1, "refused", record.model_id)
    assert state(campaign)[0] == now
    assert len(state(campaign)[2]) == 2
    # Campaign and report live on with what the retraining left in the store.
    for arguments in (["report", "tiny.yaml"], ["run", "tiny.yaml", "--workers", 1], ["report", "tiny.yaml"]):
        done = in_this_process(campaign, *arguments)
        assert done.returncode == 0, done.stderr
    assert now[:8] in Path(done.stdout.strip()).read_text()
    with store_of(campaign) as store:
        assert Path(latest_evaluation(store, "tiny")["results"]).is_file()


def test_three_at_once_retrain_once(campaign):
    add_labels(campaign, 4)
    arguments = command("retrain", "tiny.yaml", "--if-due", "--workers", 1)
    started = [
        subprocess.Popen(
            arguments, cwd=campaign, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=300) for process in started]
    _, (record,), log = state(campaign)
    assert [entry.model_id for entry in log][1:] == [record.model_id]
    assert sum(record.model_id in out for out, _ in said) >= 1
    worked = [out for out, _ in said if "retraining of tiny, because" in out]
    assert len(worked) == 1
    assert sum("nothing done: " in out or "nothing due" in out for out, _ in said) == 2
    assert not any("Traceback" in err for _, err in said)


def test_killed_on_the_way_it_is_finished_by_the_next_and_once(campaign):
    add_labels(campaign, 4)
    process = subprocess.Popen(
        command("retrain", "tiny.yaml", "--if-due", "--workers", 1),
        cwd=campaign,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    ledger = campaign / "runs/tiny/calculations.jsonl"
    deadline = time.time() + 200
    while '"event": "started", "type": "train", "job": "retrain member' not in ledger.read_text():
        assert process.poll() is None, process.stderr.read()
        assert time.time() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before, (begun,), _ = state(campaign)
    assert (begun.outcome, before) == ("", begun.champion)
    shown = in_this_process(campaign, "retrain", "tiny.yaml", "--if-due", "--dry-run").stdout
    assert f"the retraining that began at {begun.started} was interrupted" in shown
    in_this_process(campaign, "retrain", "tiny.yaml", "--if-due", "--workers", 1)
    _, (record,), log = state(campaign)
    assert (record.retraining_id, record.started) == (begun.retraining_id, begun.started)
    assert record.outcome in ("promoted", "refused")
    assert [entry.model_id for entry in log][1:] == [record.model_id]
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    finished = [line["uuid"] for line in lines if line["event"] == "done"]
    assert len(finished) == len(set(finished))


def test_the_line_of_cron_retrains_a_worse_model_is_refused_and_everybody_told(campaign):
    add_labels(campaign, 4)
    write_model(campaign, epochs=1, learning_rate=1e-7)
    keep = "import pathlib, sys; pathlib.Path('told.json').write_text(sys.stdin.read())"
    edit(campaign, notify=[sys.executable, "-c", keep])
    before = state(campaign)[0]
    line = in_this_process(campaign, "schedule", "tiny.yaml", "--workers", 1).stdout.splitlines()[1]
    minimal = {"PATH": "/usr/bin:/bin", "HOME": str(campaign), "OMP_NUM_THREADS": "1"}
    for _ in range(2):
        subprocess.run(["sh", "-c", line.split(maxsplit=5)[5]], cwd="/", env=minimal, check=False, timeout=300)
    now, (record,), log = state(campaign)
    assert now == before
    assert record.outcome == "refused"
    (said,) = [text for text in (campaign / "tiny-retrain.log").read_text().splitlines() if "because" in text]
    because = f"{record.ended} retraining of tiny, because 4 new labels (at least 4): model {record.model_id}"
    assert said.startswith(f"{because} was refused, {before} stays in use")
    assert (log[-1].action, log[-1].model_id) == ("refuse", record.model_id)
    told = json.loads((campaign / "told.json").read_text())
    assert (told["campaign"], told["outcome"], told["model_id"]) == ("tiny", "refused", record.model_id)
    again = in_this_process(campaign, "retrain", "tiny.yaml", "--if-due")  # the same labels are no reason any more
    assert (again.returncode, again.stdout[:25]) == (0, "nothing due; 0 new labels")


def test_a_failure_leaves_the_model_waits_and_is_tried_again_on_a_flag(campaign, finished):
    add_labels(campaign, 4)
    (snapshot,) = (finished / "runs/tiny/generation_0/snapshot").glob("*/*/test.extxyz")
    content = snapshot.read_bytes()
    try:
        snapshot.write_bytes(content[:-100])
        done = in_this_process(campaign, "retrain", "tiny.yaml", "--if-due", "--workers", 1)
    finally:
        snapshot.write_bytes(content)
    before, (record,), log = state(campaign)
    assert (done.returncode, record.outcome, record.champion) == (1, "failed", before)
    assert "test.extxyz is damaged" in record.reasons[0]
    assert len(log) == 1
    waiting = in_this_process(campaign, "retrain", "tiny.yaml", "--if-due")
    assert waiting.returncode == 0
    assert "nothing due" in waiting.stdout
    assert "failed 0.0 h ago" in waiting.stdout
    assert in_this_process(campaign, "retrain", "tiny.yaml", "--flag", "disk is mended").returncode == 0
    flagged = in_this_process(campaign, "retrain", "tiny.yaml", "--if-due", "--workers", 1, "--json")
    told = json.loads(flagged.stdout)
    assert told["outcome"] in ("promoted", "refused")
    assert told["why"][0] == "flagged: disk is mended"
    assert len(state(campaign)[1]) == 2
    assert "nothing due" in in_this_process(campaign, "retrain", "tiny.yaml", "--if-due").stdout


def test_drift_asks_the_model_once_per_set_of_labels(campaign, monkeypatch):
    edit(campaign, new_points=None, drift=1e9, least=2)
    add_labels(campaign, 3)
    with contextlib.chdir(campaign):
        options, _ = load_campaign(Path("tiny.yaml"))
        first = look(options).survey.state.drift
        assert first.keys() == {"energy", "forces", "moments"}
        assert all(ratio > 0 for ratio in first.values())
        monkeypatch.setattr("workflows.retrain_state._errors", None)  # would fail if it were called
        assert look(options).survey.state.drift == first
    edit(campaign, drift=0.5 * max(first.values()))
    done = in_this_process(campaign, "retrain", "tiny.yaml", "--if-due", "--dry-run", "--json")
    assert json.loads(done.stdout)["due"][0].startswith("the error of ")
