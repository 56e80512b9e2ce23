"""Advances of a campaign: light jobs here, heavy ones into the queue; two at once; what people hold back."""

import stat
import threading
import time

import pytest

from datastore.locks import BusyError
from tests.support.cli import ROOT
from tests.workflows.remote.support import campaign_of, labels_of, queue_documents, tails_of
from workflows.campaign_lock import campaign_lock
from workflows.remote import advance as module
from workflows.remote.advance import advance, advance_campaign, tail_job
from workflows.remote.campaign import FILE, load
from workflows.remote.control import hold, queue_state, release
from workflows.remote.queue import open_queue
from workflows.remote.routing import RemoteSetupError


@pytest.fixture
def campaign(desk, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made = campaign_of(desk, chunk=5, in_flight=20)
    made.save()
    return made


def counts(campaign):
    return queue_state(campaign.options.name, "desk").jobs


def finish(campaign, jobs):
    """What the runner does with jobs that ended well."""
    with open_queue("desk") as controller:
        for job in jobs:
            job.run(controller.jobstore)
            controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"state": "COMPLETED"}})


def test_what_is_written_down_for_the_jobs_in_the_queue(campaign):
    """The same flow comes out of it, and nobody else may read the store's URI."""
    folder = campaign.maker.folder
    assert load(folder).maker.fingerprint == campaign.maker.fingerprint
    assert load(folder) == campaign
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    (folder / FILE).unlink()
    with pytest.raises(RemoteSetupError, match="start the campaign with spinmultinet run --remote"):
        load(folder)


def test_labels_go_to_the_queue_and_the_rest_goes_on_when_they_are_done(campaign):
    """Twice the same is once; with the labels done, the dataset is made here and the training is handed over."""
    first = advance_campaign(campaign)
    assert (first.submitted, first.in_queue, first.finished, first.run.executed) == (12, 12, False, 0)
    assert advance_campaign(campaign).submitted == 0
    finish(campaign, labels_of(campaign))
    second = advance_campaign(campaign)
    assert second.run.executed_by_kind == {"dataset": 1}
    assert (second.submitted, second.in_queue) == (1, 1)
    assert counts(campaign)["train"] == {"READY": 1}
    assert counts(campaign)["labels"] == {"COMPLETED": 12}


def test_the_job_of_the_queue_does_the_same(campaign):
    (uuid,) = [job.uuid for job in labels_of(campaign)[:1]]
    tail = tail_job(campaign.options, [uuid])
    with open_queue("desk") as controller:
        output = tail.run(controller.jobstore).output
    assert output == {"light": 0, "submitted": 12, "retried": 0, "queue": 12}


def test_the_second_of_two_waits_and_takes_in_the_news(campaign, monkeypatch):
    monkeypatch.setattr(module, "BUSY_PAUSE", 0.1)
    found = []
    second = threading.Thread(target=lambda: found.append(advance_campaign(campaign, patience=60)))
    with campaign_lock(campaign.options, "spinmultinet run --remote desk"):
        second.start()
        time.sleep(1)
        assert found == []
    second.join(60)
    assert [done.submitted for done in found] == [12]


def test_without_patience_it_says_who_is_at_work(campaign):
    with campaign_lock(campaign.options, "spinmultinet retrain"), pytest.raises(BusyError, match="running already"):
        advance_campaign(campaign)


def test_pause_and_go_on(campaign):
    """A job at work is left alone, an advance does nothing meanwhile, and the same jobs go on."""
    advance_campaign(campaign)
    with open_queue("desk") as controller:
        running = controller.jobs.find_one({"job.metadata.kind": "label"})["uuid"]
        controller.jobs.update_one({"uuid": running}, {"$set": {"state": "RUNNING"}})
    assert hold(campaign, "paused") == 14
    assert counts(campaign) == {"labels": {"PAUSED": 11, "RUNNING": 1}, "light": {"PAUSED": 3}}
    assert advance.original(str(campaign.maker.folder), []) == {"held": "paused"}
    assert release(campaign) == 14
    assert counts(campaign) == {"labels": {"READY": 11, "RUNNING": 1}, "light": {"WAITING": 3}}
    assert advance_campaign(campaign, asked=True).submitted == 0


def test_cancel_and_go_on(campaign):
    """What is done stays, what was stopped is run again."""
    advance_campaign(campaign)
    finish(campaign, labels_of(campaign)[:2])
    assert hold(campaign, "cancelled") == 10
    assert counts(campaign)["labels"] == {"COMPLETED": 2, "USER_STOPPED": 10}
    release(campaign)
    done = advance_campaign(campaign, asked=True)
    assert (done.submitted, done.retried) == (0, 10)
    assert counts(campaign)["labels"] == {"COMPLETED": 2, "READY": 10}
    with open_queue("desk") as controller:
        waited_for = {uuid for tail in tails_of(controller) for uuid in tail["parents"]}
        ready = {d["uuid"] for d in queue_documents(controller, "label") if d["state"] == "READY"}
    assert ready <= waited_for


def test_what_is_held_while_an_advance_is_at_work_is_held_at_its_end(campaign):
    """It had looked before, and submitted; at its end it pauses that, too."""
    held = []

    def watch(event):
        if event["kind"] == "added" and not held:
            held.append(hold(campaign, "cancelled"))

    campaign_before = campaign
    done = advance_campaign(campaign_before, watch)
    assert held == [0]
    assert (done.submitted, load(campaign.maker.folder).held) == (0, "cancelled")


def test_failures_in_the_queue_are_told(campaign):
    advance_campaign(campaign)
    with open_queue("desk") as controller:
        uuid = queue_documents(controller, "label")[0]["uuid"]
        change = {"state": "FAILED", "error": "Traceback\n  ...\nValueError: no such thing"}
        controller.jobs.update_one({"uuid": uuid}, {"$set": change})
    (failure,) = queue_state(campaign.options.name, "desk").failures
    assert (failure["worker"], failure["state"], failure["error"]) == ("labels", "FAILED", "ValueError: no such thing")
