"""Each kind of damage is put in by hand and found; a sound store has none."""

import hashlib
import json
import sqlite3
import tracemalloc
from pathlib import Path

import pytest

from datastore.checksums import checksum
from datastore.decisions import decide
from datastore.ingest import ingest, rejudge
from datastore.quality import with_verdict
from datastore.schema import Decision, ModelFile
from datastore.snapshot import make_snapshot
from datastore.stores import open_store, stamped
from datastore.verify import verify
from tests.datastore.support import make_failure, make_point
from tests.datastore.test_ingest import run
from tests.datastore.test_salvage import flipped
from tests.datastore.test_stores import make_model


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    with open_store({"local": f"local:{tmp_path / 'data'}", "memory": "memory:"}[request.param]) as opened:
        yield filled(opened, tmp_path)


@pytest.fixture
def local(tmp_path):
    with open_store(f"local:{tmp_path / 'data'}") as opened:
        yield filled(opened, tmp_path)


def filled(store, folder):
    """Ten labels, a flipped one and what it was salvaged to, a failure, a snapshot, a model, a decision."""
    labels = [make_point(shift=0.01 * i, free_energy=-25.5 + 0.001 * i) for i in range(10)]
    run(
        store,
        *(p.to_document() for p in labels),
        flipped(shift=0.2).to_document(),
        make_failure(shift=9.0).to_document(),
    )
    ingest(store)
    snapshot = make_snapshot(store, folder / "snapshots")
    (folder / "member.pt").write_bytes(b"weights")
    file = ModelFile(path=str(folder / "member.pt"), sha256=hashlib.sha256(b"weights").hexdigest())
    store.put_model(make_model(snapshot_id=snapshot.snapshot_id, files=[file]))
    decide(store, [labels[9].point_id], "reject", "Ada", "k mesh")
    return store


def edit(store, table, change, where=""):
    """Change stored JSON behind the store's back."""
    with sqlite3.connect(store.points.path) as database:
        row, text = database.execute(f"SELECT id, doc FROM {table} {where} ORDER BY id LIMIT 1").fetchone()
        database.execute(f"UPDATE {table} SET doc = ? WHERE id = ?", (change(text), row))
    return json.loads(text)


def only(store):
    (problem,) = verify(store).problems
    return problem


def test_a_sound_store_has_no_problems(store):
    shares = []
    found = verify(store, shares.append)
    assert found.problems == []
    counts = {"points": 12, "failures": 1, "decisions": 1, "models": 1, "promotions": 0, "snapshots": 1, "jobs": 12}
    counts |= {"retrainings": 0, "retrain_flags": 0}
    counts["ingested"] = 12 + 1  # and the note of a decision, whose rivals wait for judgement
    assert found.documents == counts
    assert found.files == 4
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_changed_digit_is_found_and_says_what_was_trained_on_it(local):
    damaged = edit(local, "points", lambda text: text.replace("0.1", "0.7", 1))
    problem = only(local)
    assert (problem.collection, problem.name) == ("points", damaged["point_id"])
    assert "checksum" in problem.what
    assert [used.kind for used in problem.used_in] == ["snapshot", "model"]
    assert "backup" in problem.remedy


@pytest.mark.parametrize(
    ("table", "change", "part"),
    [
        ("points", {"config_id": "0" * 24}, "does not follow from its content: config_id"),
        ("points", {"forces": [[1, 2, 3]]}, "forces has shape"),
        ("points", {"schema_version": 99}, "update the software"),
        ("points", {"magmoms_out": [1.8, 0.1, 0, 0]}, "its verdict is not that of the rules"),
        ("points", {"decision": "accepted by nobody"}, "decision in force is not applied"),
        ("failures", {"level_id": "x"}, "does not follow from its content: level_id"),
        ("decisions", {"decision_id": "x"}, "does not follow from its content: decision_id"),
        ("models", {"species": 3}, "species"),
        ("snapshots", {"points": 3}, "is no valid document"),
    ],
)
def test_wrong_documents_are_found_also_without_checksum(local, table, change, part):
    def put(text):
        return json.dumps({k: v for k, v in (json.loads(text) | change).items() if k != "checksum"})

    edit(local, table, put)
    assert any(part in problem.what for problem in verify(local).problems)


