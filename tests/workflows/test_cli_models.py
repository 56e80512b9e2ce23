"""``train --from`` and ``evaluate --iterate`` on real labels; magnetic forces in the table; notes on units."""

import json
import warnings

import ase.io
import numpy as np
import pytest
import yaml

from spinmultinet import SpinMultiNetError, load_model
from spinmultinet.inputs import NoncollinearWarning
from tests.support.cli import MODEL, ROOT
from workflows import cli
from workflows.cli.models import _told_as_notes

LABELS = ROOT / "tests/spinmultinet/data/nio_pbeu.extxyz"
TRAINING = {"epochs": 2, "batch_structures": 4, "stress_weight": 1.0}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Working folder with labels, configurations and a model of two epochs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"model": MODEL, "training": TRAINING}))
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump({"training": TRAINING}))
    ase.io.write("data.extxyz", ase.io.read(LABELS, ":6"))
    assert cli.run(["train", "--data", "data.extxyz", "--model", "model.yaml", "--out", "first"]) == 0
    return tmp_path


def test_fine_tuning(place, capsys):
    arguments = ["train", "--data", "data.extxyz", "--out", "second", "--from", "first"]
    assert cli.run([*arguments, "--model", "tune.yaml"]) == 0
    first, second = load_model("first/model.pt"), load_model("second/model.pt")
    assert second.options == first.options
    assert second.metadata["fine_tuned_from"]["fingerprint"] == first.metadata["fingerprint"]
    (place / "other.yaml").write_text(yaml.safe_dump({"model": MODEL | {"channels": 5}, "training": TRAINING}))
    capsys.readouterr()
    assert cli.run([*arguments[:-4], "--out", "third", "--from", "first", "--model", "other.yaml"]) == 2
    error = capsys.readouterr().err
    assert "channels 5" in error
    assert error.count("\n") == 1


def test_iterated_evaluation_and_prediction(place, capsys):
    capsys.readouterr()
    errors = {}
    for rounds in ("0", "3"):
        arguments = ["evaluate", "--model", "first", "--data", "data.extxyz", "--iterate", rounds, "--json"]
        assert cli.run(arguments) == 0
        errors[rounds] = json.loads(capsys.readouterr().out)["overall"]["moments"]["mae"]
    assert errors["0"] != errors["3"]
    assert cli.run(["predict", "data.extxyz", "--model", "first", "--iterate", "3", "--json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        assert 1 <= row["rounds"] <= 3
        assert row["moment_change"] >= 0


def test_magnetic_forces_have_a_column(place, capsys):
    frames = ase.io.read("data.extxyz", ":")
    for atoms in frames:
        atoms.info["moment_role"] = "constraint"
        atoms.set_array("magnetic_forces", -0.1 * atoms.arrays["magmom_in"])
    ase.io.write("held.extxyz", frames)
    assert cli.run(["train", "--data", "held.extxyz", "--model", "model.yaml", "--out", "held"]) == 0
    capsys.readouterr()
    assert cli.run(["evaluate", "--model", "held", "--data", "held.extxyz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["overall"]["magnetic_forces"]["n"] == 12
    for atoms in frames:
        atoms.info["moment_role"] = "guess"
    ase.io.write("guess.extxyz", frames)
    assert cli.run(["train", "--data", "guess.extxyz", "--model", "model.yaml", "--out", "guess"]) == 2
    error = capsys.readouterr().err
    assert "-dE/dm exists for constrained moments only" in error
    assert error.count("\n") == 1


def test_notes_are_said_even_if_an_error_follows(capsys):
    def warned_and_failed():
        with _told_as_notes():
            warnings.warn("moments are not parallel", NoncollinearWarning, stacklevel=1)
            raise SpinMultiNetError("structure 3: no input moments")

    with pytest.raises(SpinMultiNetError):
        warned_and_failed()
    assert capsys.readouterr().err == "note: moments are not parallel\n"


def test_labels_of_implausible_size_are_noted_once(place, capsys):
    frames = ase.io.read("data.extxyz", ":")
    for atoms in frames:
        atoms.calc.results["stress"] = np.array([12.0, 12, 12, 0, 0, 0])
    ase.io.write("gpa.extxyz", frames)
    capsys.readouterr()
    assert cli.run(["train", "--data", "gpa.extxyz", "--model", "model.yaml", "--out", "gpa"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("note: stress of structure 0")
    assert error.count("\n") == 1
