"""The benchmark of large campaigns: its engine, a small run of each step, its page."""

import json

import pytest

from benchmarks.scale import page
from benchmarks.scale.__main__ import main
from benchmarks.scale.engine import Instant
from benchmarks.scale.measure import STEPS, campaign
from datastore.errors import DataError
from workflows.structures.generate import generate

ROW = {"asked": 2000, "chunk": 500, "machine": "2 cores", "memory": 2e8}


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    return list(generate(campaign(tmp_path_factory.mktemp("campaign"), 36, 500).options.structures))


def test_instant_labels_are_accepted_and_the_same_every_time(configs):
    engine = Instant()
    for config in configs[:8]:
        label = engine.label(config)
        assert label.verdict == "accepted", label.verdict_reasons
        assert label.ordering_found == config.ordering
        assert label.free_energy == engine.label(config).free_energy


def test_a_campaign_has_about_as_many_cells_of_64_atoms_as_asked_for(configs):
    assert len(configs) == 36
    assert {len(config.species) for config in configs} == {64}


def test_steps_on_a_small_campaign(tmp_path, monkeypatch):
    """In chunks of 15; the page tells what was found."""
    monkeypatch.chdir(page.TEXT.parents[2])
    results = tmp_path / "results.jsonl"
    steps = ["begin", "labels", "status"]
    arguments = ["--results", results, "run", 36, "--chunk", 15, "--workers", 1, "--folder", tmp_path / "c"]
    monkeypatch.setattr("sys.argv", [str(a) for a in ("scale", *arguments, "--steps", *steps)])
    main()
    rows = {row["step"]: row for row in map(json.loads, results.read_text().splitlines())}
    assert list(rows) == steps
    assert rows["begin"]["configurations"] == rows["labels"]["labels"] == rows["status"]["labels"] == 36
    assert all(row["memory"] > 5e7 for row in rows.values())
    page.write_page(results, tmp_path / "scale.md")
    told = (tmp_path / "scale.md").read_text()
    assert "<!--" not in told
    assert "| 36 | 1 |" in told


def test_overhead_is_wall_time_of_all_workers_per_label():
    row = {**ROW, "step": "labels", "labels": 100, "workers": 16, "wall": 5.0, "controller": 1.0, "children": 2.0}
    assert page.overhead(row) == pytest.approx(0.8)
    *_, line = page.label_table([{**row, "load": 3.0}])
    assert line == "| 100 | 16 | 0:05 | 0.80 s | 10.0 ms, 20.0 ms | 3 |"


def test_without_results_there_is_no_page(tmp_path):
    with pytest.raises(DataError, match="measure first"):
        page.write_page(tmp_path / "results.jsonl", tmp_path / "scale.md")


def test_every_step_is_told_on_the_page():
    assert set(STEPS) <= {*page.STEPS, "labels", "documents"}
