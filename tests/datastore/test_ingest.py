import pytest

from datastore.ingest import LabelBuilder, ingest
from datastore.schema import SpinFailure
from datastore.stores import open_store
from datastore.upgrade import parse
from tests.datastore.support import make_failure, make_point


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    with open_store({"local": f"local:{tmp_path / 'data'}", "memory": "memory:"}[request.param]) as opened:
        yield opened


def run(store, *outputs, start=0, completed="1"):
    for number, output in enumerate(outputs, start):
        job = {"uuid": f"job{number}", "index": 1, "completed_at": completed, "output": output}
        store.jobs.update(job, key=["uuid", "index"])


def test_labels_failures_and_others(store):
    point, failure = make_point(), make_failure(shift=0.1)
    beside = make_point(shift=0.2, free_energy=-25.48)
    run(store, point.to_document(), failure.to_document(), {"model": 1}, None, [beside.to_document()])
    report = ingest(store)
    assert (report.jobs, report.labels, report.failures, report.passed_over) == (5, 2, 1, 2)
    assert store.get_point(point.point_id) == point
    (stored,) = store.failures.query({})
    assert parse(SpinFailure, stored) == failure
    assert store.points.count() == 2


def test_second_ingest_does_nothing(store):
    run(store, make_point().to_document(), {"other": 1})
    ingest(store)
    stamp = store.points.last_updated
    assert ingest(store).jobs == 0
    assert store.points.last_updated == stamp
    run(store, make_point(shift=0.3).to_document(), start=5)
    assert ingest(store).jobs == 1


def test_job_that_ran_again_is_read_again(store):
    run(store, make_failure().to_document())
    ingest(store)
    run(store, make_point().to_document(), completed="2")
    assert ingest(store).labels == 1
    assert store.failures.count() == 0
    assert store.has_label(make_point().point_id)


def test_failure_and_rejected_label_never_replace_an_accepted_one(store):
    rejected = make_point(verdict="rejected", verdict_reasons=["flipped"])
    run(store, make_point().to_document(), make_failure().to_document(), rejected.to_document())
    report = ingest(store)
    assert (report.labels, report.failures) == (1, 0)
    assert store.get_point(rejected.point_id).verdict == "accepted"


def test_killed_in_between_is_made_good(store):
    outputs = [make_point(shift=0.01 * i, free_energy=-25.5 + 0.001 * i).to_document() for i in range(10)]
    bad = make_point(shift=0.7, free_energy=-20.0)
    run(store, *outputs, bad.to_document())
    builder = LabelBuilder(store)
    builder.update_targets([builder.process_item(item) for item in builder.get_items()])  # killed before the groups
    assert store.get_point(bad.point_id).verdict == "accepted"
    report = ingest(store)
    assert (report.jobs, report.outliers) == (0, 1)
    judged = store.get_point(bad.point_id)
    assert judged.verdict == "rejected"
    assert "outlier" in judged.verdict_reasons[0]
    assert ingest(store).outliers == 0


def test_outlier_is_found_when_its_group_has_grown(store):
    bad = make_point(shift=0.7, free_energy=-20.0)
    run(store, bad.to_document())
    assert ingest(store).outliers == 0
    run(store, *(make_point(shift=0.01 * i).to_document() for i in range(9)), start=1)
    assert ingest(store).outliers == 1
    assert store.get_point(bad.point_id).verdict == "rejected"
    assert store.points.count({"verdict": "accepted"}) == 9


def test_unreadable_output_is_reported_and_stops_nothing(store):
    broken = {**make_point().to_document(), "forces": [[1]]}
    newer = {**make_point(shift=0.1).to_document(), "schema_version": 99}
    run(store, broken, newer, make_point(shift=0.2).to_document())
    report = ingest(store)
    assert report.labels == 1
    assert len(report.unreadable) == 2
    assert "forces" in report.unreadable[0]
    assert "update the software" in report.unreadable[1]
    assert len(ingest(store).unreadable) == 2


def test_runs_under_maggma_too(tmp_path):
    uri = f"local:{tmp_path / 'data'}"
    store = open_store(uri)
    outputs = [make_point(shift=0.01 * i).to_document() for i in range(9)]
    run(store, *outputs, make_point(shift=0.7, free_energy=-20.0).to_document())
    LabelBuilder(store, chunk_size=4).run()
    with open_store(uri) as again:
        assert again.points.count({"verdict": "accepted"}) == 9
        assert again.points.count() == 10
        assert ingest(again).jobs == 0
