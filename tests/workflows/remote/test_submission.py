"""Jobs in the queue once, each followed by an advance, whatever a kill has left half done. The database is real."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from jobflow import OutputReference

from tests.workflows.remote.support import campaign_of, labels_of, queue_documents, tail_of_other, tails_of
from workflows.remote.advance import tail_job
from workflows.remote.queue import open_queue
from workflows.remote.routing import RemoteSetupError
from workflows.remote.submission import Submission
from workflows.remote.training import train_there


@pytest.fixture
def controller(desk):
    with open_queue("desk") as opened:
        yield opened


@pytest.fixture
def campaign(desk):
    return campaign_of(desk, chunk=5)


def submission(controller, campaign, **changes):
    routing = campaign.routing.model_copy(update=changes)
    return Submission(controller, routing, campaign.options.name, lambda uuids: tail_job(campaign.options, uuids))


def states(controller):
    return {d["uuid"]: d["state"] for d in queue_documents(controller, "label")}


def test_each_once_in_flows_with_a_tail_behind_each(controller, campaign):
    jobs = labels_of(campaign)
    first = submission(controller, campaign)
    first.submit(jobs)
    assert first.submitted == 12
    flows = list(controller.flows.find())
    assert sorted(len(flow["jobs"]) for flow in flows) == [3, 6, 6]
    assert sorted(uuid for tail in tails_of(controller) for uuid in tail["parents"]) == sorted(j.uuid for j in jobs)
    assert {d["worker"] for d in queue_documents(controller, "label")} == {"labels"}
    assert {tail["worker"] for tail in tails_of(controller)} == {"light"}
    assert {d["resources"] for d in controller.jobs.find()} == {None}, "those of the worker in the project"
    again = submission(controller, campaign)
    again.follow([job.uuid for job in jobs])
    assert again.known(job.uuid for job in jobs).keys() == {job.uuid for job in jobs}
    assert len(tails_of(controller)) == 3


def test_no_more_than_the_queue_is_to_hold(controller, campaign):
    jobs = labels_of(campaign)
    submission(controller, campaign, in_flight=7).submit(jobs)
    submission(controller, campaign, in_flight=7).submit(jobs[7:])
    assert len(states(controller)) == 7


class KilledError(BaseException):
    """In place of a kill."""


@pytest.mark.parametrize("there", [0, 2, 5])
def test_a_submission_broken_off_between_flow_and_jobs_is_completed(controller, campaign, monkeypatch, there):
    """The flow's document is written first, then those of its jobs: of five, so many have got there."""
    jobs = labels_of(campaign)[:5]
    real = controller.jobs.insert_many

    def insert_some(documents):
        if there:
            real(documents[:there])
        raise KilledError

    monkeypatch.setattr(type(controller.jobs), "insert_many", lambda self, documents: insert_some(documents))
    with pytest.raises(KilledError):
        submission(controller, campaign).submit(jobs)
    monkeypatch.undo()
    assert len(states(controller)) == there

    recovered = submission(controller, campaign)
    known = recovered.known(job.uuid for job in jobs)
    recovered.submit([job for job in jobs if job.uuid not in known])
    assert recovered.submitted == 5 - there
    recovered.follow(list(known))
    assert len(states(controller)) == 5
    listed = sorted(uuid for flow in controller.flows.find() for uuid in flow["jobs"])
    assert listed == sorted([*states(controller), *(tail["uuid"] for tail in tails_of(controller))])
    assert sorted(uuid for tail in tails_of(controller) for uuid in tail["parents"]) == sorted(states(controller))


def test_a_tail_lost_before_it_was_in_its_flow_is_replaced(controller, campaign, monkeypatch):
    jobs = labels_of(campaign)[:2]
    killed = submission(controller, campaign)
    monkeypatch.setattr(type(controller), "get_flow_info_by_flow_uuid", lambda *_: None)
    real = type(controller.flows).update_one

    def no_push(self, query, update):
        if "$push" in update:
            raise KilledError
        return real(self, query, update)

    monkeypatch.setattr(type(controller.flows), "update_one", no_push)
    with pytest.raises(KilledError):
        killed.submit(jobs)
    monkeypatch.undo()
    (lost,) = tails_of(controller)
    submission(controller, campaign).follow([job.uuid for job in jobs])
    (tail,) = tails_of(controller)
    assert tail["uuid"] != lost["uuid"]
    assert tail["uuid"] in controller.flows.find_one()["jobs"]


