"""Trainings in parts: in place, or with their files in the output; the same result as in one go."""

import base64
import shutil
import time
from pathlib import Path

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore

from datastore.snapshot import load_snapshot
from tests.support.cli import MODEL
from tests.workflows.remote.support import small_snapshot
from workflows.jobs.train import train_job
from workflows.remote import training
from workflows.remote.training import (
    StuckError,
    drop_copies,
    ends_at,
    next_part,
    part_uuid,
    parts_of,
    staged,
    take_in,
    unpack,
)

HYPERS = {"model": MODEL, "training": {"epochs": 2, "batch_structures": 4}}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    """A snapshot of the twelve labels of a small campaign."""
    return small_snapshot(tmp_path_factory.mktemp("snapshot"))


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


def metadata_of(store):
    """Of the parts that were run, as the queue has it."""
    return {d["uuid"]: d["metadata"] for d in store.docs_store.query({"metadata.kind": "training"})}


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
    shutil.rmtree(tmp_path / "home")
    drop_copies(metadata_of(store), store)
    take_in(job, store)  # as after a kill between it and the job of the campaign, which lost what was there
    started = time.time()
    taken = job.run(store).output
    assert time.time() - started < 5
    assert taken["sha256"] == train(snapshot, tmp_path / "whole").run(store).output["sha256"]
    left = {document["job_uuid"] for document in store.additional_stores["files"].query()}
    assert staged(snapshot, store).uuid in left
    drop_copies(metadata_of(store), store)
    assert store.additional_stores["files"].count() == 0
    assert store.docs_store.count({"metadata.kind": "staged"}) == 0


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


@pytest.mark.parametrize("lost", ["state", "everything", "half of it"])
def test_a_scratch_that_was_purged_is_filled_again(tmp_path, snapshot, store, no_time, monkeypatch, lost):
    """The part is tried again after a kill, in a folder that is there and has no state, or an older one."""
    monkeypatch.chdir(tmp_path)
    job = train(snapshot, tmp_path / "home")
    for _ in range(2):
        next_part(job, store, False, tmp_path / "scratch", None).run(store)
    with monkeypatch.context() as changed:
        changed.setattr(training, "packed", _killed)
        with pytest.raises(InterruptedError):
            next_part(job, store, False, tmp_path / "scratch", None).run(store)
    (state,) = (tmp_path / "scratch").rglob("training.pt")
    if lost == "state":
        state.unlink()
    elif lost == "everything":
        shutil.rmtree(state.parent)
        state.parent.mkdir()
    else:
        first = store.get_output(part_uuid(job, 0), load=True)["files"]
        state.write_bytes(base64.b64decode(first["training.pt"]))
    next_part(job, store, False, tmp_path / "scratch", None).run(store)
    assert [part["steps"] for part in parts_of(job, store)] == ["0.1", "0.2", "1.0"]


def test_a_snapshot_stays_until_the_last_member_is_done(tmp_path, snapshot, store, no_time, monkeypatch):
    monkeypatch.chdir(tmp_path)
    members = [train_job(str(snapshot), HYPERS, seed, tmp_path / str(seed), f"member {seed}") for seed in (0, 1)]
    for job in members:
        run_parts(job, store, shared=False)
    take_in(members[0], store)
    members[0].run(store)
    drop_copies(metadata_of(store), store)
    kept = {document["job_uuid"] for document in store.additional_stores["files"].query()}
    others = {part_uuid(members[1], number) for number in range(len(parts_of(members[1], store)))}
    assert kept == {staged(snapshot, store).uuid, *others}
    take_in(members[1], store)
    members[1].run(store)
    drop_copies(metadata_of(store), store)
    assert store.additional_stores["files"].count() == 0


def test_a_part_leaves_time_for_what_took_long_before(tmp_path, snapshot, store, monkeypatch):
    """The longest step of the part before, and its packing, had no room in what is left: one step, and its files."""
    monkeypatch.chdir(tmp_path)
    job = train(snapshot, tmp_path / "home")
    with monkeypatch.context() as changed:
        changed.setattr(training, "ends_at", lambda limit: time.time() - 1)
        next_part(job, store, False, None, None).run(store)
    first = parts_of(job, store)[0]
    assert 0 < first["stretch"] < 60
    assert 0 < first["packing"] < 60
    for took, steps in (({"packing": 95.0}, "0.2"), ({"packing": 0.0, "stretch": 1e5}, None)):
        store.docs_store.update([{"uuid": part_uuid(job, 0), "index": 1, "output": {**first, **took}}], key="uuid")
        with monkeypatch.context() as changed:
            changed.setattr(training, "ends_at", lambda limit: time.time() + 100)
            part = next_part(job, store, False, None, None)
            part.run(store)
        last = parts_of(job, store)[1]
        assert last["finished"] == (steps is None)
        assert steps in (None, last["steps"])
        store.docs_store.remove_docs({"uuid": part.uuid})


def _killed(files):
    raise InterruptedError


def test_a_training_that_gets_nowhere_is_told(tmp_path, snapshot, store):
    job = train(snapshot, tmp_path / "home")
    for number in range(2):
        output = {"finished": False, "epoch": 3, "steps": "3.1", "seconds": 60.0}
        store.docs_store.update([{"uuid": part_uuid(job, number), "index": 1, "output": output}], key="uuid")
    with pytest.raises(StuckError, match="give train more time in the worker map"):
        next_part(job, store, True, None, None)


@pytest.mark.parametrize("steps", [["3.1", "3.1"], ["4.0", "0.7", "2.1"], ["4.0", "3.9", "4.0"]])
def test_two_parts_that_come_no_further_are_the_last(tmp_path, snapshot, store, steps):
    """Also where each begins anew, as its files are lost each time; more time is worth another part."""
    job = train(snapshot, tmp_path / "home")
    for number, each in enumerate(steps):
        output = {"finished": False, "epoch": int(each[0]), "steps": each, "seconds": 60.0, "limit": 60.0}
        store.docs_store.update([{"uuid": part_uuid(job, number), "index": 1, "output": output}], key="uuid")
    with pytest.raises(StuckError, match=f"beyond epoch {steps[0][0]}; give train more time in the worker map"):
        next_part(job, store, True, None, 60.0)
    assert next_part(job, store, True, None, 120.0).uuid == part_uuid(job, len(steps))


def test_one_part_that_lost_its_files_is_followed_by_another(tmp_path, snapshot, store):
    job = train(snapshot, tmp_path / "home")
    for number, each in enumerate(["4.0", "0.7"]):
        output = {"finished": False, "epoch": int(each[0]), "steps": each, "seconds": 60.0}
        store.docs_store.update([{"uuid": part_uuid(job, number), "index": 1, "output": output}], key="uuid")
    assert next_part(job, store, True, None, 60.0).uuid == part_uuid(job, 2)


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