@pytest.mark.parametrize(
    ("table", "field"),
    [("failures", "error"), ("models", "code_version"), ("snapshots", "campaign"), ("decisions", "reason")],
)
def test_every_collection_has_checksums(local, table, field):
    document = edit(local, table, lambda text: json.dumps({**json.loads(text), field: "forged"}))
    assert document["checksum"] == checksum(document)
    problem = next(problem for problem in verify(local).problems if problem.collection == table)
    assert "checksum differs" in problem.what


def test_a_row_that_is_no_json_is_found_and_the_others_are_still_checked(local):
    with sqlite3.connect(local.points.path) as database:
        for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'points'"
        ).fetchall():
            database.execute(f"DROP INDEX {name}")
    cut = edit(local, "points", lambda text: text[:-1])
    edit(local, "points", lambda text: text.replace("0.1", "0.7", 1), "WHERE id > 3")
    found = [(problem.name, problem.what) for problem in verify(local).problems if problem.collection == "points"]
    assert (cut["point_id"], "is no JSON") in found
    assert any("checksum" in what for _, what in found)


def test_a_damaged_file_of_the_store_is_found(local):
    path = Path(local.points.path)
    local.points._rows("PRAGMA wal_checkpoint(TRUNCATE)")
    local.close()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(bytes(content))
    with open_store(f"local:{path.parent}") as opened:
        assert verify(opened).problems


def test_a_label_stored_twice_is_found(local):
    with sqlite3.connect(local.points.path) as database:
        database.execute("INSERT INTO points (doc) SELECT doc FROM points LIMIT 1")
    assert only(local).what == "is stored twice"


def test_a_salvaged_label_whose_original_vanished_is_found(store):
    store.points.remove_docs({"point_id": flipped(shift=0.2).point_id})
    problem = only(store)
    assert "salvaged from label" in problem.what
    assert "retract" in problem.remedy


def test_a_salvaged_label_that_is_of_another_energy_is_found(store):
    (document,) = store.points.query({"salvaged_from": {"$gt": ""}})
    store.put_point(store.get_point(document["point_id"]).model_copy(update={"free_energy": -25.4}))
    assert "is not what label" in only(store).what


def test_labels_of_a_snapshot_that_vanished_are_found(store):
    store.points.remove_docs({"point_id": make_point().point_id})
    problem = only(store)
    assert problem.collection == "snapshots"
    assert "1 of its labels are not in the store" in problem.what
    assert [used.name for used in problem.used_in] == ["m1"]


def test_changed_and_missing_files_are_found(store, tmp_path):
    (folder,) = (tmp_path / "snapshots").iterdir()
    path = folder / "train.extxyz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert "train.extxyz is damaged" in only(store).what
    path.unlink()
    assert "train.extxyz is missing" in only(store).what


def test_truncated_and_missing_models_are_found(store, tmp_path):
    (tmp_path / "member.pt").write_bytes(b"weig")
    assert "member.pt is damaged" in only(store).what
    (tmp_path / "member.pt").unlink()
    assert "member.pt is missing" in only(store).what
    assert "train again" in only(store).remedy


def test_memory_does_not_grow_with_the_store(tmp_path):
    peaks = []
    for number in (300, 1500):
        with open_store(f"local:{tmp_path / str(number)}") as store:
            store.points.update([stamped(make_point(shift=0.001 * i).to_document()) for i in range(number)])
            tracemalloc.start()
            assert verify(store).documents["points"] == number
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_judging_again_mends_verdicts_of_other_rules(store):
    accepted = make_point(magmoms_out=[1.8, 0.1, 0, 0], shift=0.3)
    rejected = with_verdict(make_point(shift=0.31, free_energy=-25.469), ["a rule of long ago"])
    unsalvaged = flipped(shift=0.33, free_energy=-25.487)
    for label in (accepted, rejected, unsalvaged):
        store.points.update(stamped(label.to_document()))
    late = Decision(point_id=make_point().point_id, action="reject", author="A", reason="B", created="2999")
    store.log_decision(late)
    assert {problem.name for problem in verify(store).problems} == {
        accepted.point_id,
        rejected.point_id,
        late.point_id,
    }
    assert rejudge(store) == 4
    assert store.get_point(accepted.point_id).verdict == "rejected"
    assert store.get_point(rejected.point_id).verdict == "accepted"
    assert store.points.count({"salvaged_from": unsalvaged.point_id}) == 1
    assert verify(store).problems == []
    assert rejudge(store) == 0
