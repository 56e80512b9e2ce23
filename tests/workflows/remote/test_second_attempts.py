"""What further attempts of a job in the queue count, and what stands in their way: locks, kills, other campaigns."""

from datetime import UTC, datetime

import pytest

from tests.workflows.remote.support import campaign_of, labels_of
from workflows.remote import submission
from workflows.remote.advance import tail_job
from workflows.remote.elsewhere import Queue
from workflows.remote.queue import QueueWarning, check_project, open_queue

KILLED = "The job was likely killed before completing"
CUT = "paramiko.SSHException: EOF"
PURGED = "Remote error: Error while performing cleanup\ncaused by:\njobflow_remote.utils.remote.UnsafeDeletionError: x"
PILOT = "The batch process that was running the job was likely killed before completing"


@pytest.fixture
def campaign(desk):
    return campaign_of(desk, in_flight=3)


@pytest.fixture
def controller(desk):
    with open_queue("desk") as opened:
        yield opened


def give(controller, campaign, jobs, asked=False):
    queue = Queue(controller, campaign.routing, campaign.options, tail_job, asked, lambda: "")
    queue.give(jobs)
    return queue


def end(controller, job, error=KILLED, state="FAILED"):
    change = {"state": state, "error": error, "run_dir": "/scratch/x"}
    if state == "REMOTE_ERROR":
        change = {"state": state, "remote.error": error, "previous_state": "RUN_FINISHED", "run_dir": "/scratch/x"}
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": change})


def of(controller, job):
    return controller.jobs.find_one({"uuid": job.uuid})


def counted(controller, job):
    metadata = of(controller, job)["job"]["metadata"]
    return metadata["attempts"], metadata.get("transfers", 0)


@pytest.fixture
def job(controller, campaign):
    (first,) = labels_of(campaign)[:1]
    give(controller, campaign, [first])
    return first


class KilledError(BaseException):
    """In place of a kill."""


def test_transfers_use_up_no_attempts(controller, campaign, job):
    """A label whose files were late twice still has all its time limits before it."""
    for transfers in (1, 2):
        end(controller, job, CUT, "REMOTE_ERROR")
        give(controller, campaign, [job])
        assert (of(controller, job)["state"], *counted(controller, job)) == ("RUN_FINISHED", 0, transfers)
    end(controller, job, CUT, "REMOTE_ERROR")
    give(controller, campaign, [job])
    assert of(controller, job)["state"] == "REMOTE_ERROR"
    end(controller, job)
    give(controller, campaign, [job])
    assert (of(controller, job)["state"], *counted(controller, job)) == ("READY", 1, 2)


def test_what_a_person_asks_for_or_stops_is_counted_anew(controller, campaign, job):
    end(controller, job)
    give(controller, campaign, [job])
    assert counted(controller, job) == (1, 0)
    end(controller, job, state="USER_STOPPED", error=None)
    give(controller, campaign, [job], asked=True)
    assert (of(controller, job)["state"], *counted(controller, job)) == ("READY", 0, 0)
    end(controller, job, "ModuleNotFoundError: No module named 'x'")
    give(controller, campaign, [job], asked=True)
    assert (of(controller, job)["state"], *counted(controller, job)) == ("READY", 0, 0)


@pytest.mark.parametrize(
    ("call", "error", "state"), [("rerun_job", KILLED, "FAILED"), ("retry_job", CUT, "REMOTE_ERROR")]
)
def test_a_kill_before_the_job_runs_again_counts_nothing_twice(
    controller, campaign, job, monkeypatch, call, error, state
):
    end(controller, job, error, state)

    def killed(*_, **__):
        raise KilledError

    monkeypatch.setattr(type(controller), call, killed)
    for _ in range(3):
        with pytest.raises(KilledError):
            give(controller, campaign, [job])
    monkeypatch.undo()
    give(controller, campaign, [job])
    assert sum(counted(controller, job)) == 1
    assert of(controller, job)["state"] in ("READY", "RUN_FINISHED")


