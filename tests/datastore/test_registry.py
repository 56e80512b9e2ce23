"""One champion at all times: after kills, among several writers, and in stores of before the log."""

import multiprocessing
import os
import threading
from collections import Counter
from itertools import pairwise
from unittest import mock
from uuid import uuid4

import pytest

from datastore import registry
from datastore.errors import DataError
from datastore.registry import SupersededError, champion, history, promote, refuse, rollback, standing
from datastore.schema import ModelRecord
from datastore.stores import insert_new, open_store, stamped
from datastore.verify import verify
from tests.datastore.support import KINDS, new_store
from tests.datastore.test_promotion import make_promotion
from tests.datastore.test_stores import make_model


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    with new_store(request.param, tmp_path) as opened:
        yield filled(opened)


def filled(store, count=4):
    for k in range(count):
        store.put_model(make_model(model_id=f"m{k}", created=f"2026-01-0{k + 1}T00:00:00+00:00"))
    return store


def statuses(store) -> dict[str, str]:
    return {record.model_id: record.status for record in store.get_models()}


def test_promote_refuse_and_the_status_that_follows(store):
    assert champion(store, "nio") is None
    promote(store, "nio", "m0", "Ada", ["first"], "")
    refuse(store, "nio", "m1", "Ada", ["worse"], "m0")
    promote(store, "nio", "m2", "Ada", ["better"], "m0", rules={"worse": 0.2})
    assert champion(store, "nio").model_id == "m2"
    assert statuses(store) == {"m0": "retired", "m1": "candidate", "m2": "champion", "m3": "candidate"}
    log = history(store, "nio")
    assert [(e.number, e.action, e.model_id, e.previous, e.champion) for e in log] == [
        (1, "promote", "m0", "", "m0"),
        (2, "refuse", "m1", "m0", "m0"),
        (3, "promote", "m2", "m0", "m2"),
    ]
    assert log[2].rules == {"worse": 0.2}
    assert list(registry.problems(store)) == []


def test_campaigns_have_logs_of_their_own(store):
    store.put_model(make_model(model_id="other", campaign="coo"))
    promote(store, "nio", "m0", "Ada", ["first"], "")
    promote(store, "coo", "other", "Ada", ["first"], "")
    assert [champion(store, name).model_id for name in registry.campaigns(store)] == ["other", "m0"]


def test_a_judgement_on_another_champion_is_refused(store):
    promote(store, "nio", "m0", "Ada", ["first"], "")
    with pytest.raises(SupersededError, match=r"uses model m0 by now.*judged against none; judge it again"):
        promote(store, "nio", "m1", "Bob", ["first"], "")
    assert len(history(store, "nio")) == 1


def test_back_and_forth(store):
    for k in range(3):
        promote(store, "nio", f"m{k}", "Ada", ["better"], f"m{k - 1}" if k else "")
    assert rollback(store, "nio", "Bob", "explodes").model_id == "m1"
    assert registry.before(store, "nio") == "m0"  # further back, not forth
    assert rollback(store, "nio", "Bob", "that one, too").champion == "m0"
    with pytest.raises(DataError, match="no other model before"):
        rollback(store, "nio", "Bob", "again")
    assert rollback(store, "nio", "Bob", "it was the thermostat", to="m2").previous == "m0"
    assert registry.before(store, "nio") == "m0"
    assert statuses(store) == {"m0": "retired", "m1": "retired", "m2": "champion", "m3": "candidate"}
    with pytest.raises(DataError, match="m2 is in use already"):
        rollback(store, "nio", "Bob", "x", to="m2")
    with pytest.raises(DataError, match="m3 never was in use"):
        rollback(store, "nio", "Bob", "x", to="m3")
    assert list(registry.problems(store)) == []


def test_stores_of_before_the_log(store):
    store.put_model(make_model(model_id="m1", status="retired"))
    store.put_model(make_model(model_id="m2", status="champion"))
    assert champion(store, "nio").model_id == "m2"
    assert standing(store, "nio").number == 0
    promote(store, "nio", "m3", "Ada", ["better"], "m2")
    assert statuses(store) == {"m0": "candidate", "m1": "retired", "m2": "retired", "m3": "champion"}
    assert rollback(store, "nio", "Ada", "explodes").model_id == "m2"
    assert champion(store, "nio").model_id == "m2"


