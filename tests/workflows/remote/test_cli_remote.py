"""Commands on a campaign in the queue; what is wrong costs one line."""

import json

import pytest

from tests.support.cli import assert_one_line, in_this_process, tiny_campaign
from workflows.remote.queue import open_queue

MAP = "workers: {label: labels, train: train, light: light}\nshared: {train: true}\n"


def said(folder, *words):
    done = in_this_process(folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_run_status_pause_resume_cancel(desk):
    (desk / "map.yaml").write_text(MAP)
    first = json.loads(said(desk, "run", "tiny.yaml", "--remote", "desk", "--worker-map", "map.yaml", "--json"))
    assert (first["submitted"], first["in_queue"], first["light_jobs_run"]) == (12, 12, 0)
    status = json.loads(said(desk, "status", "tiny.yaml", "--json"))
    assert (status["state"], status["at_work"]) == ("running", "in the queue of desk")
    assert status["queue"]["jobs"]["labels"] == {"READY": 12}
    assert "campaign tiny: paused; 13 jobs in the queue of desk" in said(desk, "pause", "tiny.yaml", "--remote", "desk")
    told = said(desk, "status", "tiny.yaml", "--remote", "desk")
    assert "queue of desk (paused)" in " ".join(told.split())
    assert "campaign tiny: not started" in told
    resumed = json.loads(said(desk, "resume", "tiny.yaml", "--remote", "desk", "--json"))
    assert (resumed["submitted"], resumed["in_queue"]) == (0, 12)
    cancelled = json.loads(said(desk, "cancel", "tiny.yaml", "--remote", "desk", "--json"))
    assert (cancelled["state"], cancelled["jobs"]) == ("cancelled", 12)
    again = json.loads(said(desk, "run", "tiny.yaml", "--remote", "desk", "--json"))
    assert (again["tried_again"], again["in_queue"]) == (12, 12)


def change_queue(find, change):
    with open_queue("desk") as controller:
        return controller.jobs.update_one(find, {"$set": change}).modified_count


def test_a_timer_takes_up_what_the_queue_leaves_lying(desk):
    """Nothing in the queue follows a job in REMOTE_ERROR. What is paused, or waits for a person, is left alone."""
    (desk / "map.yaml").write_text(MAP)
    said(desk, "run", "tiny.yaml", "--remote", "desk", "--worker-map", "map.yaml")
    lost = {"state": "REMOTE_ERROR", "previous_state": "RUN_FINISHED", "remote.error": "paramiko.SSHException: EOF"}
    assert change_queue({"job.metadata.kind": "label"}, lost) == 1
    step = ("advance", "tiny.yaml", "--remote", "desk")
    assert json.loads(said(desk, *step, "--json"))["tried_again"] == 1
    assert (
        change_queue({"state": "RUN_FINISHED"}, {"state": "FAILED", "error": "OSError: No space left on device"}) == 1
    )
    assert json.loads(said(desk, *step, "--json"))["tried_again"] == 0
    said(desk, "pause", "tiny.yaml", "--remote", "desk")
    assert "campaign tiny is paused; nothing was done" in said(desk, *step)
    assert json.loads(said(desk, "status", "tiny.yaml", "--json"))["queue"]["held"] == "paused"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "tiny.yaml", "--worker-map", "map.yaml"], "--worker-map is for --remote PROJECT"),
        (["run", "tiny.yaml", "--remote", "desk", "--workers", "2"], "--remote has no --workers; leave it out"),
        (["run", "tiny.yaml", "--remote", "desk"], "with --worker-map FILE; there is no desk_workers.yaml here"),
        (["pause", "tiny.yaml", "--remote", "desk"], "start it with spinmultinet run tiny.yaml --remote"),
    ],
)
def test_bad_input_is_one_line(tmp_path, words, message):
    pytest.importorskip("jobflow_remote", reason="pip install 'spinmultinet-workflows[remote]'")
    tiny_campaign(tmp_path)
    (tmp_path / "map.yaml").write_text(MAP)
    assert_one_line(in_this_process(tmp_path, *words), 2, message)
