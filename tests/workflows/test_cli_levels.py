"""``evaluate`` and ``predict`` compare the level of theory and the role of the moments with the model's."""

from pathlib import Path

import ase.io
import pytest

from spinmultinet import build_model
from spinmultinet.checkpoint import save_model
from spinmultinet.hypers import ModelOptions
from tests.support.cli import MODEL, ROOT
from workflows import cli

LABELS = ROOT / "tests/spinmultinet/data/nio_pbeu.extxyz"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Working folder with a model of level 'pbeu' and files of labels of several kinds."""
    monkeypatch.chdir(tmp_path)
    model = build_model(ModelOptions(**MODEL), ["O", "Ni"])
    model.metadata = {"level_id": "pbeu", "moment_role": "guess"}
    save_model(model, "pbeu.pt")
    model.metadata = {}
    save_model(model, "unknown.pt")
    for name, info in {
        "same": {"level_id": "pbeu"},
        "other": {"level_id": "r2scan"},
        "held": {"level_id": "pbeu", "moment_role": "constraint"},
        "silent": {},
    }.items():
        frames = ase.io.read(LABELS, ":2")
        for atoms in frames:
            atoms.info |= info
        ase.io.write(f"{name}.extxyz", frames)
    return tmp_path


@pytest.mark.parametrize(
    ("model", "data", "code", "says"),
    [
        ("pbeu", "same", 0, ""),
        ("pbeu", "other", 2, "error: the model's level_id is 'pbeu', that of the structures is 'r2scan'"),
        ("pbeu", "held", 2, "error: the model's moment_role is 'guess'"),
        ("pbeu", "silent", 0, "note: 2 of 2 structures have no level_id"),
        ("unknown", "same", 0, "note: the model does not say its level_id"),
    ],
)
def test_evaluate(place, capsys, model, data, code, says):
    assert cli.run(["evaluate", "--model", f"{model}.pt", "--data", f"{data}.extxyz"]) == code
    out, err = capsys.readouterr()
    assert err.startswith(says)
    assert err.count("\n") == (1 if says else 0)
    assert ("mean absolute errors" in out) == (code == 0)


def test_predict_says_what_the_energies_are(place, capsys):
    assert cli.run(["predict", "same.extxyz", "--model", "pbeu.pt"]) == 0
    assert capsys.readouterr().err == ""
    assert cli.run(["predict", "other.extxyz", "--model", "pbeu.pt", "--out", "p.extxyz"]) == 0
    assert "note: labels in these files are of level_id r2scan, predictions of pbeu" in capsys.readouterr().err
    assert cli.run(["predict", "held.extxyz", "--model", "pbeu.pt"]) == 2
    assert "moment_role is 'guess'" in capsys.readouterr().err


def test_predictions_do_not_pass_for_labels(place):
    assert cli.run(["predict", "other.extxyz", "--model", "pbeu.pt", "--out", "p.extxyz"]) == 0
    for atoms in ase.io.read(Path("p.extxyz"), ":"):
        assert not {"level_id", "functional"} & set(atoms.info)
        assert "magmom_out" not in atoms.arrays
        assert "magmom_in" in atoms.arrays
        assert {"energy", "forces", "magmoms"} <= set(atoms.calc.results)
