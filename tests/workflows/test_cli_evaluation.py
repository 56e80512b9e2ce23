"""``evaluate``: calibration kept and found, pictures and Markdown written, refusals in one line."""

import json

import ase.io
import numpy as np
import pytest
import torch
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


def failed(capsys, *arguments, command="evaluate"):
    capsys.readouterr()
    assert cli.run([command, *arguments]) == 2
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


def _unknown(atoms):
    atoms.symbols[0] = "Fe"


def _without_moments(atoms):
    for key in ("magmom_in", "initial_magmoms"):
        atoms.arrays.pop(key, None)


def _nan_moment(atoms):
    atoms.arrays["magmom_in"][1] = np.nan


def _without_cell(atoms):
    atoms.cell = np.zeros((3, 3))
    atoms.pbc = True


def _twice(atoms):
    atoms.positions[1] = atoms.positions[0]


def _wrong_unit(atoms):
    atoms.calc.results["energy"] = -1e5 * len(atoms)


BAD = {
    "unknown species": (_unknown, "species Fe unknown to the model, which knows O, Ni"),
    "missing moments": (_without_moments, "no input moments"),
    "moments that are not numbers": (_nan_moment, "input moment of atom 1 is not finite"),
    "periodic without a cell": (_without_cell, "without a cell vector"),
    "two atoms in one place": (_twice, "atoms 0 and 1"),
    "energies of 1e5 eV/atom": (_wrong_unit, "total energies in eV"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_structures_in_every_command(place, capsys, name):
    damage, part = BAD[name]
    frames = ase.io.read("val.extxyz", ":4")
    damage(frames[2])
    ase.io.write("bad.extxyz", frames)
    assert part in failed(capsys, "--model", "nio", "--data", "bad.extxyz")
    if damage is not _unknown:  # a training learns the species it is given
        options = ("--data", "bad.extxyz", "--model", "model.yaml", "--out", "bad")
        assert part in failed(capsys, *options, command="train")
    if damage is not _wrong_unit:  # labels are no input of a prediction
        assert part in failed(capsys, "bad.extxyz", "--model", "nio", command="predict")


def test_molecules_have_everything_but_stress(place, capsys):
    frames = ase.io.read("val.extxyz", ":4")
    for atoms in frames:
        atoms.pbc = False
    ase.io.write("molecules.extxyz", frames)
    assert cli.run(["evaluate", "--model", "nio", "--data", "molecules.extxyz", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["overall"]) == {"energy", "forces", "moments", "moments_all"}


def test_angles_and_odd_sizes_are_notes(place, capsys):
    frames = ase.io.read("val.extxyz", ":4")
    for atoms in frames:
        for key in ("magmom_in", "magmom_out"):
            atoms.set_array(key, np.outer(atoms.arrays.pop(key), [0.0, 0.6, 0.8]))
        atoms.arrays["magmom_in"][0] = [20.0, 0.0, 0.0]
    ase.io.write("angles.extxyz", frames)
    capsys.readouterr()
    assert cli.run(["evaluate", "--model", "nio", "--data", "angles.extxyz"]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 2
    assert notes[0].startswith("note: moments of structure 0")
    assert notes[1].startswith("note: the model was trained on collinear moments")


def test_a_model_without_directions_refuses_vectors(place, capsys):
    options = yaml.safe_load((place / "model.yaml").read_text())
    options["model"]["time_reversal"] = "invariant"
    (place / "invariant.yaml").write_text(yaml.safe_dump(options))
    assert cli.run(["train", "--data", "train.extxyz", "--model", "invariant.yaml", "--out", "invariant"]) == 0
    frames = ase.io.read("val.extxyz", ":2")
    frames[0].set_array("magmom_in", np.outer(frames[0].arrays.pop("magmom_in"), [0.0, 0.6, 0.8]))
    ase.io.write("vectors.extxyz", frames[:1])
    assert "the moments are vectors" in failed(capsys, "--model", "invariant", "--data", "vectors.extxyz")


def test_a_checkpoint_of_a_newer_version(place, capsys):
    content = torch.load("nio/member_0/model.pt", weights_only=True)
    torch.save(content | {"version": 99}, "newer.pt")
    for command, *data in (("evaluate", "--data", "val.extxyz"), ("predict", "few.extxyz")):
        assert "version 99" in failed(capsys, *data, "--model", "newer.pt", command=command)
