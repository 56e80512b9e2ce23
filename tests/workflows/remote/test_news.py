"""Advances that meet, are killed, or come last: nothing is lost, nothing is done twice, and the report is there."""

import pytest

from tests.support.cli import ROOT
from tests.workflows.remote.support import campaign_of, labels_of, queue_documents
from workflows.campaign_lock import campaign_lock
from workflows.cli import remote_run
from workflows.remote import advance as module
from workflows.remote.advance import NEWS, advance, advance_campaign
from workflows.remote.queue import open_queue
from workflows.remote.submission import Submission
from workflows.submit import RunResult


@pytest.fixture
def campaign(desk, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made = campaign_of(desk, chunk=5)
    made.save()
    return made


def test_who_cannot_wait_leaves_word_and_the_next_takes_it(campaign, monkeypatch):
    """A slot of the light worker is not kept: other campaigns need it."""
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    monkeypatch.setattr(module, "BUSY_PAUSE", 0.05)
    with campaign_lock(campaign.options, "spinmultinet run --remote desk"):
        assert "running already" in advance.original(str(campaign.maker.folder), [])["busy"]
    assert (campaign.maker.folder / NEWS).exists()
    assert advance_campaign(campaign).submitted == 12
    assert not (campaign.maker.folder / NEWS).exists()


def test_news_that_comes_while_an_advance_is_at_work_makes_it_look_again(campaign, monkeypatch):
    rounds = []
    real = module._run

    def run(*arguments):
        result = real(*arguments)
        rounds.append(result)
        if len(rounds) == 1:
            (campaign.maker.folder / NEWS).touch()
        return result

    monkeypatch.setattr(module, "_run", run)
    done = advance_campaign(campaign)
    assert (len(rounds), done.submitted, done.in_queue) == (2, 12, 12)


class KilledError(BaseException):
    """In place of a kill."""


@pytest.mark.parametrize("step", ["_whole", "_append_tail", "follow"])
def test_an_advance_killed_in_the_middle_is_completed_by_the_next(campaign, monkeypatch, step):
    """Each label once in the queue, and each awaited by a tail."""
    real, calls = getattr(Submission, step), []

    def killed(self, *arguments):
        calls.append(1)
        if len(calls) == 2 or step == "follow":
            raise KilledError
        return real(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Submission, step, killed)
        with pytest.raises(KilledError):
            advance_campaign(campaign)
    assert advance_campaign(campaign).in_queue == 12
    with open_queue("desk") as controller:
        labels = [d["uuid"] for d in queue_documents(controller, "label")]
        awaited = [uuid for tail in queue_documents(controller, "advance") for uuid in tail["parents"]]
    assert sorted(labels) == sorted(awaited) == sorted(job.uuid for job in labels_of(campaign)[:12])


def test_what_an_edited_campaign_no_longer_wants_is_told(campaign):
    advance_campaign(campaign)
    with open_queue("desk") as controller:
        controller.jobs.update_one({"job.metadata.kind": "label"}, {"$set": {"uuid": "of-an-earlier-version"}})
    done = advance_campaign(campaign)
    assert (done.unwanted, done.in_queue) == (1, 13)


def test_failures_are_forgotten_only_when_the_campaign_is_held(campaign, monkeypatch):
    monkeypatch.setattr(remote_run, "PATIENCE", 0.0)
    called = []
    with campaign_lock(campaign.options, "spinmultinet retrain"), pytest.raises(module.BusyError):
        remote_run.go_on(campaign, True, lambda: called.append("while busy"))
    assert called == []
    remote_run.go_on(campaign, True, lambda: called.append("held"))
    assert called == ["held"]


def test_the_last_advance_writes_the_report(campaign, monkeypatch):
    monkeypatch.setattr(module, "_run", lambda *_: RunResult())
    assert advance.original(str(campaign.maker.folder), [])["queue"] == 0
    assert "<html" in (campaign.maker.folder / "report.html").read_text()
