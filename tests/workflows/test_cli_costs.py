"""``data costs`` and ``structures --cost`` on real labels of the spin-lattice engine, and on recorded ones of GPAW."""

import json
import os
from pathlib import Path

import ase.io
import pytest
import yaml

from datastore import open_store
from datastore.costs import LOG_FILE
from datastore.ingest import ingest
from tests.datastore.support import make_point
from tests.support.cli import tiny_campaign
from workflows import cli
from workflows.campaign import load_campaign
from workflows.job_store import open_job_store
from workflows.jobs.label import label_job
from workflows.structures import generate


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The tiny campaign, of whose twelve labels five are made."""
    monkeypatch.chdir(tmp_path)
    options, engine = load_campaign(tiny_campaign(tmp_path))
    store = open_job_store(options.store)
    for config in list(generate(options.structures, campaign="tiny"))[:5]:
        label_job(engine, config).run(store)
    ingest(store.spin_store)
    store.close()
    return tmp_path


def run(capsys, *arguments):
    code = cli.run(list(arguments))
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def test_costs_of_real_labels_add_up(place, capsys):
    with open_store("local:runs/tiny/store") as store:
        walls = [document["timings"]["wall"] for document in store.points.query()]
        assert all(document["timings"]["cores"] == 1.0 for document in store.points.query())
    content = json.loads(run(capsys, "data", "costs", "tiny.yaml", "--by", "ordering,atoms", "--json"))
    assert content["total"]["accepted"] == 5
    assert content["total"]["seconds"] == pytest.approx(sum(walls))
    assert content["total"]["seconds_per_accepted"] == pytest.approx(sum(walls) / 5)
    assert sorted((row["ordering"], row["atoms"], row["accepted"]) for row in content["costs"]) == [
        ("AFM-II", 4, 2),
        ("FM", 4, 3),
    ]
    (only,) = json.loads(run(capsys, "data", "costs", "tiny.yaml", "ordering=FM", "--json"))["costs"]
    assert (only["campaign"], only["formula"], only["accepted"]) == ("tiny", "NiO", 3)


def test_costs_as_tables_with_the_log_of_the_runs(place, capsys):
    text = run(capsys, "data", "costs", "tiny.yaml")
    assert "for 5 accepted labels" in text
    assert "jobs of the runs" not in text
    lines = ['{"event": "started", "type": "train"}'] * 2 + ['{"event": "done", "type": "train", "seconds": 90.0}']
    (place / "runs/tiny" / LOG_FILE).write_text("\n".join(lines))
    for name in ("tiny.yaml", "runs/tiny", "local:runs/tiny/store"):
        text = run(capsys, "data", "costs", name)
        assert "1.5 core min" in text
        assert "1 jobs were cut off" in text
    runs = json.loads(run(capsys, "data", "costs", "runs/tiny", "--json"))["runs"]
    assert runs == {"train": {"started": 2, "finished": 1, "seconds": 90.0, "cut_off": 1}}


def test_fields_that_failures_lack_are_no_filter(place, capsys):
    assert cli.run(["data", "costs", "tiny.yaml", "verdict=accepted"]) == 2
    assert "unknown field 'verdict' of failures" in capsys.readouterr().err


def test_an_estimate_rests_on_what_is_done(place, capsys):
    cost = json.loads(run(capsys, "structures", "tiny.yaml", "--cost", "--json"))["cost"]
    assert (cost["calculations"], cost["already_done"]) == (7, 5)
    (basis,) = cost["bases"]
    assert (basis["formula"], basis["samples"], basis["calculations"]) == ("NiO", 5, 7)
    assert basis["rests_on"] == "calculations of NiO at this level of theory"
    assert 0 < cost["low"] < cost["seconds"] < cost["high"]
    text = run(capsys, "structures", "tiny.yaml", "--cost")
    assert "7 calculations to do, 5 already done" in text
    assert "(10-90 %:" in text
    assert "cost" not in json.loads(run(capsys, "structures", "tiny.yaml", "--json"))


def test_an_estimate_takes_labels_of_another_place(place, capsys):
    content = yaml.safe_load(Path("tiny.yaml").read_text())
    content["structures"]["parents"][0]["cell"] = "all8"
    Path("larger.yaml").write_text(yaml.safe_dump({**content, "name": "larger"}))
    text = run(capsys, "structures", "larger.yaml", "--cost")
    assert "from the engine's own estimate" in text
    assert "10-90" not in text
    cost = json.loads(run(capsys, "structures", "larger.yaml", "--cost-from", "tiny.yaml", "--json"))["cost"]
    assert (cost["calculations"], cost["already_done"], cost["bases"][0]["samples"]) == (12, 0, 5)
    assert not Path("runs/larger").exists()
    assert cli.run(["structures", "larger.yaml", "--cost-from", "local:nowhere"]) == 2


def test_labels_that_the_engine_could_not_calculate_are_no_samples(tmp_path, capsys, monkeypatch):
    """Imported under the engine's name, deformed in an unknown way: GPAW has no k mesh for them."""
    monkeypatch.chdir(tmp_path)
    Path("campaign.yaml").write_text(yaml.safe_dump(_campaign(tmp_path)))
    with open_store("local:others") as store:
        for number in range(4):
            fields = {"cell": "custom", "deformation": "unknown", "engine": "gpaw", "timings": {"wall": 30.0}}
            store.put_point(make_point(shift=0.1 * number, **fields))
    cost = json.loads(run(capsys, "structures", "campaign.yaml", "--cost-from", "local:others", "--json"))["cost"]
    assert cost["bases"][0]["rests_on"] == "the engine's own estimate"
    (costs,) = json.loads(run(capsys, "data", "costs", "local:others", "--json"))["costs"]
    assert costs["seconds"] == 120.0


