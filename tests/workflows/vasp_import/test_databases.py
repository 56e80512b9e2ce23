"""Task documents in a MongoDB; messages without the password."""

import os
import shutil
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from pymongo import MongoClient

from datastore import open_store
from datastore.errors import DataError
from datastore.mapping import RefusedError
from datastore.queries import find
from tests.workflows.vasp_import.test_documents import task_document
from workflows.vasp_import.databases import fetch, is_database, list_documents
from workflows.vasp_import.discover import find_runs
from workflows.vasp_import.runner import VaspImport, import_vasp


@pytest.fixture
def database():
    base = os.environ.get("SPINMULTINET_TEST_MONGO_URI", "")
    if not base:
        pytest.skip("SPINMULTINET_TEST_MONGO_URI names no MongoDB server")
    name = f"test_{uuid4().hex[:8]}"
    client = MongoClient(base)
    yield client[name], f"{base.rstrip('/')}/{name}?collection=tasks"
    client.drop_database(name)
    client.close()


def test_tasks_and_jobs_of_a_collection_are_imported_once(database, finished, tmp_path):
    tasks, uri = database[0]["tasks"], database[1]
    document = task_document(finished("static"))
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    big = {**document, "task_id": "mp-1", "last_updated": now, "vasp_objects": {"dos": "x" * 100_000}}
    failed = task_document(finished("version_5"))
    failed["calcs_reversed"][0]["output"]["ionic_steps"][-1]["num_electronic_steps"] = 999
    tasks.insert_many(
        [
            big,
            {"uuid": "abc", "index": 2, "output": task_document(finished("relaxed")), "completed_at": "later"},
            {"uuid": "def", "index": 1, "output": {"other": 1}},
            {**failed, "task_id": "mp-2", "last_updated": now},
        ]
    )
    names = [name for _, name, _ in list_documents(uri)]
    assert names == ["mp-1", "abc:2", "mp-2"]
    assert "vasp_objects" not in fetch(uri, list_documents(uri)[0][0])
    with open_store(f"local:{tmp_path}") as store:
        report = import_vasp(store, [uri], VaspImport())
        assert (report.frames, report.accepted, report.not_in) == (3, 2, 1)
        (example,) = report.refused["not converged"].examples
        assert "mp-2" in example
        assert {point.source["file"].split()[-1] for point in find(store)} == {"mp-1", "abc:2"}
        again = import_vasp(store, [uri], VaspImport())
        assert (again.accepted, again.present, again.not_in) == (0, 2, 1)
        assert "unchanged" in again.refused["not converged"].examples[0]
        mended = {**task_document(finished("version_5")), "task_id": "mp-2", "last_updated": datetime.now(UTC)}
        tasks.update_one({"task_id": "mp-2"}, {"$set": mended})
        assert import_vasp(store, [uri], VaspImport()).not_in == 0


def test_a_database_that_goes_ends_the_import(monkeypatch, tmp_path):
    here = [('"a"', "mp-1", "now"), ('"b"', "mp-2", "now")]
    monkeypatch.setattr("workflows.vasp_import.runner.list_documents", lambda uri: here)
    with open_store(f"local:{tmp_path}") as store, pytest.raises(DataError, match=r"ada:\*\*\*@.* cannot be reached"):
        import_vasp(store, ["mongodb://ada:secret@127.0.0.1:1/db?collection=tasks"], VaspImport())


def test_a_document_that_was_removed_meanwhile_is_refused_alone(database):
    with pytest.raises(RefusedError, match="gone"):
        fetch(database[1], '"no such id"')


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("mongodb://ada:secret@127.0.0.1:1/db?collection=tasks", "cannot be reached"),
        ("mongodb://ada:secret@127.0.0.1/db", "names no collection"),
        ("mongodb://ada:secret@127.0.0.1/?collection=tasks", "names no database"),
        ("mongodb://ada:se cret@[::1/db?collection=tasks", "no valid MongoDB URI"),
        ("mongodb://ada:secret@127.0.0.1:x/db?collection=tasks", "no valid MongoDB URI"),
        ("mongodb://ada:s:ecret@127.0.0.1/db?collection=tasks", "%3A for :"),
        ("mongodb://ada:9/secret@127.0.0.1/db?collection=tasks", "%2F for /"),
        ("mongodb://ada:x/secret@127.0.0.1/db?collection=tasks", "%2F for /"),
        ("mongodb://ada:x@secret@127.0.0.1/db?collection=tasks", "%40 for @"),
        ("mongodb://ada:x%secret@127.0.0.1/db?collection=tasks", "no valid MongoDB URI"),
        ("mongodb://ada:x?secret@127.0.0.1/db?collection=tasks", "no valid MongoDB URI"),
        ("mongodb://ada:x#secret@127.0.0.1/db?collection=tasks", "no valid MongoDB URI"),
        ("mongodb://ada:x[secret@127.0.0.1/db?collection=tasks", "no valid MongoDB URI"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_without_the_password(uri, part):
    assert is_database(uri)
    with pytest.raises(DataError) as told:
        list_documents(uri)
    assert part in str(told.value)
    assert "cret" not in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_folders_are_no_databases(tmp_path, finished):
    shutil.copytree(finished("static"), tmp_path / "a")
    assert not is_database(str(tmp_path))
    assert len(list(find_runs(tmp_path))) == 1
