"""Labels are taken in together: few writes, and the same result as one after the other."""

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.decisions import decide
from datastore.ingest import LabelBuilder, ingest
from datastore.quality import judge
from datastore.salvage import is_salvageable, reversed_label
from datastore.schema import SpinPoint
from datastore.stores import SpinStore, open_store
from tests.datastore.support import KINDS, make_failure, make_point, new_store
from tests.datastore.test_ingest import run
from tests.datastore.test_salvage import ferromagnetic, flipped


class Killed(BaseException):
    """As if the process had ended here."""


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    with new_store(request.param, tmp_path) as opened:
        yield opened


def labels(number, start=0):
    return [make_point(shift=1e-3 * i, free_energy=-25.5 + 1e-4 * i) for i in range(start, start + number)]


def content(store: SpinStore, name: str):
    """Documents of a collection without the times at which they were written."""
    found = getattr(store, name).query()
    return sorted(str({k: v for k, v in d.items() if k not in ("last_updated", "_id", "checksum")}) for d in found)


def test_labels_of_a_batch_are_written_at_once(store):
    run(store, *(make_failure(shift=1e-3 * i).to_document() for i in range(3)))
    ingest(store)
    run(store, *(point.to_document() for point in labels(105)), start=3)
    with (
        mock.patch.object(store.points, "update", wraps=store.points.update) as written,
        mock.patch.object(store.failures, "remove_docs", wraps=store.failures.remove_docs) as removed,
        mock.patch.object(store.jobs, "query", wraps=store.jobs.query) as read,
    ):
        assert ingest(store).labels == 105
    assert [len(call.args[0]) for call in written.call_args_list] == [100, 5]
    assert removed.call_count == 1
    assert read.call_count == 3
    assert store.points.count() == 105
    assert store.failures.count() == 0


@pytest.mark.parametrize("collection", ["failures", "ingested"])
def test_killed_within_a_batch_the_next_ingest_completes_it(store, collection):
    """After the labels, before their failures were removed, and before it was noted that they are stored."""
    run(store, *(make_failure(shift=1e-3 * i).to_document() for i in range(3)))
    ingest(store)
    run(store, *(point.to_document() for point in labels(5)), start=3)
    method = "remove_docs" if collection == "failures" else "update"
    with mock.patch.object(getattr(store, collection), method, side_effect=Killed), pytest.raises(Killed):
        ingest(store)
    assert store.points.count() == 5
    assert ingest(store).jobs == 5
    assert (store.points.count(), store.failures.count()) == (5, 0)
    assert ingest(store).jobs == 0


def test_decisions_on_labels_that_come_again_stay_in_force(store):
    first, second = labels(2)
    run(store, first.to_document(), second.to_document())
    ingest(store)
    decide(store, [first.point_id], "reject", "Ada", "wrong setup")
    store.points.remove_docs({"point_id": second.point_id})
    run(store, *(point.to_document() for point in labels(4)), completed="2")
    assert ingest(store).labels == 4
    assert store.get_point(first.point_id).verdict == "rejected"
    assert store.points.count({"verdict": "accepted"}) == 3


def test_a_decision_told_by_a_label_counts_only_where_it_is_in_the_log(store):
    told = make_point(decision="accepted by Bob on 2026-01-01: fine", overruled=["flipped: site 1"])
    run(store, told.to_document())
    ingest(store)
    stored = store.get_point(told.point_id)
    assert (stored.verdict, stored.decision) == ("rejected", "")


MAKE = {
    "label": lambda shift: judge(make_point(shift=shift)),
    "rejected": lambda shift: make_point(shift=shift, verdict="rejected", verdict_reasons=["forces are too large"]),
    "failure": lambda shift: make_failure(shift=shift),
    "reversed": lambda shift: judge(reversed_label(make_point(shift=shift))),
    "flipped": lambda shift: flipped(shift=shift),
    "found": lambda shift: ferromagnetic(shift=shift, free_energy=-25.45),
}
kinds = st.lists(st.tuples(st.sampled_from(sorted(MAKE)), st.sampled_from([0.0, 0.01])), min_size=1, unique=True)


def in_order(labels):
    """New labels, those of them that are salvaged, and what is there for the second time: as batches take them."""
    first = {label.point_id: label for label in reversed(labels) if isinstance(label, SpinPoint)}
    new = [label for label in labels if first.get(label.point_id) is label]
    return [*sorted(new, key=is_salvageable), *(label for label in labels if label not in new)]


@settings(max_examples=25, deadline=None)
@given(kinds)
def test_a_batch_gives_what_its_labels_give_one_by_one(chosen):
    found = in_order([MAKE[kind](shift) for kind, shift in chosen])
    with open_store("memory:") as together, open_store("memory:") as alone:
        run(together, *(label.to_document() for label in found))
        batch, builder = LabelBuilder(together), LabelBuilder(alone)
        batch.update_targets([batch.process_item(item) for item in batch.get_items()])
        for label in found:
            builder._store_label(label)
        assert content(together, "points") == content(alone, "points")
        assert content(together, "failures") == content(alone, "failures")
        counts = [(r.labels, r.failures, r.salvaged) for r in (batch.report, builder.report)]
        assert counts[0] == counts[1]
