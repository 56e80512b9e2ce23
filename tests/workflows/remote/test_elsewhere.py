"""What becomes of jobs that ended in the queue: taken in, tried again, put on record, refused."""

import pytest

from datastore import open_store
from datastore.ingest import ingest
from tests.workflows.remote.support import campaign_of, labels_of, queue_documents, tails_of
from workflows.remote.advance import tail_job
from workflows.remote.elsewhere import Queue
from workflows.remote.queue import open_queue

TIME = "slurmstepd: error: *** JOB 17 ON node1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***"
KILLED = "The job was likely killed before completing"


@pytest.fixture
def campaign(desk):
    return campaign_of(desk)


@pytest.fixture
def controller(desk):
    with open_queue("desk") as opened:
        yield opened


def queue(controller, campaign, asked=False, held=""):
    return Queue(controller, campaign.routing, campaign.options, tail_job, asked, lambda: held)


def end(controller, job, state="FAILED", error=KILLED, output=""):
    change = {"state": state, "error": error, "remote.queue_err": output, "run_dir": "/scratch/x"}
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": change})


def state(controller, job):
    return controller.jobs.find_one({"uuid": job.uuid})["state"]


def test_labels_go_and_light_jobs_stay(controller, campaign):
    kinds = {job.metadata["kind"]: job for job, _ in campaign.maker.make().iterflow()}
    mine = queue(controller, campaign)
    assert mine.takes(kinds["label"])
    assert not any(mine.takes(kinds[kind]) for kind in kinds.keys() - {"label", "train"})


def test_a_time_out_has_two_more_chances_and_becomes_a_failure_on_record(controller, campaign):
    """After which a campaign goes on: the failure is an output like any other."""
    (job,) = labels_of(campaign)[:1]
    queue(controller, campaign).give([job])
    for attempt in range(2):
        end(controller, job, output=TIME)
        mine = queue(controller, campaign)
        assert mine.give([job]) == {}
        assert (state(controller, job), mine.returned) == ("READY", False)
        assert controller.jobs.find_one({"uuid": job.uuid})["job"]["metadata"]["attempts"] == attempt + 1
    end(controller, job, output=TIME)
    mine = queue(controller, campaign)
    assert mine.give([job]) == {}
    assert mine.returned
    with open_store(campaign.options.store) as store:
        ingest(store)
        (failure,) = store.failures.query()
    assert failure["error_type"] == "crashed"
    assert failure["error"] == "worker labels ended it 3 times, last because of: time"
    assert queue(controller, campaign).give([job]) == {}
    assert state(controller, job) == "FAILED"


def test_what_finished_meanwhile_is_looked_for_again(controller, campaign):
    (job,) = labels_of(campaign)[:1]
    queue(controller, campaign).give([job])
    controller.jobstore.docs_store.update([{"uuid": job.uuid, "index": 1, "output": {}}], key=["uuid", "index"])
    end(controller, job, "COMPLETED", error=None)
    mine = queue(controller, campaign)
    mine.give([job])
    assert (mine.returned, state(controller, job)) == (True, "COMPLETED")


def test_a_broken_worker_is_no_matter_of_the_configuration(controller, campaign):
    """Nothing is put on record, and nothing is tried again before somebody asks for it."""
    (job,) = labels_of(campaign)[:1]
    queue(controller, campaign).give([job])
    end(controller, job, error="Traceback (most recent call last):\n  ...\nModuleNotFoundError: No module named 'x'")
    refused = queue(controller, campaign).give([job])
    assert refused == {job.uuid: "ModuleNotFoundError: No module named 'x' (worker labels, /scratch/x)"}
    assert state(controller, job) == "FAILED"
    assert queue(controller, campaign, asked=True).give([job]) == {}
    assert state(controller, job) == "READY"


def test_a_full_disk_waits_for_somebody(controller, campaign):
    (job,) = labels_of(campaign)[:1]
    queue(controller, campaign).give([job])
    end(controller, job, error="OSError: [Errno 28] No space left on device")
    assert queue(controller, campaign).give([job]) == {}
    assert state(controller, job) == "FAILED"
    queue(controller, campaign, asked=True).give([job])
    assert state(controller, job) == "READY"


def test_a_broken_connection_is_taken_up_where_it_broke(controller, campaign):
    """The calculation is done, and its files could not be fetched: it is not repeated."""
    (job,) = labels_of(campaign)[:1]
    queue(controller, campaign).give([job])
    change = {"state": "REMOTE_ERROR", "previous_state": "RUN_FINISHED", "remote.error": "paramiko.SSHException: EOF"}
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": change})
    queue(controller, campaign).give([job])
    assert state(controller, job) == "RUN_FINISHED"
    assert [tail["state"] for tail in tails_of(controller)] == ["WAITING"]


def test_lost_files_mean_to_run_again_from_nothing(controller, campaign):
    (job,) = labels_of(campaign)[:1]
    queue(controller, campaign).give([job])
    change = {"state": "REMOTE_ERROR", "previous_state": "RUN_FINISHED", "run_dir": "/scratch/x"}
    error = {"remote.error": "Remote error: file /scratch/x/jfremote_out.json for job 1 does not exist"}
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": change | error})
    queue(controller, campaign).give([job])
    document = controller.jobs.find_one({"uuid": job.uuid})
    assert (document["state"], document["remote"]["prerun_cleanup"]) == ("READY", True)


def test_nothing_is_submitted_while_the_campaign_is_held(controller, campaign):
    assert queue(controller, campaign, held="paused").give(labels_of(campaign)) == {}
    assert queue_documents(controller, "label") == []


def test_a_job_that_another_campaign_cancelled_is_run_for_this_one(controller, campaign):
    (job,) = labels_of(campaign)[:1]
    queue(controller, campaign).give([job])
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"state": "USER_STOPPED"}})
    queue(controller, campaign).give([job])
    assert state(controller, job) == "USER_STOPPED"
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"job.metadata.campaign": "other"}})
    queue(controller, campaign).give([job])
    assert state(controller, job) == "READY"
