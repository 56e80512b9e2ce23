"""``evaluate``: calibration kept and found, pictures and Markdown written, refusals in one line."""

import json
import shutil

import ase.io
import numpy as np
import pytest
import torch
import yaml

from spinmultinet.evaluate import predict_graphs
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
    out, notes = capsys.readouterr()
    assert "spread to error: energy x" in out
    assert "no test of it" in notes
    assert len(list((place / "nio").glob("calibration_*.json"))) == 1
    assert cli.run(["evaluate", "--model", "nio", "--data", "val.extxyz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["uncertainty"]["energy"]
    assert found["within"]["sigma"][0] == pytest.approx(found["within"]["expected"][0], abs=0.1)
    assert cli.run(["predict", "few.extxyz", "--model", "nio"]) == 0
    assert "energy_sigma" in capsys.readouterr().out


def test_coverage_on_the_labels_of_the_calibration_is_called_no_test(place, capsys):
    assert cli.run(["evaluate", "--model", "nio", "--data", "val.extxyz", "--calibrate"]) == 0
    for name, said in {"val": True, "few": False}.items():
        capsys.readouterr()
        page = place / "pages" / f"{name}.md"
        assert cli.run(["evaluate", "--model", "nio", "--data", f"{name}.extxyz", "--markdown", str(page)]) == 0
        assert ("no test of it" in capsys.readouterr().err) == said
        assert ("no test of it" in page.read_text()) == said


def test_a_calibration_predicts_each_structure_once(place, monkeypatch):
    counted = []

    def counting(model, graphs, iterate=0):
        counted.append(len(graphs))
        return predict_graphs(model, graphs, iterate)

    monkeypatch.setattr("spinmultinet.committee.predict_graphs", counting)
    assert cli.run(["evaluate", "--model", "nio", "--data", "val.extxyz", "--calibrate"]) == 0
    assert counted == [16, 16]  # two members


def test_members_without_a_common_folder_keep_a_calibration_where_they_are_told(place, capsys):
    models = []
    for k, folder in enumerate(("here/first/member", "there/second/member")):
        (place / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(f"nio/member_{k}/model.pt", place / folder)
        models += ["--model", f"{folder}/model.pt"]
    assert "share no folder" in failed(capsys, *models, "--data", "val.extxyz", "--calibrate")
    assert cli.run(["evaluate", *models, "--data", "val.extxyz"]) == 0  # and without a calibration nothing is wrong
    kept = place / "kept" / "nio.json"
    assert cli.run(["evaluate", *models, "--data", "val.extxyz", "--calibrate", "--calibration", str(kept)]) == 0
    assert not list(place.glob("calibration_*")) + list(place.glob("*here/**/calibration_*"))
    capsys.readouterr()
    assert cli.run(["evaluate", *models, "--data", "few.extxyz", "--calibration", str(kept), "--json"]) == 0
    assert "sigma" in json.loads(capsys.readouterr().out)["uncertainty"]["energy"]["within"]


def test_targets_are_checked_before_anything_is_predicted(place, capsys):
    frames = ase.io.read("val.extxyz", ":2")
    _without_moments(frames[0])
    ase.io.write("bad.extxyz", frames)
    common = ("--model", "nio", "--data", "bad.extxyz")
    assert "model.yaml is no folder" in failed(capsys, *common, "--plots", "model.yaml")
    assert "model.yaml is no folder" in failed(capsys, *common, "--plots", "model.yaml/plots")
    assert "nio is a folder" in failed(capsys, *common, "--markdown", "nio")
    assert "model.yaml is no folder" in failed(capsys, *common, "--markdown", "model.yaml/page.md")
    assert "nio is a folder" in failed(capsys, *common, "--calibrate", "--calibration", "nio")
    assert "no input moments" in failed(capsys, *common)


def test_errors_name_structures_by_their_place_in_the_file(place, capsys):
    frames = 5 * ase.io.read("val.extxyz", ":")
    assert len(frames) == 80
    frames[70] = frames[70].copy()
    _without_moments(frames[70])
    ase.io.write("many.extxyz", frames)
    assert "structure 70:" in failed(capsys, "--model", "nio", "--data", "many.extxyz")


@pytest.mark.parametrize("chosen", [slice(1, 2), slice(None)], ids=["one", "all"])
def test_pictures_of_structures_without_magnetic_sites(place, capsys, chosen):
    frames = ase.io.read("val.extxyz", ":4")
    for atoms in frames[chosen]:
        atoms.info["ordering"] = "NM"
        atoms.arrays["magmom_in"][:] = 0
    ase.io.write("nm.extxyz", frames)
    arguments = ["--plots", "nm_plots", "--markdown", "nm.md"]
    assert cli.run(["evaluate", "--model", "nio", "--data", "nm.extxyz", *arguments]) == 0
    assert "NM" in (place / "nm.md").read_text()
    assert (place / "nm_plots" / "parity.png").stat().st_size > 10_000


def test_without_labels_there_is_nothing_to_evaluate(place, capsys):
    frames = [atoms.copy() for atoms in ase.io.read("val.extxyz", ":3")]
    for atoms in frames:
        del atoms.arrays["magmom_out"]
    ase.io.write("bare.extxyz", frames)
    assert "no labels in the 3 structures" in failed(capsys, "--model", "nio", "--data", "bare.extxyz")
    assert "no labels in the 3" in failed(capsys, "--model", "nio", "--data", "bare.extxyz", "--calibrate")


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
    for absent in ("Xx", "ni", "O"):
        error = failed(capsys, "--model", "nio", "--data", "val.extxyz", "--spin-states", f"Ni=0.9,{absent}=1.0")
        assert f"spin states of {absent}: no such magnetic site in these structures, which have Ni" in error


def test_labels_of_the_training_do_not_calibrate(place, capsys):
    error = failed(capsys, "--model", "nio", "--data", "train.extxyz", "--calibrate")
    assert "was trained on train.extxyz" in error
    assert cli.run(["evaluate", "--model", "nio", "--data", "train.extxyz"]) == 0
    assert "note: the model was trained on train.extxyz" in capsys.readouterr().err
    frames = ase.io.read("train.extxyz", ":")
    for atoms in frames:
        atoms.info["comment"] = "the same labels in another file"
    ase.io.write("same.extxyz", frames)
    assert "was trained on same.extxyz" in failed(capsys, "--model", "nio", "--data", "same.extxyz", "--calibrate")


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
    if damage is _wrong_unit:  # labels are no input of a prediction
        assert cli.run(["predict", "bad.extxyz", "--model", "nio"]) == 0
    else:
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
