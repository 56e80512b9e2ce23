"""Jobs in the queue paused, stopped and let go on: those of pilots, of two campaigns, and locked ones."""

from datetime import UTC, datetime

import pytest
import yaml

from tests.workflows.remote.support import campaign_of, labels_of, tail_of_other, tails_of
from workflows.remote import holding
from workflows.remote.advance import tail_job
from workflows.remote.elsewhere import Queue
from workflows.remote.queue import QueueWarning, open_queue
from workflows.remote.submission import Submission


@pytest.fixture
def pilots(desk):
    """The worker of labels is a batch worker; its folder of submitted ones."""
    file = desk / "projects" / "desk.yaml"
    content = yaml.safe_load(file.read_text())
    batch = {"jobs_handle_dir": str(desk / "handle"), "work_dir": str(desk / "batches")}
    content["workers"]["labels"] = {**content["workers"]["labels"], "batch": batch}
    file.write_text(yaml.safe_dump(content))
    (desk / "handle" / "submitted").mkdir(parents=True)
    return desk / "handle" / "submitted"


@pytest.fixture
def controller(desk, pilots):
    with open_queue("desk") as opened:
        yield opened


@pytest.fixture
def campaign(desk):
    return campaign_of(desk)


@pytest.fixture
def jobs(controller, campaign):
    """Four labels in one flow of the queue."""
    name = campaign.options.name
    tail = lambda uuids: tail_job(campaign.options, uuids)  # noqa: E731
    Submission(controller, campaign.routing, name, tail).submit(labels_of(campaign)[:4])
    return labels_of(campaign)[:4]


def put(controller, job, state):
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"state": state}})


def states(controller, jobs):
    return [controller.jobs.find_one({"uuid": job.uuid})["state"] for job in jobs]


def follow_as_other(controller, campaign, jobs):
    Submission(controller, campaign.routing, "other", tail_of_other(campaign)).follow([job.uuid for job in jobs])


def tail_states(controller, name):
    return [tail["state"] for tail in tails_of(controller) if tail["job"]["metadata"]["campaign"] == name]


@pytest.mark.parametrize(("act", "state"), [(holding.pause, "PAUSED"), (holding.stop, "USER_STOPPED")])
def test_what_a_pilot_has_before_it_is_taken_back_and_what_it_has_begun_is_left(
    controller, campaign, jobs, pilots, act, state
):
    """A pilot moves the file of a job out of the folder when it begins; the queue learns of that later."""
    for job, its in zip(jobs, ["BATCH_SUBMITTED", "BATCH_SUBMITTED", "BATCH_RUNNING", "UPLOADED"], strict=True):
        put(controller, job, its)
    listed = pilots / f"{jobs[0].uuid}_1"
    listed.touch()
    act(controller, campaign.options.name)
    assert states(controller, jobs) == [state, "BATCH_SUBMITTED", "BATCH_RUNNING", state]
    assert not listed.exists()
    assert controller.jobs.count_documents({"lock_id": {"$ne": None}}) == 0


def test_a_worker_out_of_reach_is_told_and_its_jobs_stay(controller, campaign, jobs, pilots):
    """Here the list is no folder."""
    put(controller, jobs[0], "BATCH_SUBMITTED")
    pilots.rmdir()
    pilots.write_text("")
    with pytest.warns(QueueWarning, match="1 jobs were not paused .*worker labels.*give the same command again"):
        assert holding.pause(controller, campaign.options.name) == 4
    assert states(controller, jobs) == ["BATCH_SUBMITTED", "PAUSED", "PAUSED", "PAUSED"]


@pytest.mark.parametrize(("act", "state"), [(holding.pause, "PAUSED"), (holding.stop, "USER_STOPPED")])
def test_what_another_campaign_waits_for_goes_on(controller, campaign, jobs, act, state):
    follow_as_other(controller, campaign, jobs[:2])
    act(controller, campaign.options.name)
    assert states(controller, jobs) == ["READY", "READY", state, state]


def test_what_waits_for_stopped_jobs_goes_on(controller, campaign, jobs):
    """Else an advance that was paused with its campaign would wait for ever, once it is resumed."""
    follow_as_other(controller, campaign, jobs[:2])
    assert holding.pause(controller, "other") == 1
    holding.stop(controller, campaign.options.name)
    assert tail_states(controller, campaign.options.name) == ["READY"]
    assert holding.go_on(controller, {"job.metadata.campaign": "other"}) == 1
    assert tail_states(controller, "other") == ["READY"]


def test_what_another_campaign_has_paused_goes_on_when_it_is_wanted(controller, campaign, jobs):
    holding.pause(controller, campaign.options.name)
    other = campaign.options.model_copy(update={"name": "other"})
    Queue(controller, campaign.routing, other, tail_job, False, lambda: "").give(jobs[:2])
    assert states(controller, jobs) == ["READY", "READY", "PAUSED", "PAUSED"]
    Queue(controller, campaign.routing, campaign.options, tail_job, False, lambda: "").give(jobs)
    assert states(controller, jobs)[2:] == ["PAUSED", "PAUSED"], "its own are for resume"


def test_locked_jobs_are_told_and_done_the_next_time(controller, campaign, jobs, monkeypatch):
    monkeypatch.setattr(holding, "WAIT", None)
    locked = {"lock_id": "gone", "lock_time": datetime.now(UTC)}
    controller.jobs.update_one({"uuid": jobs[1].uuid}, {"$set": locked})
    with pytest.warns(QueueWarning, match="1 jobs were not paused .*jf -p desk admin unlock"):
        assert holding.pause(controller, campaign.options.name) == 4
    assert states(controller, jobs) == ["PAUSED", "READY", "PAUSED", "PAUSED"]
    controller.jobs.update_one({"uuid": jobs[1].uuid}, {"$set": {"lock_id": None, "lock_time": None}})
    assert holding.pause(controller, campaign.options.name) == 1