def test_a_folder_half_purged_is_given_up(controller, campaign, job):
    """The queue does not empty it, and would say so again for ever."""
    end(controller, job, PURGED, "REMOTE_ERROR")
    give(controller, campaign, [job])
    document = of(controller, job)
    assert (document["state"], document["run_dir"]) == ("READY", None)
    assert not document["remote"]["prerun_cleanup"]
    assert counted(controller, job) == (0, 1)


def test_a_killed_pilot_is_an_end_by_the_scheduler(controller, campaign, job):
    """So the label gets a job of its own, and in the end becomes a failure on record."""
    for attempt in (1, 2):
        end(controller, job, PILOT, "REMOTE_ERROR")
        give(controller, campaign, [job])
        assert (of(controller, job)["state"], *counted(controller, job)) == ("READY", attempt, 0)
    end(controller, job, PILOT, "REMOTE_ERROR")
    assert give(controller, campaign, [job]).returned


def test_a_locked_job_is_left_to_the_next_advance_and_the_others_go_on(controller, campaign, job, monkeypatch):
    monkeypatch.setattr(submission, "WAIT", None)
    end(controller, job)
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"lock_id": "gone", "lock_time": datetime.now(UTC)}})
    jobs = labels_of(campaign)[:2]
    with pytest.warns(QueueWarning, match="1 jobs are left to the next advance.*jf -p desk admin unlock"):
        give(controller, campaign, jobs)
    assert [of(controller, one)["state"] for one in jobs] == ["FAILED", "READY"]
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"lock_id": None, "lock_time": None}})
    give(controller, campaign, jobs)
    assert (of(controller, job)["state"], *counted(controller, job)) == ("READY", 1, 0)


def test_another_advance_that_was_faster_wins(controller, campaign, job):
    """The job runs already when this one comes to it."""
    end(controller, job)
    queue = Queue(controller, campaign.routing, campaign.options, tail_job, False, lambda: "")
    seen = queue.submission.known([job.uuid])[job.uuid]
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"state": "RUNNING"}})
    queue.submission.again(job, seen, clean=True)
    queue.submission.resume(seen, submission.counts(seen))
    assert (of(controller, job)["state"], *counted(controller, job)) == ("RUNNING", 0, 0)
    assert queue.submission.retried == {}


def test_another_advance_that_was_faster_at_the_last_moment_wins(controller, campaign, job, monkeypatch):
    """Both have seen the job as it ended; the other one has it ready first."""
    end(controller, job)
    real = submission.Submission._set

    def set_and_be_late(self, document, changes):
        found = real(self, document, changes)
        controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"state": "READY"}})
        return found

    monkeypatch.setattr(submission.Submission, "_set", set_and_be_late)
    with pytest.warns(QueueWarning, match="was changed in the queue meanwhile"):
        give(controller, campaign, [job])
    assert of(controller, job)["state"] == "READY"


def test_no_more_run_again_than_the_queue_is_to_hold(controller, campaign):
    jobs = labels_of(campaign)[:5]
    give(controller, campaign, jobs)
    for one in jobs[:3]:
        end(controller, one)
    give(controller, campaign, jobs[3:])
    give(controller, campaign, jobs)
    assert [of(controller, one)["state"] for one in jobs].count("READY") == 3
    assert [of(controller, one)["state"] for one in jobs].count("FAILED") == 2


def test_folders_that_cannot_be_removed_end_no_advance(controller, campaign, job, monkeypatch):
    end(controller, job)

    def cut(*_, **__):
        raise OSError("Socket is closed")

    monkeypatch.setattr(type(controller), "safe_delete_files", cut)
    queue = Queue(controller, campaign.routing, campaign.options, tail_job, False, lambda: "")
    with pytest.warns(QueueWarning, match="stay on its worker: Socket is closed"):
        queue._purge([job.uuid])


def test_looks_into_the_queue_have_indexes(controller, campaign):
    check_project(controller, campaign.options.store, campaign.routing)
    indexed = {fields[0][0] for fields in (index["key"] for index in controller.jobs.index_information().values())}
    assert {"parents", "job.metadata.campaign"} <= indexed
