"""``spinmultinet retrain`` where there is nothing to train yet, or somebody else is at it."""

import json
import os
import time

import pytest

from datastore import open_store
from datastore.locks import lock
from tests.support.cli import assert_one_line, in_this_process, tiny_campaign
from workflows.campaign_lock import lock_name
from workflows.run_lock import run_lock


@pytest.fixture
def folder(tmp_path):
    tiny_campaign(tmp_path)
    return tmp_path


@pytest.fixture
def store(folder):
    with open_store(f"local:{folder / 'runs/tiny/store'}") as opened:
        yield opened


def test_without_a_store(folder):
    assert_one_line(in_this_process(folder, "retrain", "tiny.yaml", "--if-due"), 2, "there is no store at")
    assert not (folder / "runs").exists()


def test_without_a_model_there_is_nothing_to_do_for_a_timer(folder, store):
    done = in_this_process(folder, "retrain", "tiny.yaml", "--if-due")
    assert (done.returncode, done.stderr) == (0, "")
    assert "tiny has no model in use yet" in done.stdout
    assert in_this_process(folder, "retrain", "tiny.yaml", "--if-due", "--quiet").stdout == ""
    assert_one_line(in_this_process(folder, "retrain", "tiny.yaml"), 2, "has no model in use yet; finish it with")


def test_somebody_else_at_it_is_another_exit_code(folder, store):
    with run_lock(folder / "runs/tiny"):
        assert_one_line(in_this_process(folder, "retrain", "tiny.yaml"), 75, f"process {os.getpid()}")
    with lock(store, lock_name("tiny"), "spinmultinet run"):
        store.locks.update(
            {**store.locks.query_one({}), "host": "cluster7", "machine": "other", "renewed": time.time()}
        )
        assert_one_line(in_this_process(folder, "retrain", "tiny.yaml"), 75, "spinmultinet run since", "cluster7")
        assert_one_line(in_this_process(folder, "run", "tiny.yaml"), 1, "campaign tiny is busy", "cluster7")


def test_a_flag_is_a_note_in_the_store(folder, store):
    done = in_this_process(folder, "retrain", "tiny.yaml", "--flag", "labels of November", "--json")
    assert json.loads(done.stdout)["reason"] == "labels of November"
    assert store.retrain_flags.count({"campaign": "tiny"}) == 1
    assert_one_line(in_this_process(folder, "retrain", "tiny.yaml", "--flag", " "), 2, "a flag needs a reason")
    assert_one_line(in_this_process(folder, "retrain", "tiny.yaml", "--flag", "x", "--if-due"), 2, "--flag only leaves")
