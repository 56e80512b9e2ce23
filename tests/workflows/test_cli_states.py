"""``spinmultinet data metastable`` on a store of a few labels, in this process."""

import json

import pytest

from datastore import open_store
from datastore.ingest import ingest
from datastore.queries import excited
from datastore.snapshot import make_snapshot
from tests.datastore.test_ingest import run as finish
from tests.datastore.test_metastable import start
from workflows import cli

LOW, HIGH, SAME = start(1.0, 0.0123), start(3.0, name="high-spin"), start(4.0, name="4x")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Working folder with a store in which a training set has seen the metastable label."""
    monkeypatch.chdir(tmp_path)
    with open_store("local:store") as store:
        finish(store, LOW.to_document())
        ingest(store)
        make_snapshot(store, tmp_path / "snapshots")
        finish(store, HIGH.to_document(), SAME.to_document(), start=1)
        ingest(store)
        assert [p.point_id for p in excited(store)] == [LOW.point_id]
    return "local:store"


def run(capsys, *arguments, code=0):
    assert cli.run(["data", *arguments]) == code
    out, err = capsys.readouterr()
    return err if code == 2 else out


def test_labels_and_who_has_seen_them_are_listed(place, capsys):
    text = run(capsys, "metastable", place)
    assert LOW.point_id[:12] in text
    assert "12.3" in text
    assert "1 metastable labels" in text
    assert "snapshot" in text
    content = json.loads(run(capsys, "metastable", place, "formula=CoO", "excitation>0.01", "--json"))
    (label,) = content["labels"]
    assert (label["point_id"], label["excitation"]) == (LOW.point_id, pytest.approx(0.0123))
    assert [used["kind"] for used in content["seen_by"]] == ["snapshot"]


def test_a_filter_that_nothing_fits_and_a_wrong_one(place, capsys):
    assert "0 metastable labels" in run(capsys, "metastable", place, "excitation>1")
    assert "did you mean 'excitation'" in run(capsys, "metastable", place, "exitation>1", code=2)


def test_they_stay_in_other_queries(place, capsys):
    found = json.loads(run(capsys, "query", place, "start=4x", "--json"))
    assert found[0]["verdict_reasons"][0].startswith("repeat: the same state as label")
    assert len(json.loads(run(capsys, "query", place, f"ground={found[0]['ground']}", "--json"))) == 2
