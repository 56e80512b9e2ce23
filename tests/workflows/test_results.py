"""What finished campaigns left in their store."""

import pytest

from datastore import open_store
from datastore.registry import promote
from tests.workflows.test_retrain_state import model, retraining
from workflows.results import latest_evaluation


@pytest.fixture
def store():
    with open_store("memory:") as opened:
        model(opened, "m1", "s1")
        promote(opened, "nio", "m1", "tester", ["first"], "")
        yield opened


def finish(store, uuid, kind, output):
    document = {"uuid": uuid, "index": 1, "metadata": {"kind": kind}, "output": {"model_id": "m1", **output}}
    store.jobs.update({**document, "completed_at": uuid}, key=["uuid", "index"])


def test_the_latest_evaluation_is_the_conclusion_else_that_of_the_promotion(store):
    assert latest_evaluation(store, "nio") is None
    finish(store, "1", "promote", {"results": "a.json"})
    assert latest_evaluation(store, "nio")["results"] == "a.json"
    finish(store, "2", "conclude", {"results": "b.json"})
    finish(store, "3", "promote", {"results": "c.json"})
    assert latest_evaluation(store, "nio")["results"] == "b.json"


def test_the_log_of_a_retraining_is_no_evaluation(store):
    """Its job had the kind of conclusions once, and names the model."""
    finish(store, "1", "promote", {"results": "a.json", "selections": ["s.json"]})
    log = {**retraining(store, "promoted").to_document(), "model_id": "m1"}
    finish(store, "2", "conclude", log)
    assert latest_evaluation(store, "nio")["selections"] == ["s.json"]
