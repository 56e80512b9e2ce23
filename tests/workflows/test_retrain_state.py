"""What decides on a retraining, read from a store: which labels count as new, flags, failures, unfinished work."""

import math
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from datastore import open_store
from datastore.ingest import ingest
from datastore.registry import promote
from datastore.retraining import Retraining
from datastore.retrainings import ended, get_retraining, put_retraining, raise_flag, retrainings
from datastore.schema import ModelRecord, content_hash
from datastore.snapshot import make_snapshot
from datastore.splits import SplitOptions
from tests.datastore.support import LEVEL, make_point
from workflows.campaign import CampaignOptions
from workflows.finished import Finished
from workflows.retrain_state import FOLDER, reasons, survey, with_drift

LEVEL_ID = make_point().level_id


def options(**retrain):
    retrain = {"new_points": 2, "drift": None, **retrain}
    return CampaignOptions.model_validate(
        {
            "name": "nio",
            "engine": "spin-lattice",
            "structures": {
                "parents": [{"species": "Ni", "lattice_constant": 4.17, "cell": "rhombohedral4"}],
                "orderings": ["FM"],
                "deformations": [{"kind": "none"}],
            },
            "active_learning": {"retrain": retrain},
        }
    )


def point(number, **changes):
    return make_point(shift=0.01 * number, **{"campaign": "nio", **changes})


@pytest.fixture
def store():
    """Model m1 in use, which has seen labels 0 to 3 (one of them left out); label 4 is new."""
    with open_store("memory:") as opened:
        for number in range(5):
            opened.put_point(point(number))
        snapshot(opened, "s1", [0, 1, 2], [3])
        model(opened, "m1", "s1")
        promote(opened, "nio", "m1", "tester", ["first"], "")
        yield opened


def snapshot(store, name, numbers, left_out=()):
    points = {"train": [point(n).point_id for n in numbers], "val": [], "test": []}
    left = [point(n).point_id for n in left_out]
    store.snapshots.update({"snapshot_id": name, "folder": f"/data/{name}", "points": points, "left_out": left})


def model(store, name, snapshot_id, **changes):
    fields = {
        **{"model_id": name, "campaign": "nio", "generation": 0, "created": "2026-01-01T00:00:00+00:00"},
        **{"snapshot_id": snapshot_id, "level_id": LEVEL_ID, "level_of_theory": LEVEL, "moment_role": "guess"},
        **{"species": ["Ni", "O"], "hypers": {}, "files": [], "code_version": "0", **changes},
    }
    store.put_model(ModelRecord(**fields))


def retraining(store, outcome, snapshot_id="", ago=0.0, champion="m1", flags=()):
    when = (datetime.now(UTC) - timedelta(hours=ago)).isoformat(timespec="seconds")
    record = Retraining(
        **{"retraining_id": uuid4().hex, "campaign": "nio", "key": "k", "fingerprint": "f", "why": ["because"]},
        **{"champion": champion, "snapshot_id": snapshot_id, "started": when, "ended": when if outcome else ""},
        outcome=outcome,
        flags=list(flags),
    )
    put_retraining(store, record)
    return record


def new(store, **retrain):
    found = survey(store, options(**retrain))
    assert set(found.untried) <= set(found.unseen)
    return [n for n in range(20) if point(n).point_id in found.untried]


def test_new_is_what_the_model_has_neither_seen_nor_left_out(store):
    assert new(store) == [4]
    found = survey(store, options())
    assert found.point_ids == sorted(point(n).point_id for n in range(5))
    assert found.state.age_days > 300
    assert reasons(found, options()) == []
    store.put_point(point(5))
    assert reasons(survey(store, options()), options()) == ["2 new labels (at least 2)"]


def test_rejected_labels_and_those_of_others_are_not_new(store):
    store.put_point(point(5, verdict="rejected", verdict_reasons=["flipped"]))
    store.put_point(point(6, level_of_theory={"other": 1}))
    store.put_point(point(7, campaign="other"))
    store.put_point(point(8, campaign="other", calculated_by="nio"))
    store.put_point(point(9, moment_role="constraint"))
    assert new(store) == [4, 8]
    assert new(store, points="level") == [4, 7, 8]


def test_of_a_whole_level_only_what_is_made_of_known_elements(store):
    store.put_point(point(5, campaign="other", species=["Mn", "Ni", "O", "O"]))
    assert new(store, points="level") == [4]
    model(store, "m1", "s1", species=["Mn", "Ni", "O"])
    found = survey(store, options(points="level"))
    assert len(found.untried) == 2


def test_a_refused_retraining_has_seen_its_labels_a_failed_one_has_not(store):
    snapshot(store, "s2", [0, 1, 2, 4])
    retraining(store, "failed", "s2", ago=5)
    assert new(store) == [4]
    retraining(store, "refused", "s2")
    assert new(store) == []
    assert survey(store, options()).point_ids == sorted(point(n).point_id for n in range(5))


def test_what_was_tried_against_another_model_is_new_again_for_this_one(store):
    snapshot(store, "s2", [0, 1, 2, 4])
    retraining(store, "refused", "s2", champion="m0")
    assert new(store) == [4]


def test_without_the_snapshot_of_the_model_everything_is_new(store):
    store.snapshots.remove_docs({"snapshot_id": "s1"})
    assert new(store) == [0, 1, 2, 3, 4]


