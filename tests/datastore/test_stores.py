"""One contract for every kind of store, and the messages for stores that cannot be used."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import bson
import numpy as np
import pytest

import datastore
from datastore.errors import DataError
from datastore.locks import lock
from datastore.schema import ModelRecord, SpinFailure
from datastore.store_upgrade import upgrade_store
from datastore.stores import COLLECTIONS, insert_new, mask, open_store, stamped
from datastore.upgrade import parse
from tests.datastore.support import KINDS, make_failure, make_point, new_store

ROOT = Path(__file__).parents[2]


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


def test_a_store_that_may_not_be_written_is_read(tmp_path):
    folder = tmp_path / "data"
    with open_store(f"local:{folder}") as store:
        store.put_point(make_point())
    before = (folder / "store.sqlite").read_bytes()
    for readonly in (False, True):
        with open_store(f"local:{folder}", create=False, readonly=readonly) as store:
            assert store.get_point(make_point().point_id) == make_point()
    with open_store(f"local:{folder}", readonly=True) as store, pytest.raises(DataError, match="readonly"):
        store.put_point(make_point(shift=0.1))
    assert (folder / "store.sqlite").read_bytes() == before


READ_AS_NOBODY = """
import os, sys
from datastore.stores import open_store
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
assert not os.access(sys.argv[1], os.W_OK)
with open_store("local:" + sys.argv[1], readonly=True) as store:
    print(store.points.count(), store.locks.count())
"""


def test_a_folder_that_may_not_be_written_is_read():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        with open_store(f"local:{folder}") as store:
            store.put_point(make_point())
            store.locks._collection.execute("DROP TABLE locks")  # a collection that a later version added
        Path(folder, "store.sqlite").chmod(0o444)
        Path(folder).chmod(0o555)
        command = [sys.executable, "-c", READ_AS_NOBODY, folder]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        Path(folder).chmod(0o755)
    assert done.stdout == "1 0\n", done.stderr


def test_opening_a_database_to_read_writes_nothing():
    base = os.environ.get("SPINMULTINET_TEST_MONGO_URI", "")
    if not base:
        pytest.skip("SPINMULTINET_TEST_MONGO_URI names no MongoDB server")
    for options in ({"create": False}, {"readonly": True}):
        with open_store(f"{base.rstrip('/')}/test_{uuid4().hex[:8]}", **options) as store:
            assert store.points.count() == 0
            database = store.points._collection.database
            assert database.list_collection_names() == []
    with pytest.raises(DataError, match="opened to read only"):
        store.points.update(make_point().to_document())
    with pytest.raises(DataError, match="opened to read only"):
        store.points.remove_docs({})


def test_indexes_are_those_of_the_table(tmp_path):
    with new_store("mongodb", tmp_path) as store:
        for name, (key, indexes) in COLLECTIONS.items():
            made = getattr(store, name)._collection.index_information().values()
            fields = {tuple(field for field, _ in index["key"]) for index in made}
            wanted = [(index,) if isinstance(index, str) else index for index in (key, *indexes)]
            assert fields >= {index[:1] if index[0].endswith("$**") else index for index in wanted}


def test_a_label_of_64_atoms_is_small(tmp_path):
    """As a relaxed, noncollinear VASP run leaves it: every optional array is there."""
    rng = np.random.default_rng(0)
    sites, vectors = 64, rng.normal(size=(64, 3))
    point = make_point(
        **{name: rng.normal(size=(sites, 3)) for name in ("positions", "forces", "magmoms_out", "magnetic_forces")},
        species=["Ni"] * 32 + ["O"] * 32,
        lattice=np.eye(3) * 8.34 + rng.normal(size=(3, 3)) * 0.01,
        parent_lattice=np.eye(3) * 8.34,
        magmoms_in=vectors,
        charges=rng.normal(size=sites).tolist(),
        level_of_theory={"code": "VASP", "incar": {f"SETTING{i}": rng.normal() for i in range(60)}},
        history=[
            {"run": i, "errors": ["brmix", "zbrent"], "actions": [{"ALGO": "All", "NELM": 200}]} for i in range(3)
        ],
        source={"file": "x" * 100, "sha256": "0" * 64, "citation": "y" * 300},
        ordering="AFM[" + "+-" * 16 + "]",
    )
    assert len(bson.encode(stamped(point.to_document()))) <= 25_000
    collinear = point.model_copy(
        update={"magmoms_in": vectors[:, 0], "magmoms_out": vectors[:, 1], "magnetic_forces": None}
    )
    assert len(bson.encode(stamped(collinear.to_document()))) <= 25_000
    print(len(bson.encode(stamped(point.to_document()))), len(bson.encode(stamped(collinear.to_document()))))


def hold(store):
    with lock(store, "campaign", "test"):
        pass


WRITERS = {
    "put_point": lambda store: store.put_point(make_point(shift=0.2)),
    "put_new_points": lambda store: store.put_new_points([make_point(shift=0.2)]),
    "put_failure": lambda store: store.put_failure(make_failure(shift=0.3)),
    "put_model": lambda store: store.put_model(make_model()),
    "insert_new": lambda store: insert_new(store.flows, {"uuid": "a"}),
    "lock": hold,
    "update": lambda store: store.jobs.update([{"uuid": "a"}]),
    "remove_docs": lambda store: store.points.remove_docs({}),
    "index": lambda store: store.index(),
    "upgrade": upgrade_store,
}


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_writes_to_a_store_that_was_opened_to_read(store, name):
    store.put_point(make_point())
    store.locks.update([{"name": "campaign", "token": "of a dead one", "ttl": 1, "renewed": 0.0}])
    with open_store(store.uri, readonly=True) as reader:
        before = {name: list(getattr(reader, name).query({})) for name in COLLECTIONS}
        with pytest.raises(DataError, match="readonly"):
            WRITERS[name](reader)
        assert {name: list(getattr(reader, name).query({})) for name in COLLECTIONS} == before


def test_a_lock_of_nobody_is_not_taken_by_a_reader(store):
    with open_store(store.uri, readonly=True) as reader, pytest.raises(DataError, match="readonly"):
        hold(reader)
    assert store.locks.count() == 0