def test_a_kill_before_the_entry_changes_nothing_and_one_after_it_everything(store):
    promote(store, "nio", "m0", "Ada", ["first"], "")
    with mock.patch.object(registry, "insert_new", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        promote(store, "nio", "m1", "Ada", ["better"], "m0")
    assert champion(store, "nio").model_id == "m0"
    with mock.patch.object(registry, "settle_status", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        promote(store, "nio", "m1", "Ada", ["better"], "m0")
    assert champion(store, "nio").model_id == "m1"
    assert statuses(store)["m0"] == "champion"  # not yet put right
    registry.settle_status(store, "nio")
    assert statuses(store) == {"m0": "retired", "m1": "champion", "m2": "candidate", "m3": "candidate"}
    before = [record.to_document() for record in store.get_models()]
    registry.settle_status(store, "nio")
    assert [record.to_document() for record in store.get_models()] == before


def test_a_kill_amid_the_status_leaves_one_champion(store):
    promote(store, "nio", "m0", "Ada", ["first"], "")
    with mock.patch.object(store, "put_model", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        promote(store, "nio", "m1", "Ada", ["better"], "m0")
    assert champion(store, "nio").model_id == "m1"


def test_an_entry_that_somebody_else_was_faster_with_gets_the_next_number(store):
    promote(store, "nio", "m0", "Ada", ["first"], "")

    def late(collection, document):
        if document["number"] == 2:  # between reading the log and writing
            insert_new(
                collection,
                stamped(make_promotion(number=2, action="refuse", model_id="m3", previous="m0").to_document()),
            )
        return insert_new(collection, document)

    with mock.patch.object(registry, "insert_new", side_effect=late):
        assert promote(store, "nio", "m1", "Ada", ["better"], "m0").number == 3
    assert [entry.model_id for entry in history(store, "nio")] == ["m0", "m3", "m1"]


def test_two_threads_promote_at_once_and_one_wins(store):
    promote(store, "nio", "m0", "Ada", ["first"], "")
    start, ends = threading.Barrier(3), []

    def one(model_id):
        start.wait()
        try:
            promote(store, "nio", model_id, model_id, ["better"], "m0")
            ends.append("promoted")
        except SupersededError:
            ends.append("again")

    threads = [threading.Thread(target=one, args=(f"m{k}",)) for k in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(ends) == {"promoted": 1, "again": 2}
    winner = champion(store, "nio").model_id
    registry.settle_status(store, "nio")
    assert [m for m, status in statuses(store).items() if status == "champion"] == [winner]


def _push(uri: str, k: int, rounds: int) -> None:
    """Promote this model against whatever is in use, again and again."""
    with open_store(uri) as store:
        done = 0
        while done < rounds:
            now = standing(store, "nio").model_id
            try:
                promote(store, "nio", f"m{k}", f"process {k}", ["mine"], now)
                done += 1
            except SupersededError:
                continue


@pytest.mark.parametrize("kind", ["local", "mongodb"])
def test_processes_that_promote_at_once_make_one_line(kind, tmp_path):
    base = os.environ.get("SPINMULTINET_TEST_MONGO_URI", "")
    if kind == "mongodb" and not base:
        pytest.skip("SPINMULTINET_TEST_MONGO_URI names no MongoDB server")
    uri = f"local:{tmp_path}" if kind == "local" else f"{base.rstrip('/')}/test_{uuid4().hex[:8]}"
    with open_store(uri) as store:
        filled(store)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_push, args=(uri, k, 5)) for k in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    with open_store(uri) as store:
        log = history(store, "nio")
        assert [entry.number for entry in log] == list(range(1, 11))
        assert all(after.previous == before.champion for before, after in pairwise(log))
        assert Counter(entry.by for entry in log) == {f"process {k}": 5 for k in (1, 2)}
        registry.settle_status(store, "nio")
        assert statuses(store)[log[-1].model_id] == "champion"
        assert Counter(statuses(store).values())["champion"] == 1
        if kind == "mongodb":
            store.points._collection.database.client.drop_database(store.points.database)


def test_ids_may_be_abbreviated(store):
    store.put_model(make_model(model_id="m11"))
    assert registry.resolve(store, "m1").model_id == "m1"
    assert registry.resolve(store, "m11").model_id == "m11"
    with pytest.raises(DataError, match="fits several models"):
        registry.resolve(store, "m")
    for name in ("x", ""):
        with pytest.raises(DataError, match="models list"):
            registry.resolve(store, name)


@pytest.mark.parametrize(("by", "reasons"), [(" ", ["x"]), ("Ada", [" "])])
def test_an_entry_needs_a_name_and_a_reason(store, by, reasons):
    with pytest.raises(DataError, match="needs a name and a reason"):
        promote(store, "nio", "m0", by, reasons, "")


def test_a_model_that_is_not_there(store):
    with pytest.raises(DataError, match="no model m9"):
        promote(store, "nio", "m9", "Ada", ["x"], "")
    promote(store, "nio", "m0", "Ada", ["x"], "")
    store.models.remove_docs({"model_id": "m0"})
    with pytest.raises(DataError, match=r"uses model m0, which is not in this store.*rollback"):
        champion(store, "nio")


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"number": 3, "previous": "m0"}, "entry 2 before it is missing"),
        ({"number": 2, "previous": "m2"}, "replaces model m2, not m0"),
        ({"number": 2, "previous": "m0", "model_id": "m9"}, "is about model m9, which is not there"),
    ],
)
def test_verify_finds_what_is_wrong_with_the_log(store, entry, what):
    promote(store, "nio", "m0", "Ada", ["first"], "")
    insert_new(store.promotions, stamped(make_promotion(**{"model_id": "m1", **entry}).to_document()))
    found = [problem for problem in verify(store).problems if problem.collection == "promotions"]
    assert [problem.what for problem in found] == [what]


def test_verify_finds_a_changed_entry(store):
    promote(store, "nio", "m0", "Ada", ["first"], "")
    (document,) = store.promotions.query({})
    store.promotions.update(document | {"by": "nobody"})
    problems = [problem.what for problem in verify(store).problems if problem.collection == "promotions"]
    assert any("checksum" in what for what in problems)
    with pytest.raises(DataError, match="damaged"):
        champion(store, "nio")


def test_records_of_before_still_parse():
    old = make_model().to_document()
    for later in ("environment", "seeds", "calibration"):
        del old[later]
    del old["files"][0]["uri"]
    assert ModelRecord.from_document(old) == make_model()