def test_a_job_of_another_campaign_is_awaited_and_not_repeated(controller, campaign):
    """Both want the same labels; the second follows those of the first with an advance of its own."""
    jobs = labels_of(campaign)
    submission(controller, campaign).submit(jobs[:3])
    other = Submission(controller, campaign.routing, "other", tail_of_other(campaign))
    known = other.known(job.uuid for job in jobs[:5])
    assert len(known) == 3
    other.submit([job for job in labels_of(campaign)[:5] if job.uuid not in known])
    other.follow(list(known))
    mine = [tail for tail in tails_of(controller) if tail["job"]["metadata"]["campaign"] == "other"]
    assert sorted(uuid for tail in mine for uuid in tail["parents"]) == sorted(job.uuid for job in jobs[:5])
    assert len(states(controller)) == 5


def test_jobs_that_came_in_at_the_same_time_from_elsewhere_do_not_matter(controller, campaign):
    """The queue refuses the second of equal jobs; the others of its flow go in with the next submission."""
    jobs = labels_of(campaign)[:3]
    Submission(controller, campaign.routing, "other", tail_of_other(campaign)).submit([labels_of(campaign)[1]])
    first = submission(controller, campaign)
    first.submit(jobs)  # as if it had not been there when it was looked for
    second = submission(controller, campaign)
    second.submit([job for job in labels_of(campaign)[:3] if job.uuid not in second.known(j.uuid for j in jobs)])
    assert len(states(controller)) == 3
    whole = [flow["jobs"] for flow in controller.flows.find()]
    assert sum(uuid in flow for flow in whole for uuid in states(controller)) == 3


def test_a_failed_job_runs_again_with_more_and_is_followed_again(controller, campaign):
    (job,) = labels_of(campaign)[:1]
    rows = {"label": [{"time": 600, "memory": 1000}]}
    routing = type(campaign.routing).model_validate({**campaign.routing.model_dump(), "resources": rows})
    campaign = type(campaign)(campaign.project, routing, campaign.maker)
    submission(controller, campaign).submit([job])
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"state": "FAILED", "run_dir": "/nowhere"}})
    (tail,) = tails_of(controller)
    controller.jobs.update_one({"uuid": tail["uuid"]}, {"$set": {"state": "RUNNING"}})

    again = submission(controller, campaign)
    document = again.known([job.uuid])[job.uuid]
    again.again(labels_of(campaign)[0], document, clean=True)
    again.follow([job.uuid])
    document = controller.jobs.find_one({"uuid": job.uuid})
    assert document["state"] == "READY"
    assert document["remote"]["prerun_cleanup"] is True
    assert document["job"]["metadata"]["attempts"] == 1
    assert document["resources"]["time_limit"] == 1200
    assert document["resources"]["memory_per_thread"] == 2000
    old, new = sorted(tails_of(controller), key=lambda d: d["state"])
    assert (old["state"], old["parents"]) == ("RUNNING", [])
    assert (new["state"], new["parents"]) == ("WAITING", [job.uuid])


def test_a_job_whose_end_was_overlooked_readies_its_tail(controller, campaign):
    """All jobs ended between their submission and that of the tail."""
    (job,) = labels_of(campaign)[:1]
    late = submission(controller, campaign)
    late.follow = lambda uuids: None
    late.submit([job])
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"state": "RUNNING"}})
    flow = controller.flows.find_one()
    late._append_tail(flow["uuid"], [job.uuid])
    (tail,) = tails_of(controller)
    assert tail["state"] == "WAITING"
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"state": "FAILED"}})
    late._append_tail(flow["uuid"], [job.uuid])
    assert {tail["state"] for tail in tails_of(controller)} == {"READY"}
    assert Path(tails_of(controller)[0]["job"]["function_args"][0]).name == "tiny"


def test_parts_of_trainings_that_refer_to_files_of_others_go_in(controller, campaign):
    """References to jobs of other flows are no parents here, and nothing about them is looked at before it runs."""
    reference = OutputReference("staged", (("i", "files"),))
    part = train_there(reference, {}, 0, reference, None, None)
    part.update_metadata({"kind": "training"}, dynamic=False)
    submission(controller, campaign).submit([part])
    (document,) = queue_documents(controller, "training")
    assert (document["state"], document["worker"], document["parents"]) == ("READY", "train", [])


def test_a_lock_that_a_killed_runner_has_left_is_told(controller, campaign, monkeypatch):
    (job,) = labels_of(campaign)[:1]
    first = submission(controller, campaign)
    first.submit([job])
    controller.jobs.update_one({"uuid": job.uuid}, {"$set": {"state": "FAILED"}})
    controller.flows.update_one({}, {"$set": {"lock_id": "gone", "lock_time": datetime.now(UTC)}})
    monkeypatch.setattr("workflows.remote.submission.WAIT", None)
    with pytest.raises(RemoteSetupError, match="jf -p desk admin unlock; jf -p desk admin unlock-flow"):
        first.again(job, first.known([job.uuid])[job.uuid], clean=True)