def test_rejected_labels_of_the_training_set_make_it_due_until_a_retraining_decided(store):
    for number in (1, 3, 4):  # of the training set, left out, new
        store.put_point(point(number, verdict="rejected", verdict_reasons=["wrong U"]))
    found = survey(store, options())
    gone = point(1).point_id
    assert (found.changed, found.withdrawn, found.unseen) == ({gone: ""}, [gone], [])
    expected = ["1 labels that the model in use was made with were rejected or replaced"]
    assert reasons(found, options(new_points=None)) == expected
    snapshot(store, "s2", [0, 1, 2])  # failed, or decided before the label was rejected
    retraining(store, "refused", "s2")
    assert reasons(survey(store, options()), options()) == expected
    snapshot(store, "s3", [0, 2])
    retraining(store, "refused", "s3")
    found = survey(store, options())
    assert (found.withdrawn, reasons(found, options())) == ([gone], [])


def test_a_replaced_label_is_new_again_for_a_retraining_that_was_refused(store, tmp_path):
    by_id = {"point_id": {"$in": [point(n).point_id for n in range(5)]}}
    split = SplitOptions(fractions=(0.6, 0.2, 0.2), min_test=1, twins=0)

    def decide():
        record = retraining(store, "refused", make_snapshot(store, tmp_path, criteria=by_id, options=split).snapshot_id)
        return record.snapshot_id

    first = decide()
    assert new(store) == []
    store.put_point(point(4).model_copy(update={"energy": -1.0}))
    assert new(store) == [4]
    before = survey(store, options()).changed
    assert list(before) == [point(4).point_id]
    assert decide() != first
    assert new(store) == []
    store.put_point(point(4).model_copy(update={"energy": -2.0}))
    assert new(store) == [4]
    assert survey(store, options()).changed != before


def test_drift_is_not_known_without_the_files_of_the_model(store, tmp_path):
    model(store, "m1", "s1", files=[{"path": str(tmp_path / "gone.pt"), "sha256": "0" * 64}])
    wanted = options(drift=2.0, least=1).model_copy(update={"folder": str(tmp_path)})
    found = with_drift(store, wanted, survey(store, wanted))
    assert found.state.drift == {}
    assert "drift is not known: model m1, in use so far, cannot be used" in found.problems[0]
    assert reasons(found, wanted) == []


def test_drift_that_is_no_number(store, tmp_path):
    model(store, "m1", "s1", scores={"model": {"energy": {"mae": 1.0}, "forces": {"mae": float("nan")}}})
    wanted = options(drift=2.0, least=1).model_copy(update={"folder": str(tmp_path)})
    found = survey(store, wanted)
    finished = Finished(tmp_path / FOLDER / "drift.jsonl", source="m1")
    errors = {"energy": {"mae": float("nan")}, "forces": {"mae": 1.0}, "moments": {"mae": 1.0}}
    finished.add(content_hash(found.untried), {"errors": errors})
    known = with_drift(store, wanted, found).state.drift
    assert known.keys() == {"energy", "forces"}
    assert all(math.isnan(value) for value in known.values())
    assert "is not finite" in reasons(with_drift(store, wanted, found), wanted)[0]


def test_no_model_in_use(store):
    assert survey(store, options().model_copy(update={"name": "other"})) is None


def test_flags_are_open_until_a_retraining_decides_and_names_them(store):
    flag = raise_flag(store, "nio", " new U ", "me")
    assert survey(store, options()).state.flags == ["new U"]
    retraining(store, "failed", flags=[flag.flag_id], ago=5)
    assert survey(store, options()).state.flags == ["new U"]
    retraining(store, "unchanged", flags=[flag.flag_id])
    assert survey(store, options()).state.flags == []
    later = raise_flag(store, "nio", "again")
    assert [f.flag_id for f in survey(store, options()).flags] == [later.flag_id]


def test_after_a_failure_it_waits_but_for_a_flag_raised_since(store):
    store.put_point(point(5))
    retraining(store, "failed", ago=0.5)
    found = survey(store, options())
    assert found.state.failed_hours == pytest.approx(0.5, abs=0.01)
    assert reasons(found, options()) == []
    assert reasons(found, options(retry_hours=0.4)) == ["2 new labels (at least 2)"]
    raise_flag(store, "nio", "mended")
    assert reasons(survey(store, options()), options())[0] == "flagged: mended"


def test_unfinished_work_is_seen(store):
    begun = retraining(store, "")
    found = survey(store, options())
    assert found.interrupted == begun
    assert reasons(found, options()) == [f"the retraining that began at {begun.started} was interrupted"]
    put_retraining(store, ended(begun, "abandoned", ["the file was changed"]))
    assert survey(store, options()).interrupted is None
    assert get_retraining(store, begun.retraining_id).outcome == "abandoned"
    assert [record.retraining_id for record in survey(store, options()).untold] == [begun.retraining_id]
    assert len(retrainings(store, "nio")) == 1


def test_finished_labels_that_are_not_in_the_dataset(store):
    def finish(uuid, when, output):
        store.jobs.update({"uuid": uuid, "index": 1, "output": output, "completed_at": when}, key=["uuid", "index"])

    finish("a", "1", point(5).to_document())
    finish("b", "1", [point(6).to_document()])
    finish("c", "1", {"folder": "/data"})
    assert survey(store, options()).pending == ["a:1:1", "b:1:1"]
    ingest(store)
    found = survey(store, options())
    assert found.pending == []
    assert new(store) == [4, 5, 6]
    finish("a", "2", point(5).to_document())
    finish("d", "1", {**point(7).to_document(), "energy": "much"})
    finish("e", "1", [point(8).to_document(), {"point_id": "x"}])
    store.jobs.update({"index": 1, "uuid": None, "output": point(9).to_document()}, key=["uuid", "index"])
    found = survey(store, options())
    assert found.pending == ["a:1:2"]
    assert len(found.unreadable) == 3
    ingest(store)
    assert survey(store, options()).pending == []  # whatever cannot be read is no work
