import os
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from maggma.core import Sort
from maggma.stores import MemoryStore
from monty.json import MontyDecoder

from datastore.errors import DataError
from datastore.sqlite_query import decode, encode
from datastore.sqlite_store import SqliteStore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path):
    with SqliteStore(tmp_path / "deep" / "store.sqlite", "things", key="name") as opened:
        yield opened


DOCUMENTS = [
    {"name": "a", "x": 1, "tags": ["p", "q"], "sub": {"y": 1.5, "list": [{"z": 1}, {"z": 2}]}, "none": None},
    {"name": "b", "x": 2, "tags": [], "sub": {"y": -1.5, "list": [{"z": 3}]}},
    {"name": "c", "x": 2, "flag": True, "sub": {"y": 0.0}, "when": datetime(2026, 1, 2, 3, 4, 5, 678000)},
    {"name": "d", "x": "2", "flag": False, "sub": [{"y": 7}], "when": datetime(2026, 1, 2)},
    {"name": "[e]", "x": 3.5, "tags": "p"},
]
CRITERIA = [
    {},
    {"name": "a"},
    {"name": "[e]"},
    {"x": 2},
    {"x": "2"},
    {"x": {"$gt": 1}},
    {"x": {"$gte": 2, "$lt": 3}},
    {"x": {"$in": [1, 3.5]}},
    {"x": {"$ne": 2}},
    {"x": {"$nin": [1, 2]}},
    {"name": {"$in": []}},
    {"tags": "p"},
    {"tags": {"$in": ["q"]}},
    {"tags": ["p", "q"]},
    {"tags": {"$size": 0}},
    {"sub.y": 1.5},
    {"sub.y": 7},
    {"sub.y": {"$lte": 0}},
    {"sub.list.z": 2},
    {"sub.list.0.z": 3},
    {"sub": {"y": 0.0}},
    {"flag": True},
    {"flag": {"$exists": True}},
    {"flag": {"$exists": False}},
    {"none": None},
    {"none": {"$exists": True}},
    {"when": {"$gt": datetime(2026, 1, 2)}},
    {"when": datetime(2026, 1, 2)},
    {"name": {"$regex": "^[ab]"}},
    {"$or": [{"x": 1}, {"flag": True}]},
    {"$or": [{"x": 1}, {"name": {"$regex": "d"}}]},
    {"$and": [{"x": 2}, {"flag": {"$exists": False}}]},
    {"$nor": [{"x": 2}, {"x": 1}]},
    {"x": {"$not": {"$gt": 1}}},
    {"it's": 1},
]


@pytest.mark.parametrize("criteria", CRITERIA, ids=str)
def test_criteria_agree_with_maggma(store, criteria):
    memory = MemoryStore(key="name")
    memory.connect()
    for each in (store, memory):
        each.update([dict(document) for document in DOCUMENTS])
    expected = sorted(d["name"] for d in memory.query(criteria))
    assert sorted(d["name"] for d in store.query(criteria)) == expected
    assert store.count(criteria) == len(expected)
    for field in ("x", "tags", "sub.y", "sub.list.z", "flag"):
        store.ensure_index(field)
    assert sorted(d["name"] for d in store.query(criteria)) == expected


def test_documents_come_back_as_they_were(store):
    store.update(DOCUMENTS)
    assert list(store.query()) == DOCUMENTS


@pytest.mark.parametrize(
    "properties",
    [["x"], ["sub.y"], ["sub.list.z", "name"], {"x": 1, "_id": 0}, {"x": 0, "sub.y": 0}, {"_id": 0}],
    ids=str,
)
def test_projections_agree_with_maggma(store, properties):
    memory = MemoryStore(key="name")
    memory.connect()
    for each in (store, memory):
        each.update([dict(document) for document in DOCUMENTS[:3]])
    expected = [{k: v for k, v in d.items() if k != "_id"} for d in memory.query({}, properties, sort={"name": 1})]
    assert list(store.query({}, properties, sort={"name": 1})) == expected


_keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda key: key not in ("_id", "$date"))
_leaves = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | _keys
) | st.datetimes().map(lambda time: time.replace(fold=0))
_values = st.recursive(_leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3))


@given(st.dictionaries(_keys, _values, max_size=4))
def test_any_document_survives(document):
    back = decode(encode(document))
    assert back == document
    assert repr(back) == repr(document)  # 1 is not 1.0 and not True


def test_sort_skip_limit(store):
    store.update([{"name": str(i), "x": i % 3, "n": {"m": -i}} for i in range(9)])
    names = [d["name"] for d in store.query({"x": {"$gt": 0}}, sort={"x": Sort.Descending, "n.m": 1}, skip=1, limit=3)]
    assert names == ["5", "2", "7"]
    assert store.query_one({"x": 9}) is None
    assert store.query_one(sort={"n.m": -1})["name"] == "0"


def test_update_replaces_by_one_or_several_keys(store):
    store.update({"name": "a", "v": 1, "gone": 1})
    store.update([{"name": "a", "v": 2}])
    assert list(store.query()) == [{"name": "a", "v": 2}]
    for index in (1, 2, 2):
        store.update({"uuid": "u", "index": index, "name": "j"}, key=["uuid", "index"])
    assert store.count({"uuid": "u"}) == 2
    assert store.query_one({"uuid": "u"}, {"index": 1}, sort={"index": -1}) == {"index": 2}
    with pytest.raises(DataError, match="no 'name'"):
        store.update({"v": 1})


def test_failed_batch_changes_nothing(store):
    with pytest.raises(DataError, match="cannot be stored as JSON"):
        store.update([{"name": "a"}, {"name": "b", "bad": object()}])
    assert store.count() == 0


def test_remove_groupby_distinct_last_updated(store):
    store.update(
        [{"name": str(i), "x": i % 2, "t": {"u": [i % 3]}, "last_updated": datetime(2026, 1, i + 1)} for i in range(6)]
    )
    assert store.last_updated == datetime(2026, 1, 6)
    groups = {head["x"]: sorted(d["name"] for d in group) for head, group in store.groupby("x", properties=["name"])}
    assert groups == {0: ["0", "2", "4"], 1: ["1", "3", "5"]}
    assert sorted(store.distinct("x")) == [0, 1]
    assert sorted(store.distinct("t.u")) == [0, 1, 2]
    assert sorted(store.distinct("name", {"x": 1})) == ["1", "3", "5"]
    store.remove_docs({"x": 1})
    assert sorted(store.distinct("name")) == ["0", "2", "4"]
    other = SqliteStore(store.path, "other", key="name")
    other.connect()
    assert sorted(other.newer_in(store)) == ["0", "2", "4"]


def test_unique_index(store):
    store.update([{"name": "a", "x": 1}, {"name": "b", "x": 1}])
    with pytest.raises(DataError, match="UNIQUE"):
        store.ensure_index("x", unique=True)


def test_indexes_are_used(store):
    store.ensure_index("sub.y")
    for criteria in ({"name": "a"}, {"name": {"$in": ["a", "b"]}}, {"sub.y": {"$gt": 1}}):
        plan = " ".join(store.explain(criteria))
        assert "SEARCH things USING INDEX" in plan
        assert "SCAN things" not in plan


def test_serialises_as_every_maggma_store(store):
    again = MontyDecoder().process_decoded(store.as_dict())
    assert again == store
    assert again.key == "name"
    assert again != SqliteStore(store.path, "other", key="name")


def test_works_after_fork(store):
    store.update({"name": "parent"})
    pid = os.fork()
    if pid == 0:
        try:
            store.update({"name": "child"})
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    store.update({"name": "parent 2"})
    assert {d["name"] for d in store.query()} == {"parent", "child", "parent 2"}


def test_threads_share_a_store(store):
    def work(start):
        for i in range(start, start + 20):
            store.update({"name": str(i)})

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count() == 60


WRITER = """
import sys
from datastore.sqlite_store import SqliteStore
store = SqliteStore(sys.argv[1], "things", key="name")
store.connect()
for i in range(int(sys.argv[3])):
    store.update({"name": f"{sys.argv[2]}{i}", "shared": i % 5, "x": [0.1] * 200})
    store.update({"name": f"common{i % 5}", "by": sys.argv[2]})
    print(i, flush=True)
"""


