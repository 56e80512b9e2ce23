"""A campaign whose labels are added in chunks gives what it gives otherwise, and is resumed like any other."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest

from datastore import open_store
from datastore.costs import log_events
from datastore.queries import find
from datastore.snapshot import load_snapshot
from tests.support.cli import environment, tiny_campaign
from tests.support.counted_engine import Counted
from workflows.campaign import load_campaign
from workflows.flows import CampaignMaker
from workflows.jobs.label import label_uuid
from workflows.jobs.slices import Slices
from workflows.results import forget_failures, latest_evaluation
from workflows.status import campaign_status
from workflows.submit import RunError, _Run, run_local

FIRST, LATER, CHUNK = 12, 3, 2


def campaign(folder, chunk=500):
    folder.mkdir(exist_ok=True)
    learning = {"rounds": 1, "labels": LATER, "candidates": 6, "select": {"rule": "farthest-point"}}
    return tiny_campaign(folder, chunk=chunk, active_learning=learning, baseline="")


def made(folder):
    with contextlib.chdir(folder):
        return CampaignMaker(*load_campaign(campaign(folder, CHUNK)))


def run(folder, chunk=500):
    path = campaign(folder, chunk)
    with contextlib.chdir(folder), mock.patch.dict(os.environ, environment()):
        options, engine = load_campaign(path)
        return options, run_local(CampaignMaker(options, engine).make(), options.store, Path(options.folder), 2)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return [run(tmp_path_factory.mktemp(f"chunk{chunk}"), chunk) for chunk in (500, CHUNK)]


def labels(options):
    with open_store(options.store) as store:
        return {point.point_id: point.model_dump(exclude={"timings"}) for point in find(store)}


def snapshots(options):
    found = [load_snapshot(path) for path in Path(options.folder).glob("generation_*/snapshot/*/*")]
    return {snapshot.snapshot_id: snapshot.points for snapshot in found}


def test_chunks_change_no_label_no_snapshot_and_no_score(both):
    (whole, _), (chunked, _) = both
    assert len(labels(whole)) == FIRST + LATER
    assert json.dumps(labels(whole), default=list, sort_keys=True) == json.dumps(
        labels(chunked), default=list, sort_keys=True
    )
    assert len(snapshots(whole)) == 2
    assert snapshots(whole) == snapshots(chunked)
    scores = []
    for options in (whole, chunked):
        with open_store(options.store) as store:
            scores.append(latest_evaluation(store, options.name)["scores"])
    assert scores[0]["tests"]
    assert scores[0] == scores[1]


def test_both_rounds_went_in_chunks(both):
    _, (options, result) = both
    folders = sorted(Path(options.folder).glob("generation_*/configurations-*"))
    assert [len(Slices(folder)) for folder in folders] == [FIRST // CHUNK, (LATER + 1) // CHUNK]
    assert result.executed_by_kind["label"] == FIRST + LATER
    # Each slice has a job and one that ends it, and a generation one after all of them.
    assert result.executed_by_kind["chunk"] == 2 * FIRST // CHUNK + 1 + 2 * ((LATER + 1) // CHUNK) + 1


def test_another_size_of_chunks_finds_all_that_is_done(both):
    """Also none at all: what follows the labels has the same uuids."""
    _, (options, before) = both
    folder = Path(options.folder).parents[1]
    for chunk in (500, 5):
        _, result = run(folder, chunk)
        assert "label" not in result.executed_by_kind
        assert set(result.executed_by_kind) <= {"structures", "chunk"}
        assert result.uuids["train"] == before.uuids["train"]


def test_again_the_flows_of_chunks_that_are_done_are_not_read(both, monkeypatch):
    """Of 30,000 labels these are hundreds of MB, and a campaign on a cluster is looked at hundreds of times."""
    _, (options, before) = both
    read = []
    whole = _Run._flows_of
    monkeypatch.setattr(_Run, "_flows_of", lambda run, key: read.append(key[0]) or whole(run, key))
    folder = Path(options.folder).parents[1]
    _, result = run(folder, CHUNK)
    with open_store(options.store) as store:
        names = {d["uuid"]: d["name"] for d in store.jobs.query({"index": 1}, ["uuid", "name"])}
    assert not [names[uuid] for uuid in read if " of " in names[uuid]]
    assert result.executed == 0
    assert sorted(result.uuids["label"]) == sorted(before.uuids["label"])
    with open_store(options.store) as store:
        (chunk,) = store.jobs.query({"name": f"chunk 0, 1 of {FIRST // CHUNK}"}, ["uuid"])
        end = store.jobs.query_one({"uuid": chunk["uuid"], "index": 2}, ["output"])
        store.jobs.remove_docs({"uuid": end["output"][0]["uuid"]})
        store.jobs.remove_docs({"uuid": chunk["uuid"], "index": 2})
    _, result = run(folder, CHUNK)
    assert result.executed_by_kind == {"label": 1, "chunk": 1}
    assert chunk["uuid"] in read


DRIVER = """
import sys
from pathlib import Path
from tests.integration.test_chunks import counted
from workflows.submit import run_local
maker = counted(Path(sys.argv[1]))
run_local(maker.make(), maker.options.store, Path(maker.options.folder), 2)
"""


def counted(folder):
    """The campaign with an engine that is slow, and writes down what it calculates."""
    with contextlib.chdir(folder):
        options, _ = load_campaign(campaign(folder, CHUNK))
        return CampaignMaker(options, Counted(log=str(folder / "log"), seconds=0.3))


def test_killed_in_the_middle_of_a_chunk_nothing_is_computed_twice(tmp_path):
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    process = subprocess.Popen(command, env=environment(), cwd=tmp_path)
    log = tmp_path / "log"
    while not log.exists() or len(log.read_text().splitlines()) < 2 * CHUNK + 1:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.0)
    maker = counted(tmp_path)
    with open_store(maker.options.store) as store:
        stored = [d["uuid"] for d in store.jobs.query({"metadata.kind": "label"}, ["uuid"])]
    assert 2 * CHUNK <= len(stored) < FIRST
    before = len(log.read_text().splitlines())
    subprocess.run(command, env=environment(), cwd=tmp_path, check=True)
    after = Counter(log.read_text().splitlines())
    assert len(after) == FIRST + LATER
    assert after.total() - before == FIRST + LATER - len(stored)
    events = log_events(Path(maker.options.folder) / "calculations.jsonl")
    ends = Counter(event["uuid"] for event in events if (event["event"], event["type"]) == ("done", "label"))
    assert max(ends.values()) == 1
    assert set(stored) <= set(ends) | set(stored[-2:])


def test_lost_first_configurations_are_told_and_made_again_in_other_chunks(tmp_path):
    options, before = run(tmp_path, 6)
    (lost,) = Path(options.folder).glob("generation_0/configurations-*")
    (lost / "0001.jsonl.gz").unlink()
    with open_store(options.store) as store:
        gone = {"metadata.kind": {"$in": ["chunk", "structures"]}}
        for collection in (store.jobs, store.flows):
            collection.remove_docs(gone if collection is store.jobs else {})
    with pytest.raises(RunError, match=r"0001\.jsonl\.gz cannot be read.*another `chunk` in the campaign file"):
        run(tmp_path, 6)
    _, result = run(tmp_path, 5)
    assert "label" not in result.executed_by_kind
    assert result.uuids["train"] == before.uuids["train"]


def test_the_status_counts_labels_that_no_job_asks_for_yet(both, tmp_path):
    """Before the first run, at the end, and where a chunk is still to be added."""
    options, engine = load_campaign(campaign(tmp_path, CHUNK))
    before = campaign_status(options, engine)
    assert (before.state, before.jobs["label"]["waiting"], before.left.labels) == ("not started", FIRST, FIRST)
    assert before.left.seconds > 0
    _, (done, _) = both
    assert campaign_status(done, engine).jobs["label"]["done"] == FIRST + LATER
    with open_store(done.store) as store:
        (late,) = store.jobs.query({"name": f"chunk 0, 4 of {FIRST // CHUNK}"}, ["uuid"])
        for collection in (store.jobs, store.flows):
            collection.remove_docs({"uuid": late["uuid"]})
        assert campaign_status(done, engine).jobs["label"]["done"] == FIRST + LATER
        slices = CampaignMaker(done, engine).first_slices()
        first = label_uuid(slices.config_ids(3)[0], engine.level_id())
        store.jobs.remove_docs({"uuid": first})
        found = campaign_status(done, engine)
    assert (found.jobs["label"]["waiting"], found.jobs["label"]["done"]) == (1, FIRST + LATER - 1)
    assert found.left.labels == 1


def test_failed_labels_that_are_to_be_done_again_come_before_what_follows_them(both):
    _, (options, before) = both
    folder = Path(options.folder).parents[1]
    failed = before.uuids["label"][1]
    flow = made(folder).make()
    with open_store(options.store) as store:
        (label,) = store.jobs.query({"uuid": failed})
        output = {"point_id": label["output"]["point_id"], "error_type": "crashed", "error": "lost"}
        store.jobs.update({**label, "output": output}, key=["uuid", "index"])
        assert forget_failures(flow, store) == 1
    events = []
    with contextlib.chdir(folder), mock.patch.dict(os.environ, environment()):
        run_local(flow, options.store, Path(options.folder), 2, events.append)
    order = [(event["kind"], event["type"]) for event in events if event["kind"] in ("started", "done")]
    again = [event["uuid"] for event in events if (event["kind"], event.get("type")) == ("started", "label")]
    assert failed in again
    assert order.index(("started", "dataset")) > max(i for i, event in enumerate(order) if event == ("done", "label"))