def test_recorded_calculations_of_gpaw(tmp_path, capsys, monkeypatch):
    folder = os.environ.get("SPINMULTINET_TEST_DATA")
    path = Path(folder or ".") / "data" / "gpaw_pool.extxyz"
    if folder is None or not path.is_file():
        pytest.skip("SPINMULTINET_TEST_DATA names no folder with data/gpaw_pool.extxyz")
    monkeypatch.chdir(tmp_path)
    Path("campaign.yaml").write_text(yaml.safe_dump(_campaign(tmp_path)))
    level = load_campaign(Path("campaign.yaml"))[1].level_of_theory()
    Path("map.yaml").write_text(
        yaml.safe_dump({"layout": "spinmultinet", "moment_role": "guess", "cell": "parent", "wall_seconds": "seconds"})
    )
    Path("level.yaml").write_text(yaml.safe_dump({"level_of_theory": {**level, "functional": "PBE+U"}}))
    run(capsys, "data", "import", str(path), "--into", "local:pool", "--mapping", "map.yaml", "--level", "level.yaml")
    frames = ase.io.read(path, ":")
    content = json.loads(run(capsys, "data", "costs", "local:pool", "--by", "formula", "--json"))
    assert content["total"]["seconds"] == pytest.approx(sum(atoms.info["seconds"] for atoms in frames))
    cost = json.loads(run(capsys, "structures", "campaign.yaml", "--cost-from", "local:pool", "--json"))["cost"]
    nickel = [atoms for atoms in frames if set(atoms.symbols) == {"Ni", "O"}]
    # The campaign's cell: the other one has more k points, which the engine's own estimate knows.
    same_cell = [atoms.info["seconds"] for atoms in nickel if atoms.info["parent"] == "rhombohedral4"]
    assert cost["bases"][0]["samples"] == len(nickel) > len(same_cell)
    mean = sum(same_cell) / len(same_cell)
    assert cost["low"] < 12 * mean < cost["high"]
    assert cost["seconds"] == pytest.approx(12 * mean, rel=0.1)


def _campaign(folder):
    content = yaml.safe_load(tiny_campaign(folder).read_text())
    return {**content, "engine": {"type": "gpaw"}, "name": "pool"}
