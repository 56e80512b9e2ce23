"""Jobs of a campaign beside store and log; whole campaigns are in test_status.py."""

import json

import pytest
from jobflow import Flow
from monty.json import MontyEncoder

from datastore.costs import LOG_FILE
from tests.support.cli import tiny_campaign
from workflows.campaign import load_campaign
from workflows.campaign_jobs import _of_document, _of_flow, campaign_jobs, error_of
from workflows.flows import CampaignMaker
from workflows.submit import JOBS, folder_name


@pytest.fixture
def flow(tmp_path, monkeypatch) -> Flow:
    monkeypatch.chdir(tmp_path)
    return CampaignMaker(*load_campaign(tiny_campaign(tmp_path))).make()


def log(folder, *lines):
    """Write a log of (job, event, time)."""
    events = [{"uuid": job.uuid, "event": event, "time": time, "type": "", "job": ""} for job, event, time in lines]
    (folder / LOG_FILE).write_text("".join(json.dumps(event) + "\n" for event in events) + '{"torn')


def test_without_a_store_all_jobs_wait_in_their_order(flow, tmp_path):
    jobs = campaign_jobs(flow, None, tmp_path)
    assert {job.state for job in jobs} == {"waiting"}
    assert [job.uuid for job in jobs] == [job.uuid for job, _ in flow.iterflow()]
    assert {job.generation for job in jobs} == {0}
    assert all((job.config is not None) == (job.kind == "label") for job in jobs)
    assert list(dict.fromkeys(job.kind for job in jobs))[:4] == ["label", "dataset", "train", "evaluate"]


def test_a_stored_flow_reads_as_the_flow_itself(flow):
    assert list(_of_document(json.loads(json.dumps(flow, cls=MontyEncoder)))) == _of_flow(flow)


@pytest.mark.parametrize(
    ("event", "at", "since", "state"),
    [
        ("started", 10.0, None, "waiting"),  # cut off: nothing runs now
        ("started", 10.0, 5.0, "running"),
        ("started", 10.0, 20.0, "waiting"),  # of a run before the one at work
        ("failed", 10.0, None, "failed"),
        ("failed", 10.0, 5.0, "failed"),
        ("failed", 10.0, 20.0, "waiting"),  # will be tried again
    ],
)
def test_the_newest_line_of_the_log_decides(flow, tmp_path, event, at, since, state):
    job, other = [job for job, _ in flow.iterflow()][:2]
    log(tmp_path, (job, "started", at - 1), (job, event, at))
    states = {found.uuid: found.state for found in campaign_jobs(flow, None, tmp_path, since)}
    assert states[job.uuid] == state
    assert states[other.uuid] == "waiting"


def test_error_is_the_last_line_of_the_details(flow, tmp_path):
    (job, *_), (found, *_) = [job for job, _ in flow.iterflow()], campaign_jobs(flow, None, tmp_path)
    assert error_of(found, tmp_path) == ("", "")
    path = tmp_path / JOBS / folder_name(job) / "error.txt"
    path.parent.mkdir(parents=True)
    path.write_text("Traceback (most recent call last):\n  ...\nValueError: too small\n\n")
    assert error_of(found, tmp_path) == ("ValueError: too small", str(path))
