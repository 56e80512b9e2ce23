"""``spinmultinet data override, retract, restore, decisions, verify`` on a store of a few labels, in this process."""

import json

import pytest

from datastore import open_store
from datastore.snapshot import make_snapshot
from tests.datastore.support import make_point
from tests.datastore.test_stores import make_model
from workflows import cli

WHO = ["--author", "Ada", "--reason", "checked by hand"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Working folder with a store: ten accepted labels, a rejected one, a snapshot, a model."""
    monkeypatch.chdir(tmp_path)
    with open_store("local:store") as store:
        for i in range(10):
            store.put_point(make_point(shift=0.01 * i, free_energy=-25.5 + 0.001 * i))
        store.put_point(make_point(shift=0.5, magmoms_out=[1.8, 0.1, 0, 0]))
        snapshot = make_snapshot(store, tmp_path / "snapshots")
        store.put_model(make_model(snapshot_id=snapshot.snapshot_id, files=[]))
    return tmp_path


def run(capsys, *arguments, code=0):
    assert cli.run(["data", *arguments]) == code
    out, err = capsys.readouterr()
    return out if code in (0, 1) else err


def test_retract_names_what_was_trained_and_restore_undoes_it(place, capsys):
    point_id = make_point().point_id
    text = run(capsys, "retract", "local:store", point_id[:16], *WHO)
    assert f"{point_id}: rejected (retracted by Ada on 20" in text
    assert "snapshot" in text
    assert "1 models know of it" in text
    assert "not known here: models trained outside of campaigns" in text
    with open_store("local:store") as store:
        assert store.get_point(point_id).verdict == "rejected"
    content = json.loads(run(capsys, "restore", "local:store", point_id, *WHO, "--json"))
    assert content["points"][0]["verdict"] == "accepted"
    assert [model["name"] for model in content["models"]] == ["m1"]
    assert content["snapshots"][0]["how"] in ("train", "val", "test")
    assert "snapshot_id, data_sha256" in content["not_known"]
    log = json.loads(run(capsys, "decisions", "local:store", "--json"))
    assert [(entry["action"], entry["author"]) for entry in log] == [("retract", "Ada"), ("restore", "Ada")]
    assert "2 decisions" in run(capsys, "decisions", "local:store")


def test_override_accepts_and_rejects(place, capsys):
    collapsed = make_point(shift=0.5).point_id
    assert "accepted" in run(capsys, "override", "local:store", collapsed, "--accept", *WHO)
    text = run(capsys, "override", "local:store", make_point().point_id, "--reject", *WHO)
    assert "rejected (rejected by Ada" in text


def test_mistakes(place, capsys):
    point_id = make_point().point_id
    for arguments, part in [
        (["retract", "local:store", "zzz", *WHO], "no label 'zzz'"),
        (["restore", "local:store", point_id, *WHO], "nothing was decided"),
        (["override", "local:store", point_id, *WHO], "Missing option"),
        (["retract", "local:store", point_id, "--author", "A"], "--reason"),
        (["retract", "local:store", point_id, "--author", "A", "--reason", " "], "an author and a reason"),
        (["verify", "local:elsewhere"], "there is no store"),
    ]:
        assert part in run(capsys, *arguments, code=2)


def test_verify(place, capsys):
    content = json.loads(run(capsys, "verify", "local:store", "--json", code=1))
    assert [problem["what"][:19] for problem in content["problems"]] == ["its verdict is not "]
    text = run(capsys, "verify", "local:store", "--rejudge")
    assert "checked 11 points, 0 failures, 0 decisions, 1 models, 0 promotions, 0 retrainings, 0 retrain_flags" in text
    assert "1 snapshots, 0 jobs, 0 ingested, 3 files" in text
    assert "no problems" in text
    assert "1 verdicts are new" in text
    (folder,) = (place / "snapshots").iterdir()
    (folder / "train.extxyz").write_text("cut")
    text = run(capsys, "verify", "local:store", code=1)
    assert "train.extxyz is damaged" in text
    assert "concerns model m1 (candidate; trained on it)" in text
    assert "to mend it: restore it" in text
    (problem,) = json.loads(run(capsys, "verify", "local:store", "--json", code=1))["problems"]
    assert problem["used_in"][0]["name"] == "m1"
