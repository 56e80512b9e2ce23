"""``spinmultinet data query`` and ``pairs`` on a store of a few made-up labels, in this process."""

import json

import pytest

from datastore import open_store
from tests.datastore.support import make_failure, make_point
from tests.support.cli import data
from workflows import cli

PLACE = "local:labels"
THEORY = {"code": "GPAW", "functional": "PBE+U"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_store(PLACE) as store:
        store.put_point(make_point(pair_id="g1", level_of_theory=THEORY, energy=-26.0))
        moments = {"magmoms_in": [2, 2, 0, 0], "ordering": "FM", "ordering_found": "FM"}
        store.put_point(make_point(pair_id="g1", level_of_theory=THEORY, energy=-25.6, **moments))
        store.put_point(make_point(pair_id="g1", level_of_theory={"code": "VASP"}, energy=-9.0))
        store.put_point(make_point(pair_id="g2", shift=0.1, species=["Mn", "Mn", "O", "O"], ordering_found="FM"))
        store.put_failure(make_failure(shift=0.9))
    return tmp_path


def found(capsys, *arguments):
    return json.loads(data(capsys, *arguments, "--json"))


def test_sort_limit_and_fields(place, capsys):
    asked = ["query", PLACE, "formula=NiO", "--sort", "-energy_per_atom", "--limit", "2"]
    assert found(capsys, *asked, "--fields", "ordering,m(Ni),fmax") == [
        {"ordering": "AFM-II", "m(Ni)": 1.8, "fmax": 0.2},
        {"ordering": "FM", "m(Ni)": 1.8, "fmax": 0.2},
    ]
    text = data(capsys, *asked, "--fields", "ordering,m(Ni)")
    assert "m(Ni)" in text
    assert "GPAW-PBE+U" in text  # always: levels are not comparable
    assert "2 of 3 labels (--limit 0 shows all)" in text
    assert found(capsys, *asked)[0]["search"]["fmax"] == 0.2


def test_filter_and_mongo_filter(place, capsys):
    assert len(found(capsys, "query", PLACE, "(flipped or energy>-10)")) == 2
    assert len(found(capsys, "query", PLACE, "formula=NiO", "--mongo", '{"energy": {"$lt": -25.7}}')) == 1
    assert "1 of 1 failures" in data(capsys, "query", PLACE, "--failures", "error_type=not-converged")
    assert cli.run(["data", "query", PLACE, "--mongo", '{"$where": "1"}']) == 2
    err = capsys.readouterr().err
    assert "operator '$where' is refused" in err
    assert err.count("\n") == 1
    assert cli.run(["data", "query", PLACE, "formula=NiO fmx<1"]) == 2
    assert "unknown field 'fmx' at character 13; did you mean 'fmax'" in capsys.readouterr().err


def test_counts(place, capsys):
    assert found(capsys, "query", PLACE, "--count-by", "formula,ordering") == [
        {"formula": "MnO", "ordering": "AFM-II", "count": 1},
        {"formula": "NiO", "ordering": "AFM-II", "count": 2},
        {"formula": "NiO", "ordering": "FM", "count": 1},
    ]
    text = data(capsys, "query", PLACE, "not flipped", "--count-by", "formula")
    assert "MnO" not in text
    assert "3 in 1 groups" in text


def test_pairs(place, capsys):
    (pair,) = found(capsys, "pairs", PLACE)
    assert (pair["pair_id"], pair["level"], pair["formula"]) == ("g1", "GPAW-PBE+U", "NiO")
    assert [point["ordering"] for point in pair["points"]] == ["AFM-II", "FM"]
    assert [point["above_mev_per_atom"] for point in pair["points"]] == pytest.approx([0, 100])
    text = data(capsys, "pairs", PLACE, "formula=NiO", "--level", "GPAW-PBE+U")
    assert "100.0000" in text
    assert "1 geometries" in text
    assert "0 geometries" in data(capsys, "pairs", PLACE, "--level", "VASP")


def test_nothing_is_written(place, capsys):
    before = {path: path.read_bytes() for path in (place / "labels").iterdir() if path.suffix == ".sqlite"}
    data(capsys, "query", PLACE)
    data(capsys, "pairs", PLACE)
    assert {path: path.read_bytes() for path in before} == before


def test_a_dry_run_of_an_upgrade_needs_no_right_to_write(place, capsys, monkeypatch):
    monkeypatch.setattr("datastore.sqlite_connection.connect", None)
    assert found(capsys, "upgrade", PLACE, "--dry-run")["upgraded"]["points"] == 0


def test_labels_of_an_earlier_version_are_upgraded(place, capsys):
    with open_store(PLACE) as store:
        store.points.update(make_point(shift=0.5).to_document())
    assert cli.run(["data", "query", PLACE, "fmax<1"]) == 2
    assert "run once: spinmultinet data upgrade PLACE" in capsys.readouterr().err
    assert found(capsys, "upgrade", PLACE, "--dry-run")["upgraded"]["points"] == 1
    assert "upgraded: 1 points" in data(capsys, "upgrade", PLACE)
    assert len(found(capsys, "query", PLACE, "fmax<1")) == 5
    with open_store(PLACE) as store:
        store.points.update({"point_id": "foreign"})
    assert cli.run(["data", "upgrade", PLACE]) == 1
    assert "points foreign:" in capsys.readouterr().out
