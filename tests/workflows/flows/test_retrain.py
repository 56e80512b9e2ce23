"""The flow of a retraining: uuids of the work, JSON, and that it adds nothing where nothing is due."""

import contextlib
import json
from pathlib import Path

import pytest
from monty.json import MontyDecoder, MontyEncoder

from datastore import open_store
from datastore.registry import promote
from datastore.retrainings import raise_flag, retrainings
from tests.support.cli import tiny_campaign
from tests.workflows.test_retrain_state import model, point, snapshot
from workflows.campaign import load_campaign
from workflows.flows.retrain import RetrainMaker, record_outcome, retrain_if_due


@pytest.fixture
def maker(tmp_path):
    tiny_campaign(tmp_path, name="nio", active_learning__retrain={"new_points": 1, "drift": None})
    with contextlib.chdir(tmp_path):
        yield RetrainMaker(*load_campaign(Path("tiny.yaml")))


@pytest.fixture
def store(maker):
    with open_store(maker.options.store) as opened:
        opened.put_point(point(0))
        snapshot(opened, "s1", [0])
        model(opened, "m1", "s1", hypers=maker.hypers)
        promote(opened, "nio", "m1", "tester", ["first"], "")
        yield opened


MEMBER = {"path": "m.pt", "sha256": "0" * 64}


def uuids(flow):
    return [job.uuid for job in flow.jobs]


def test_the_same_key_is_the_same_work(maker):
    assert uuids(maker.make("a")) == uuids(maker.make("a", force="by hand"))
    assert set(uuids(maker.make("a"))).isdisjoint(uuids(maker.make("b")))
    assert set(uuids(maker.make())).isdisjoint(uuids(maker.make()))
    assert maker.retraining_id("a") == uuids(maker.make("a"))[1]


def test_another_campaign_file_is_other_work(maker):
    learning = maker.options.active_learning.model_copy(update={"labels": 5})
    other = RetrainMaker(maker.options.model_copy(update={"active_learning": learning}), maker.engine)
    assert other.retraining_id("a") != maker.retraining_id("a")


def test_members_are_trained_side_by_side_and_found_done_for_the_same_labels(maker):
    previous = {"model_id": "m1", "generation": 2, "snapshot": "/data/s1", "members": [MEMBER]}
    first = maker.learn(previous, ["p1", "p2"], ["p2"], "one", {})
    second = maker.learn(previous, ["p1", "p2"], ["p2"], "two", {})
    kinds = [job.metadata["kind"] for job in first.jobs]
    assert kinds == ["honest", "dataset", *["train"] * maker.options.committee, "evaluate", "promote", "record"]
    assert uuids(first)[:-1] == uuids(second)[:-1]  # all but the entry of the log
    assert uuids(first)[-1] != uuids(second)[-1]
    other = maker.learn(previous, ["p1", "p2", "p3"], ["p2", "p3"], "one", {})
    assert set(uuids(first)).isdisjoint(uuids(other))
    replaced = [maker.learn(previous, ["p1", "p2"], ["p2"], "one", {"p1": now}) for now in ("", "abc")]
    assert set(uuids(first)).isdisjoint(uuids(replaced[0]))
    assert set(uuids(replaced[1])).isdisjoint(uuids(replaced[0]))
    again = MontyDecoder().decode(json.dumps(first, cls=MontyEncoder))
    assert uuids(again) == uuids(first)


def test_nothing_due_adds_nothing_and_writes_nothing(maker, store):
    response = retrain_if_due.original(maker, "a", {}, "")
    assert (response.output, response.addition) == ({"due": []}, None)
    assert retrainings(store, "nio") == []


def test_nothing_new_is_no_training_but_an_answer(maker, store):
    model(store, "m1", "s1", hypers=maker.hypers, files=[{"path": "m.pt", "sha256": "0" * 64}])
    response = retrain_if_due.original(maker, "a", {}, "asked for by hand")
    assert response.addition is None
    (record,) = retrainings(store, "nio")
    assert (record.outcome, record.why) == ("unchanged", ["asked for by hand"])


def test_labels_withdrawn_from_under_the_model_are_work_whatever_else_is_new(maker, store):
    model(store, "m1", "s1", hypers=maker.hypers, files=[MEMBER])
    store.put_point(point(0, verdict="rejected", verdict_reasons=["wrong U"]))
    raise_flag(store, "nio", "labels of November were wrong")
    response = retrain_if_due.original(maker, "a", {}, "")
    assert response.addition is not None
    (record,) = retrainings(store, "nio")
    assert (record.outcome, len(record.why), len(record.flags)) == ("", 2, 1)


def test_a_model_whose_files_are_damaged_can_be_replaced(maker, store, tmp_path):
    (tmp_path / "m.pt").write_bytes(b"not a model")
    model(store, "m1", "s1", hypers=maker.hypers, files=[{"path": str(tmp_path / "m.pt"), "sha256": "0" * 64}])
    store.put_point(point(1))
    response = retrain_if_due.original(maker, "a", {}, "")
    kinds = [job.metadata["kind"] for job in response.addition.jobs]
    assert kinds == ["dataset", *["train"] * maker.options.committee, "evaluate", "promote", "record"]
    (record,) = retrainings(store, "nio")
    assert "model m1, in use so far, cannot be used" in record.reasons[0]
    promoted = {"promoted": True, "reasons": ["checked"], "model_id": "m2"}
    record_outcome.original(maker.options.store, record.retraining_id, {"snapshot_id": "s2"}, promoted)
    (done,) = retrainings(store, "nio")
    assert done.reasons == [*record.reasons, "checked"]


def test_what_is_due_is_begun_once_and_recorded(maker, store):
    store.put_point(point(1))
    first = retrain_if_due.original(maker, "a", {}, "")
    second = retrain_if_due.original(maker, "a", {}, "")
    assert uuids(first.addition) == uuids(second.addition)
    (record,) = retrainings(store, "nio")
    assert (record.outcome, record.labels, record.unseen) == ("", 2, 1)
    promoted = {"promoted": False, "reasons": ["worse"], "model_id": "m2"}
    record_outcome.original(maker.options.store, record.retraining_id, {"snapshot_id": "s2"}, promoted)
    (record,) = retrainings(store, "nio")
    assert (record.outcome, record.reasons, record.model_id, record.snapshot_id) == ("refused", ["worse"], "m2", "s2")
    assert record.ended >= record.started
