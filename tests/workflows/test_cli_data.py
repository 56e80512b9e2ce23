"""``spinmultinet data`` on a store of a few made-up labels and failures, in this process."""

import json

import ase.io
import pytest

from datastore import open_store
from tests.datastore.support import make_failure, make_point
from tests.support.cli import data, tiny_campaign
from workflows import cli


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Working folder with tiny.yaml and its store: three labels and two failures of two campaigns."""
    monkeypatch.chdir(tmp_path)
    tiny_campaign(tmp_path)
    with open_store("local:runs/tiny/store") as store:
        store.put_point(make_point(campaign="a", deformation="shear"))
        store.put_point(make_point(campaign="a", shift=0.1, energy=-26.0))
        store.put_point(make_point(campaign="b", shift=0.2, verdict="rejected", verdict_reasons=["flipped"]))
        store.put_failure(make_failure(campaign="b", shift=0.3, deformation="volume"))
        store.put_failure(make_failure(campaign="b", shift=0.4, error_type="crashed", error="out of memory"))
    return tmp_path


@pytest.mark.parametrize("name", ["tiny.yaml", "runs/tiny", "local:runs/tiny/store"])
def test_a_place_is_a_campaign_its_folder_or_a_store(place, capsys, name):
    assert json.loads(data(capsys, "stats", name, "--json"))["points"] == 3


def test_stats_count_labels_and_failures_by_campaign_and_engine(place, capsys):
    content = json.loads(data(capsys, "stats", "tiny.yaml", "--json"))
    assert content["campaigns"] == [
        {"campaign": "a", "engine": "test", "labels": 2, "failures": 0},
        {"campaign": "b", "engine": "test", "labels": 1, "failures": 2},
    ]
    assert content["failures"] == 2
    text = data(capsys, "stats", "tiny.yaml")
    assert "failures" in text
    assert "3 labels" in text
    assert "2 failed calculations (data query --failures)" in text


def test_query_takes_a_filter(place, capsys):
    found = json.loads(data(capsys, "query", "tiny.yaml", "ordering=AFM-II verdict=accepted", "--json"))
    assert len(found) == 2
    (only,) = json.loads(data(capsys, "query", "tiny.yaml", "verdict=accepted", "deformation=shear", "--json"))
    assert only["deformation"] == "shear"
    text = data(capsys, "query", "tiny.yaml", "energy<-25.5")
    assert "1 of 1 labels" in text
    assert "-26.0000" in text
    assert "1 of 3 labels (--limit 0 shows all)" in data(capsys, "query", "tiny.yaml", "--limit", "1")


def test_the_level_of_theory_is_in_every_table(place, capsys):
    with open_store("local:runs/tiny/store") as store:
        store.put_point(make_point(shift=0.5, level_of_theory={"code": "GPAW", "functional": "PBE+U", "ecut": 700}))
    text = data(capsys, "query", "tiny.yaml")
    assert "GPAW-PBE+U-700eV" in text
    assert "level of theory" in data(capsys, "query", "tiny.yaml", "--failures")
    levels = json.loads(data(capsys, "stats", "tiny.yaml", "--json"))["levels"]
    assert sorted(level["name"] for level in levels.values()) == ["GPAW-PBE+U-700eV", "test-Ni6.2"]
    other = next(key for key, level in levels.items() if "GPAW" in level["name"])
    assert f"level of theory {other} GPAW-PBE+U-700eV: 1 labels" in data(capsys, "stats", "tiny.yaml")
    assert "1 of 1 labels" in data(capsys, "query", "tiny.yaml", f"level_id={other[:5]}")
    assert f"1 labels at level of theory {other}" in data(
        capsys, "export", "tiny.yaml", "a.extxyz", "--level", "GPAW-PBE+U-700eV"
    )


def test_query_failures(place, capsys):
    text = data(capsys, "query", "tiny.yaml", "--failures")
    for part in (
        "config_id",
        "error_type",
        "not-converged",
        "no convergence in 333 steps",
        "volume",
        "2 of 2 failures",
    ):
        assert part in text.replace("id  ", "config_id")
    (only,) = json.loads(data(capsys, "query", "tiny.yaml", "error_type=crashed", "--failures", "--json"))
    assert only["error"] == "out of memory"
    found = json.loads(data(capsys, "query", "tiny.yaml", "--failures", "--sort", "error_type", "--json"))
    assert [document["error_type"] for document in found] == ["crashed", "not-converged"]


def test_mistakes_in_filters_and_sorting(place, capsys):
    for arguments, part in [
        (["query", "tiny.yaml", "odering=FM"], "did you mean 'ordering'"),
        (["query", "tiny.yaml", "--failures", "verdict=accepted"], "unknown field 'verdict' of failures"),
        (["query", "tiny.yaml", "--sort", "-enrgy"], "did you mean 'energy'"),
    ]:
        assert cli.run(["data", *arguments]) == 2
        assert part in capsys.readouterr().err


def test_export(place, capsys):
    assert "out/a.extxyz: 2 labels" in data(capsys, "export", "tiny.yaml", "out/a.extxyz")
    assert len(ase.io.read("out/a.extxyz", ":")) == 2
    assert "1 labels" in data(capsys, "export", "local:runs/tiny/store", "b.extxyz", "deformation=shear campaign=a")
    assert "3 labels" in data(capsys, "export", "tiny.yaml", "c.extxyz", "--rejected")
