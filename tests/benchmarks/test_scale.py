"""The benchmark of large campaigns: its engine, a small run of each step, its page."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from benchmarks.scale import page, queue
from benchmarks.scale.__main__ import main
from benchmarks.scale.engine import Instant
from benchmarks.scale.measure import STEPS, campaign
from datastore.errors import DataError
from tests.support.cluster import mongo
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


QUEUED = {
    **ROW,
    "step": "queue pilot",
    "worker": "pilot",
    "asked": 40,
    "labels": 40,
    "workers": 4,
    "wall": 100.0,
    "jobs": 60.0,
    "runner": 4.0,
    "load": 2.0,
    "imports": {"interpreter": 0.02, "command": 0.9, "both": 1.2},
    "created": "2026-01-01T00:00:00+00:00",
}


def test_the_page_says_whether_the_goal_holds_in_a_queue(tmp_path):
    *_, line = page.queue_table([QUEUED])
    assert line == "| pilot | 40 | 4 | 1:40 | 10.0 s | 1.50 s, 0.10 s | 2 |"
    assert "does not hold" in "".join(page.import_lines([QUEUED]))
    fast = {**QUEUED, "wall": 10.0, "jobs": 20.0}
    assert "1.2 s holds" in "".join(page.import_lines([fast]))
    assert "1.2 s does not hold" in "".join(page.import_lines([{**fast, "wall": 13.0}]))
    (tmp_path / "results.jsonl").write_text(json.dumps(QUEUED) + "\n")
    page.write_page(tmp_path / "results.jsonl", tmp_path / "scale.md")
    assert "benchmarks.scale queue 40 --worker pilot --parallel 4" in (tmp_path / "scale.md").read_text()


def test_times_of_a_script_are_those_of_what_it_ran(tmp_path):
    said = tmp_path / "spent.txt"
    subprocess.run(["bash", "-c", f"python3 -c 'sum(range(10**7))'; times > {said}"], check=True)
    assert 0.05 < queue._of_script(said) < 20
    said.write_text("0m9.000s 0m9.000s\n1m2.500s 0m0.250s\n")
    assert queue._of_script(said) == pytest.approx(62.75)


@pytest.mark.remote
@pytest.mark.parametrize("worker", queue.WORKERS)
def test_a_few_labels_through_a_queue(worker):
    if find_spec("jobflow_remote") is None:
        pytest.skip("pip install 'spinmultinet-workflows[remote]'")
    if lacking := mongo.missing():
        pytest.skip("; ".join(lacking))
    # In a process of its own: jobflow-remote reads where its projects are once, when it is imported.
    code = f"import json; from benchmarks.scale.queue import *; print(json.dumps(through_queue(2, {worker!r}, 1, '')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["labels"] == 2
    assert row["jobs"] / 2 > 0.3
    assert 0 < row["runner"] < row["wall"]
    assert row["imports"]["interpreter"] < row["imports"]["command"]
