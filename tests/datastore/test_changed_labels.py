"""Which labels are not any more what a snapshot froze."""

import pytest

from datastore import open_store
from datastore.changed_labels import FIELDS, changed_labels
from datastore.snapshot import label_hash, make_snapshot
from datastore.splits import SplitOptions
from tests.datastore.support import make_point


@pytest.fixture
def store(tmp_path):
    with open_store("memory:") as opened:
        for number in range(6):
            opened.put_point(make_point(shift=0.01 * number))
        make_snapshot(opened, tmp_path, options=SplitOptions(fractions=(0.6, 0.2, 0.2), min_test=1, twins=0))
        yield opened


def found(store):
    snapshots = list(store.snapshots.query({}, list(FIELDS)))
    (changed,) = changed_labels(store, snapshots).values()
    return changed


def test_nothing_changed(store):
    store.put_point(make_point(shift=0.0))  # the same once more
    assert found(store) == {}


def test_rejected_replaced_and_removed_labels(store):
    rejected, replaced, removed = (make_point(shift=0.01 * number) for number in range(3))
    other = replaced.model_copy(update={"energy": replaced.energy - 1e-9})
    assert other.point_id == replaced.point_id
    store.put_point(rejected.model_copy(update={"verdict": "rejected", "verdict_reasons": ["wrong U"]}))
    store.put_point(other)
    store.points.remove_docs({"point_id": removed.point_id})
    assert found(store) == {rejected.point_id: "", replaced.point_id: label_hash(other), removed.point_id: ""}
    store.put_point(replaced)
    assert set(found(store)) == {rejected.point_id, removed.point_id}


def test_a_snapshot_of_before_tells_of_rejected_labels_only(store):
    (document,) = store.snapshots.query({})
    store.snapshots.update({**{k: v for k, v in document.items() if k != "_id"}, "labels": {}})
    rejected, replaced = (make_point(shift=0.01 * number) for number in range(2))
    store.put_point(rejected.model_copy(update={"verdict": "rejected", "verdict_reasons": ["wrong U"]}))
    store.put_point(replaced.model_copy(update={"energy": replaced.energy - 1.0}))
    assert found(store) == {rejected.point_id: ""}


def test_only_labels_written_since_are_read(store, monkeypatch):
    (document,) = store.snapshots.query({})
    store.snapshots.update(
        {**{k: v for k, v in document.items() if k != "_id"}, "created": "2999-01-01T00:00:00+00:00"}
    )
    monkeypatch.setattr("datastore.changed_labels.parse", None)  # would fail if it were called
    assert found(store) == {}


def test_no_snapshot(store):
    assert changed_labels(store, []) == {}
