"""The model in use is read when a job runs, not when its flow was made."""

import pytest

from datastore import open_store
from datastore.errors import DataError
from datastore.registry import promote, refuse, rollback
from datastore.retraining import Retraining
from datastore.retrainings import put_retraining
from tests.support.registry import example
from workflows.jobs.champion import with_champion
from workflows.registry.files import in_use


@pytest.fixture
def there(tmp_path):
    return example(tmp_path)


def derived(store, record, name: str, parent: str):
    new = record.model_copy(update={"model_id": name, "parents": [parent], "generation": 1})
    store.put_model(new)
    return new


def output(there, record) -> dict:
    with open_store(there.options.store):
        used = in_use(record, there.options.store)
    return {"model_id": record.model_id, "generation": record.generation, "champion": used, "history": []}


def champion_after(there, previous: dict) -> str:
    return (with_champion(there.options, previous)["champion"] or {"model_id": ""})["model_id"]


def test_a_rollback_by_a_person_counts_at_once(there):
    with open_store(there.options.store) as store:
        promote(store, "nio", "poor", "campaign nio", ["first"], "")
        other = derived(store, there.good, "other", "")
        promote(store, "nio", "other", "campaign nio", ["better"], "poor")
    previous = output(there, other)
    assert with_champion(there.options, previous) == previous
    with open_store(there.options.store) as store:
        rollback(store, "nio", "ada", "moments look wrong")
    found = with_champion(there.options, previous)
    assert found["champion"] == in_use(there.poor, there.options.store)
    assert found == {**previous, "champion": found["champion"]}


def test_a_retrained_model_counts_and_the_next_round_does_not_change_what_was_before_it(there):
    with open_store(there.options.store) as store:
        promote(store, "nio", "poor", "campaign nio", ["first"], "")
        derived(store, there.good, "retrained", "poor")
        promote(store, "nio", "retrained", "campaign nio", ["better"], "poor")
        put_retraining(
            store,
            Retraining(
                retraining_id="r",
                campaign="nio",
                key="k",
                fingerprint="f",
                why=["labels"],
                champion="poor",
                labels=1,
                model_id="retrained",
                host="here",
                started="2026-01-01T00:00:00+00:00",
                code_version="0",
                outcome="promoted",
            ),
        )
    previous = output(there, there.poor)
    assert champion_after(there, previous) == "retrained"
    with open_store(there.options.store) as store:
        derived(store, there.good, "second round", "poor")
        promote(store, "nio", "second round", "campaign nio", ["better"], "retrained")
    assert champion_after(there, previous) == "retrained"


def test_rounds_that_are_looked_at_again_go_on_as_they_did(there):
    """Otherwise an edit of the campaign file would choose, and pay for, other labels."""
    with open_store(there.options.store) as store:
        promote(store, "nio", "poor", "campaign nio", ["first"], "")
        derived(store, there.good, "second round", "poor")
        promote(store, "nio", "second round", "campaign nio", ["better"], "poor")
    assert champion_after(there, output(there, there.poor)) == "poor"


def test_without_a_log_and_without_a_model_in_use(there):
    previous = output(there, there.poor)
    assert with_champion(there.options, previous) == previous
    with open_store(there.options.store) as store:
        refuse(store, "nio", "poor", "campaign nio", ["fails"], "")
    assert with_champion(there.options, previous)["champion"] is None


def test_a_model_that_is_gone_is_named(there):
    with open_store(there.options.store) as store:
        promote(store, "nio", "poor", "campaign nio", ["first"], "")
        promote(store, "nio", "good", "ada", ["by hand"], "poor")
        store.models.remove_docs({"model_id": "good"})
    with pytest.raises(DataError, match="good, in use so far, is not in the store"):
        with_champion(there.options, output(there, there.poor))