def writer(path, label, count):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), label, str(count)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


@pytest.mark.parametrize("acknowledged", [1, 40, 333])
def test_kill_9_loses_nothing_acknowledged(tmp_path, acknowledged):
    path = tmp_path / "store.sqlite"
    process = writer(path, "w", 10**9)
    seen = -1
    while seen < acknowledged:
        seen = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    seen = max([seen, *(int(line) for line in process.stdout.read().split("\n") if line.strip())])
    process.wait()
    with SqliteStore(path, "things", key="name") as store:
        names = {d["name"] for d in store.query({}, ["name"])}
        assert {f"w{i}" for i in range(seen + 1)} <= names
        assert len(names) <= seen + 1 + 5 + 1
        assert store.verify() == []
        store.update({"name": "after"})


def test_two_processes_write_at_once(tmp_path):
    path = tmp_path / "store.sqlite"
    processes = [writer(path, label, 60) for label in "uv"]
    for process in processes:
        assert process.communicate(timeout=100)[0].count("\n") == 60
        assert process.returncode == 0
    with SqliteStore(path, "things", key="name") as store:
        assert {f"{label}{i}" for label in "uv" for i in range(60)} <= set(store.distinct("name"))
        assert store.count({"name": {"$regex": "^common"}}) == 5  # upserts of both met, no duplicates


def test_damaged_file_and_document(tmp_path):
    bad = tmp_path / "bad.sqlite"
    bad.write_bytes(b"this is not a database, it only looks long enough to be one" * 100)
    with pytest.raises(DataError, match="not a database; restore a backup"):
        SqliteStore(bad, "things").connect()
    path = tmp_path / "store.sqlite"
    with SqliteStore(path, "things", key="name") as store:
        store.update({"name": "a"})
        raw = sqlite3.connect(path)
        raw.execute(
            "DROP INDEX IF EXISTS " + raw.execute("SELECT name FROM sqlite_master WHERE type='index'").fetchone()[0]
        )
        raw.execute("UPDATE things SET doc = '{broken'")
        raw.commit()
        with pytest.raises(DataError, match="document 1 is damaged"):
            list(store.query())


def test_full_disk_is_explained(store):
    # SQLite's page limit gives the very error of a full disk.
    store.update({"name": "before"})
    pages = store._collection.execute("PRAGMA page_count").fetchone()[0]
    store._collection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(DataError, match="disk is full; free space"):
        store.update([{"name": str(i), "x": "y" * 5000} for i in range(50)])
    assert [d["name"] for d in store.query()] == ["before"]


def test_unusable_place_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be used"):
        SqliteStore(tmp_path / "file" / "store.sqlite", "things").connect()
    path = tmp_path / "store.sqlite"
    with SqliteStore(path, "things", key="name") as store:
        store._collection.execute("PRAGMA query_only=1")
        with pytest.raises(DataError, match=r"readonly.*make the folder and file writable"):
            store.update({"name": "a"})


def test_must_be_open(tmp_path):
    with pytest.raises(DataError, match="call connect"):
        SqliteStore(tmp_path / "s.sqlite", "things").count()


def test_bad_criteria(store):
    store.update({"name": "a"})
    with pytest.raises(DataError, match="criteria cannot be used"):
        list(store.query({"name": {"$nonsense": 1}}))
    with pytest.raises(DataError, match="cannot be indexed"):
        store.ensure_index('a"b')


@pytest.mark.parametrize("odd", [{"$date": "x"}, {"$date": 5}, {"$date": None}])
def test_a_date_that_is_none_spoils_no_query(tmp_path, odd):
    """Versions before this one took such a value in with an imported label."""
    assert decode(encode({"a": odd, "b": [{"c": odd}], "d": datetime(2026, 1, 2)})) == {
        "a": odd,
        "b": [{"c": odd}],
        "d": datetime(2026, 1, 2),
    }
