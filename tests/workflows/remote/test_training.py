"""Trainings in parts: in place, or with their files in the output; the same result as in one go."""

import time
from pathlib import Path

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore

from datastore import open_store
from datastore.ingest import ingest
from datastore.snapshot import load_snapshot, make_snapshot
from datastore.splits import SplitOptions
from tests.support.cli import MODEL, tiny_campaign
from workflows.campaign import load_campaign
from workflows.flows import CampaignMaker
from workflows.jobs.train import train_job
from workflows.remote import training
from workflows.remote.training import StuckError, ends_at, next_part, part_uuid, parts_of, staged, take_in, unpack

HYPERS = {"model": MODEL, "training": {"epochs": 2, "batch_structures": 4}}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    """A snapshot of the twelve labels of a small campaign."""
    folder = tmp_path_factory.mktemp("snapshot")
    options, engine = load_campaign(tiny_campaign(folder))
    labels = [job for job, _ in CampaignMaker(options, engine).make().iterflow() if job.metadata["kind"] == "label"]
    with open_store("memory:") as store:
        for job in labels:
            job.run(JobStore(store.jobs))
        ingest(store)
        split = SplitOptions(fractions=[0.6, 0.2, 0.2], min_test=2)
        return make_snapshot(store, folder / "snapshot", criteria={}, options=split).folder


@pytest.fixture
def store():
    made = JobStore(MemoryStore(), additional_stores={"files": MemoryStore()})
    made.connect()
    return made


@pytest.fixture
def no_time(monkeypatch):
    """Every part ends after one step."""
    monkeypatch.setattr(training, "ends_at", lambda limit: time.time() - 1)


def train(snapshot, folder):
    return train_job(str(snapshot), HYPERS, 0, folder, "train 0 member 0")


def run_parts(job, store, shared, scratch=None, most=30):
    """Parts until the training is finished, as advances submit them; how many it took."""
    for number in range(most):
        part = next_part(job, store, shared, scratch, None)
        assert part.uuid == part_uuid(job, number)
        part.run(store)
        if parts_of(job, store)[-1]["finished"]:
            return number + 1
    raise AssertionError("it never ended")


def test_parts_in_place_end_where_one_run_ends(tmp_path, snapshot, store, no_time, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = train(snapshot, tmp_path / "parts")
    assert run_parts(job, store, shared=True) > 4
    parted = job.run(store).output
    whole = train(snapshot, tmp_path / "whole").run(store).output
    assert parted["sha256"] == whole["sha256"]
    assert Path(parted["path"]).is_relative_to(tmp_path / "parts")


@pytest.mark.parametrize("scratch", [None, "scratch"])
def test_parts_elsewhere_take_their_files_along_and_leave_nothing(
    tmp_path, snapshot, store, no_time, monkeypatch, scratch
):
    (tmp_path / "run_dir").mkdir()
    monkeypatch.chdir(tmp_path / "run_dir")
    place = tmp_path / scratch if scratch else None
    job = train(snapshot, tmp_path / "home")
    assert run_parts(job, store, False, place) > 4
    assert not (tmp_path / "home").exists()
    assert list((tmp_path / "run_dir").iterdir()) == []
    assert place is None or list(place.iterdir()) == []
    documents = list(store.docs_store.query({"metadata.kind": "training"}))
    assert all(len(str(document)) < 2000 for document in documents), "files belong into the additional store"

    take_in(job, store)
    take_in(job, store)  # as after a kill between it and the job of the campaign
    started = time.time()
    taken = job.run(store).output
    assert time.time() - started < 5
    assert taken["sha256"] == train(snapshot, tmp_path / "whole").run(store).output["sha256"]
    left = {document["job_uuid"] for document in store.additional_stores["files"].query()}
    assert left == {staged(snapshot, store).uuid}


def test_a_part_that_was_killed_goes_on_from_its_own_files(tmp_path, snapshot, store, no_time, monkeypatch):
    """It saved its state, and the job ended before its output was written."""
    monkeypatch.chdir(tmp_path)
    job = train(snapshot, tmp_path / "home")
    part = next_part(job, store, False, None, None)
    monkeypatch.setattr(training, "packed", _killed)
    with pytest.raises(InterruptedError):
        part.run(store)
    monkeypatch.undo()
    assert list(tmp_path.rglob("training.pt"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "ends_at", lambda limit: time.time() - 1)
    next_part(job, store, False, None, None).run(store)
    assert parts_of(job, store)[-1]["steps"] == "0.2"


def _killed(files):
    raise InterruptedError


def test_a_training_that_gets_nowhere_is_told(tmp_path, snapshot, store):
    job = train(snapshot, tmp_path / "home")
    for number in range(2):
        output = {"finished": False, "epoch": 3, "steps": "3.1", "seconds": 60.0}
        store.docs_store.update([{"uuid": part_uuid(job, number), "index": 1, "output": output}], key="uuid")
    with pytest.raises(StuckError, match="give train more time in the worker map"):
        next_part(job, store, True, None, None)


def test_a_model_to_start_from_does_not_travel(tmp_path, snapshot, store):
    hypers = {**HYPERS, "training": {**HYPERS["training"], "start_from": "other.pt"}}
    job = train_job(str(snapshot), hypers, 0, tmp_path, "train 0 member 0")
    with pytest.raises(StuckError, match="a worker that shares the campaign's folder"):
        next_part(job, store, False, None, None)


def test_snapshots_are_staged_once_and_arrive_whole(tmp_path, snapshot, store):
    reference = staged(snapshot, store)
    assert staged(snapshot, store) == reference
    assert store.docs_store.count() == 1
    unpack(reference.resolve(store), tmp_path / "there")
    assert load_snapshot(tmp_path / "there").snapshot_id == load_snapshot(snapshot).snapshot_id


def test_files_stay_in_their_folder(tmp_path):
    with pytest.raises(ValueError, match="no name of a file"):
        unpack({"../escaped": ""}, tmp_path / "inside")


@pytest.fixture
def utc(monkeypatch):
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("utc")
def test_the_end_of_the_time_is_that_of_the_scheduler(monkeypatch, tmp_path):
    for name in ("SLURM_JOB_END_TIME", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert ends_at(None) is None
    assert ends_at(100.0) == pytest.approx(time.time() + 100, abs=5)
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho 2033-05-18T03:33:20\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert ends_at(100.0) == 2_000_000_000
    squeue.write_text("#!/bin/sh\necho N/A\n")
    assert ends_at(100.0) == pytest.approx(time.time() + 100, abs=5)
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1234567890")
    assert ends_at(100.0) == 1234567890
