"""The job that promotes: one entry however often it is killed, and files that come back from where they are kept."""

from unittest import mock

import pytest
from jobflow import Flow, JobStore, run_locally

from datastore import open_store
from datastore.model_files import CACHE_VARIABLE
from datastore.registry import champion, history, promote
from tests.support.registry import example, flip_a_byte
from workflows.jobs import promote as module
from workflows.jobs.evaluate import put_in_use
from workflows.jobs.promote import promote_model


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return example(tmp_path / "nio")


def run(options, name):
    """What the job returns for the evaluation of a model."""
    evaluated = {"model_id": name, "generation": 1, "members": [], "scores": {"kept": 1}}
    return promote_model.original(options, evaluated)


def log(place):
    with open_store(place.options.store) as store:
        return [(entry.action, entry.model_id) for entry in history(store, "nio")]


def test_the_output_says_who_is_in_use(place):
    first, second, third = (run(place.options, name) for name in ("poor", "good", "poor"))
    assert first["promoted"]
    assert second["champion"] == {
        "model_id": "good",
        "generation": 1,
        "members": [{"path": str(place.file("good")), "sha256": place.good.files[0].sha256}],
    }
    assert not third["promoted"]
    assert third["champion"]["model_id"] == "good"
    assert third["scores"] == {"kept": 1}
    assert log(place) == [("promote", "poor"), ("promote", "good"), ("refuse", "poor")]


def test_a_kill_after_the_entry_and_a_second_run_make_one_entry(place):
    with mock.patch.object(module, "champion", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        run(place.options, "good")
    assert run(place.options, "good")["promoted"]
    assert log(place) == [("promote", "good")]


def test_it_runs_in_a_flow(place, tmp_path):
    from maggma.stores import MemoryStore

    job = promote_model(place.options, {"model_id": "good", "generation": 1})
    store = JobStore(MemoryStore())
    output = run_locally(Flow([job]), store=store, ensure_success=True, root_dir=tmp_path)[job.uuid][1].output
    assert output["champion"]["model_id"] == "good"


def test_files_are_kept_and_come_back(place, tmp_path):
    options = place.options.model_copy(update={"models": f"folder:{tmp_path / 'shared'}"})
    run(options, "poor")
    with open_store(options.store) as store:
        assert champion(store, "nio").files[0].uri.startswith(f"folder:{tmp_path / 'shared'}")
    place.file("poor").unlink()
    found = run(options, "good")  # compared with the one whose file is gone
    assert found["promoted"]
    assert any("errors changed by" in reason for reason in found["reasons"])


@pytest.mark.parametrize("models", ["", "folder:shared"])
def test_a_damaged_model_is_refused_and_the_job_says_so(place, tmp_path, models):
    run(place.options, "poor")
    flip_a_byte(place.file("good"))
    options = place.options.model_copy(update={"models": models and f"folder:{tmp_path / 'shared'}"})
    found = run(options, "good")
    assert not found["promoted"]
    assert "is damaged" in found["reasons"][0]
    assert found["champion"]["model_id"] == "poor"
    assert log(place) == [("promote", "poor"), ("refuse", "good")]


def test_flows_of_before_put_a_model_to_use_unless_the_log_has_decided_on_it(place):
    with open_store(place.options.store) as store:
        put_in_use(store, "nio", "poor")
        put_in_use(store, "nio", "poor")
        assert champion(store, "nio").model_id == "poor"
    run(place.options, "good")
    with open_store(place.options.store) as store:
        put_in_use(store, "nio", "poor")
        assert champion(store, "nio").model_id == "good"
    assert log(place) == [("promote", "poor"), ("promote", "good")]


def test_flows_of_before_do_not_undo_what_was_decided(place):
    """Also where the log begins with the decision: the model that went was in use by its status only."""
    with open_store(place.options.store) as store:
        store.put_model(place.good.model_copy(update={"status": "champion"}))
        promote(store, "nio", "poor", "Ada", ["the other one explodes"], "good")
        put_in_use(store, "nio", "good")
        assert champion(store, "nio").model_id == "poor"
    assert log(place) == [("promote", "poor")]
