"""The driver: what it plans, and one run on the smallest model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.paper_tables import __main__ as script
from benchmarks.paper_tables.data import DataSet
from spinmultinet.hypers import read_config

GPAW = [str(p) for p in sorted((Path(__file__).parents[3] / "benchmarks" / "data").glob("*reference.extxyz"))]
LARGE, PAIRS = (DataSet(name, [], [], [], {}) for name in ("mn_co_ni", "pairs"))
SETS = {1: [LARGE], 2: [PAIRS], 4: [LARGE]}


def planned(*more):
    return [t.name for t in script.trainings(script.arguments(["--out", "x", *more]), SETS)]


def test_headline_rows_have_three_seeds_and_others_one():
    names = planned()
    assert len(names) == len(set(names)) == 3 * 3 + 2 * 3 + 1 + 1
    assert sum("multi-task" in name for name in names) == 6
    assert "mn_co_ni/invariant/seed_0" in names
    assert "pairs/single-task/seed_0" not in names


def test_rows_and_seeds_can_be_chosen():
    assert planned("--rows", "no-spin", "--seeds", "1") == ["mn_co_ni/no-spin/seed_0", "pairs/no-spin/seed_0"]
    assert len(planned("--rows", "invariant", "--other-seeds", "2")) == 2


def test_with_files_every_seed_has_its_own_set():
    members = [DataSet(f"gpaw-{seed}", [], [], [], {}) for seed in range(2)]
    options = script.arguments(["--out", "x", "--data", *GPAW, "--seeds", "2"])
    names = {t.name for t in script.trainings(options, {1: members, 4: members})}
    assert {n for n in names if "multi-task" in n} == {f"gpaw-{s}/multi-task/seed_{s}" for s in range(2)}
    assert len(names) == 10


@pytest.mark.parametrize("wrong", [["--seeds", "0"], ["--rows", "nospin"], ["--epochs", "-1"]])
def test_wrong_arguments_are_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        script.arguments(["--out", "x", *wrong])
    assert wrong[0] in capsys.readouterr().err


def test_epochs_replace_those_of_the_file():
    model, training = script.model_options(script.arguments(["--out", "x", "--epochs", "7"]))
    expected = read_config(script.MODELS / "tables.yaml")
    assert model == expected[0]
    assert training == expected[1].model_copy(update={"epochs": 7})
    files = script.model_options(script.arguments(["--out", "x", "--data", "y"]))
    assert files == read_config(script.MODELS / "tables_gpaw.yaml")


def test_a_run_writes_tables_and_scores(tmp_path, capsys):
    config = tmp_path / "model.yaml"
    config.write_text("model: {layers: 2, channels: 4, l_max: 1, cutoff: 3.2}\ntraining: {epochs: 1}\n")
    out = tmp_path / "out"
    chosen = ["--rows", "no-spin", "multi-task", "--seeds", "1", "--model", str(config)]
    script.main(["--out", str(out), "--data", *GPAW, *chosen])
    written = (out / "tables.md").read_text()
    assert written in capsys.readouterr().out
    assert "| spin input lowers the energy error |" in written
    content = json.loads((out / "tables.json").read_text())
    assert set(content["scores"]) == {"gpaw-0/no-spin/seed_0", "gpaw-0/multi-task/seed_0"}
    assert content["data"]["gpaw-0"]["train"] > 0
    assert (out / "tables.png").exists()
