"""``evaluate``: calibration kept and found, pictures and Markdown written, refusals in one line."""

import json

import ase.io
import pytest
import yaml

from tests.support.cli import MODEL, ROOT
from workflows import cli

LABELS = ROOT / "tests/spinmultinet/data/nio_pbeu.extxyz"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with labels and a committee of two, trained for one epoch."""
    folder = tmp_path_factory.mktemp("evaluation")
    frames = ase.io.read(LABELS, ":")
    for atoms in frames:
        atoms.info["level_id"] = "pbe-u"
    for name, some in {"train": frames[:8], "val": frames[8:], "few": frames[8:10]}.items():
        ase.io.write(folder / f"{name}.extxyz", some)
    training = {"epochs": 1, "batch_structures": 4}
    (folder / "model.yaml").write_text(yaml.safe_dump({"model": MODEL, "training": training}))
    common = ["train", "--data", f"{folder}/train.extxyz", "--model", f"{folder}/model.yaml"]
    for seed in range(2):  # one after the other: a pool of processes takes longer to start than to train
        assert cli.run([*common, "--seed", str(seed), "--out", f"{folder}/nio/member_{seed}"]) == 0
    return folder


@pytest.fixture
def place(trained, monkeypatch):
    monkeypatch.chdir(trained)
    for file in (trained / "nio").glob("calibration_*.json"):
        file.unlink()
    return trained


def failed(capsys, *arguments):
    capsys.readouterr()
    assert cli.run(["evaluate", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_a_calibration_is_kept_and_used(place, capsys):
    assert cli.run(["evaluate", "--model", "nio", "--data", "val.extxyz", "--calibrate"]) == 0
    out = capsys.readouterr().out
    assert "spread to error: energy x" in out
    assert len(list((place / "nio").glob("calibration_*.json"))) == 1
    assert cli.run(["evaluate", "--model", "nio", "--data", "val.extxyz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["uncertainty"]["energy"]
    assert found["within"]["sigma"][0] == pytest.approx(found["within"]["expected"][0], abs=0.1)
    assert cli.run(["predict", "few.extxyz", "--model", "nio"]) == 0
    assert "energy_sigma" in capsys.readouterr().out


def test_pages_and_pictures(place, capsys):
    arguments = ["evaluate", "--model", "nio", "--data", "val.extxyz", "--markdown", "pages/val.md", "--plots", "plots"]
    assert cli.run(arguments) == 0
    assert "written to pages/val.md and plots" in capsys.readouterr().out
    page = (place / "pages" / "val.md").read_text()
    assert "![../plots/parity.png](../plots/parity.png)" in page
    assert (place / "plots" / "reliability.png").exists()
    assert "SHA-256" in page


def test_spin_states_can_be_given(place, capsys):
    assert cli.run(["evaluate", "--model", "nio", "--data", "val.extxyz", "--spin-states", "Ni=1.0", "--json"]) == 0
    states = json.loads(capsys.readouterr().out)["spin_states"]
    assert states["boundaries"] == {"Ni": [1.0]}
    assert "Co=1.8" in failed(capsys, "--model", "nio", "--data", "val.extxyz", "--spin-states", "Co")
    assert "positive" in failed(capsys, "--model", "nio", "--data", "val.extxyz", "--spin-states", "Ni=0")


def test_labels_of_the_training_do_not_calibrate(place, capsys):
    error = failed(capsys, "--model", "nio", "--data", "train.extxyz", "--calibrate")
    assert "was trained on train.extxyz" in error
    assert cli.run(["evaluate", "--model", "nio", "--data", "train.extxyz"]) == 0
    assert "note: the model was trained on train.extxyz" in capsys.readouterr().err


def test_what_cannot_be_calibrated(place, capsys):
    one = "nio/member_0/model.pt"
    assert "needs two members" in failed(capsys, "--model", one, "--data", "val.extxyz", "--calibrate")
    assert "cannot be read" in failed(capsys, "--model", "nio", "--data", "val.extxyz", "--calibration", "none.json")
