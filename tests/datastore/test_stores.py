"""One contract for every kind of store, and the messages for stores that cannot be used."""

import time

import pytest

import datastore
from datastore.errors import DataError
from datastore.schema import ModelRecord, SpinFailure
from datastore.stores import COLLECTIONS, mask, open_store
from datastore.upgrade import parse
from tests.datastore.support import KINDS, make_failure, make_point, new_store


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    with new_store(request.param, tmp_path) as opened:
        yield opened


def make_model(**changes):
    fields = {
        "model_id": "m1",
        "campaign": "nio",
        "generation": 0,
        "created": "2026-01-01T00:00:00+00:00",
        "snapshot_id": "s",
        "level_id": "l",
        "level_of_theory": {"xc": "PBE"},
        "moment_role": "guess",
        "species": ["Ni", "O"],
        "hypers": {"layers": 2},
        "files": [{"path": "a.pt", "sha256": "0" * 64}],
        "code_version": "0.1.0",
    }
    return ModelRecord(**(fields | changes))


def test_point_comes_back(store):
    point = make_point(deformation_parameters={"strain": 0.1 + 0.2}, kpoints=[4, 4, 2])
    store.put_point(point)
    store.put_point(point)
    assert store.get_point(point.point_id) == point
    assert store.has_label(point.point_id)
    assert not store.has_label("other")
    assert store.get_point("other") is None
    assert store.points.count() == 1
    assert (store.points.last_updated - store.points.last_updated.min).days > 0


def test_failure_never_replaces_a_label(store):
    failure, point = make_failure(), make_point()
    assert failure.point_id == point.point_id
    assert store.put_failure(failure)
    (stored,) = store.failures.query({})
    assert parse(SpinFailure, stored) == failure
    store.put_point(point)
    assert store.failures.count() == 0
    assert not store.put_failure(failure)
    assert store.failures.count() == 0


def test_models(store):
    old, new = make_model(status="champion"), make_model(model_id="m2", created="2026-01-02T00:00:00+00:00")
    store.put_model(new)
    store.put_model(old)
    assert store.get_model("m1") == old
    assert store.get_model("m3") is None
    assert store.get_models(campaign="nio") == [old, new]
    assert store.get_models(status="champion") == [old]


def test_every_collection_works_as_a_maggma_store(store):
    for name, (key, _) in COLLECTIONS.items():
        collection = getattr(store, name)
        assert collection.key == key
        collection.update([{key: "a", "n": {"m": 1}, "v": 1}, {key: "b", "n": {"m": 2}}])
        collection.update({key: "a", "n": {"m": 1}})
        assert sorted(collection.distinct(key)) == ["a", "b"]
        assert [d[key] for d in collection.query({"n.m": {"$gt": 0}}, [key], sort={"n.m": -1}, limit=1)] == ["b"]
        assert {head["n"]["m"] for head, _ in collection.groupby("n.m")} == {1, 2}
        assert "v" not in collection.query_one({key: "a"})
        collection.remove_docs({key: "a"})
        assert collection.count() == 1
        assert collection.ensure_index("v")


def test_jobs_serve_a_jobflow_job_store(store):
    jobflow = pytest.importorskip("jobflow")
    jobs = jobflow.JobStore(store.jobs)
    jobs.connect()
    for index in (1, 2):
        output = {"point_id": f"p{index}", "list": [1, 2]}
        jobs.update({"uuid": "u", "index": index, "output": output, "completed_at": "now"}, key=["uuid", "index"])
    jobs.update(
        {"uuid": "u", "index": 2, "output": {"point_id": "again"}, "completed_at": "now"}, key=["uuid", "index"]
    )
    assert jobs.get_output("u") == {"point_id": "again"}
    assert jobs.get_output("u", which="first")["point_id"] == "p1"
    assert jobs.query_one({"uuid": "u"}, properties=["output.point_id"], sort={"index": -1})["output"] == {
        "point_id": "again"
    }
    assert jobs.count() == 2


def test_public_names():
    assert datastore.open_store is open_store


def test_local_store_persists_and_is_not_created_by_accident(tmp_path):
    uri = f"local:{tmp_path / 'data'}"
    with pytest.raises(DataError, match="there is no store at"):
        open_store(uri, create=False)
    assert not (tmp_path / "data").exists()
    with open_store(uri) as store:
        store.put_point(make_point())
    with open_store(uri, create=False) as store:
        assert store.has_label(make_point().point_id)


@pytest.mark.parametrize(
    "uri", ["", "sqlite:x", "postgres://user:secret@host/db", "/just/a/path", "local:", "mongodb://"]
)
def test_unusable_uris(uri):
    with pytest.raises(DataError) as error:
        open_store(uri)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_unreachable_mongodb_fails_fast_and_hides_the_password():
    start = time.monotonic()
    with pytest.raises(DataError, match=r"cannot be reached.*start the server") as error:
        open_store("mongodb://user:top@secret@127.0.0.1:9/db".replace("top@secret", "topsecret"))
    assert time.monotonic() - start < 20
    assert "topsecret" not in str(error.value)
    assert "user:***@127.0.0.1:9" in str(error.value)


def test_local_store_at_an_impossible_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be used"):
        open_store(f"local:{tmp_path / 'file' / 'data'}")


@pytest.mark.parametrize("sign", list("@:/?#%"))
def test_a_password_that_is_not_escaped_is_told_and_not_shown(sign):
    with pytest.raises(DataError, match="escaped: %40 for @") as error:
        open_store(f"mongodb://user:top{sign}secret@127.0.0.1:9/db")
    assert "secret" not in str(error.value)
    assert "top" not in str(error.value)
    assert error.value.__cause__ is None


def test_mask():
    assert mask("mongodb://u:p@ss@h/d") == "mongodb://u:***@h/d"
    assert mask("mongodb://h/d") == "mongodb://h/d"
    assert mask("local:a/b") == "local:a/b"
