"""The comparison with DeepSPIN: errors on arrays whose errors are known, and a training of ours through the driver."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks.deepspin import frames as arrays
from benchmarks.deepspin import run as script


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(12):
        atoms = bulk("NiO", "rocksalt", a=4.17)
        atoms.rattle(0.05, rng=rng)
        atoms.set_array("magmom_in", rng.normal(size=(2, 3)) * (atoms.numbers == 28)[:, None])
        atoms.set_array("magnetic_forces", 0.01 * atoms.arrays["magmom_in"])
        atoms.calc = SinglePointCalculator(atoms, energy=-10 + 0.1 * rng.normal(), forces=0.1 * rng.normal(size=(2, 3)))
        found.append(atoms)
    ase.io.write(tmp_path / "held.extxyz", found)
    return tmp_path / "held.extxyz"


def test_errors_are_per_atom_and_per_component_of_magnetic_sites(file):
    labelled = arrays.read(file)
    sign = np.where(np.arange(12) % 2, 1, -1)
    predicted = {
        "energy": labelled["energy"] + 0.008 * sign,
        "forces": labelled["forces"] + 0.003 * sign[:, None, None],
        "magnetic_forces": labelled["magnetic_forces"] + np.array([0.002, 5.0])[None, :, None],  # oxygen does not count
    }
    found = arrays.errors(predicted, labelled)
    for task, expected in (("energy", 4.0), ("forces", 3.0), ("magnetic_forces", 2.0)):
        assert found[task]["mae"] == pytest.approx(expected)
        assert found[task]["rmse"] == pytest.approx(expected)
    assert found["magnetic_forces"]["size"] == pytest.approx(10 * np.abs(labelled["moments"][:, 0]).mean())


def test_a_seed_keeps_ten_and_trains_on_the_others():
    train, test = arrays.split(52, 1)
    assert (len(train), len(test)) == (42, 10)
    assert sorted([*train, *test]) == list(range(52))
    assert set(test) != set(arrays.split(52, 2)[1])


def test_frames_of_other_atoms_and_without_labels_are_refused(file, tmp_path):
    found = ase.io.read(file, ":")
    found[3].numbers[0] = 25
    ase.io.write(tmp_path / "mixed.extxyz", found)
    with pytest.raises(SystemExit, match="the same atoms in the same order"):
        arrays.read(tmp_path / "mixed.extxyz")
    del found[0].arrays["magnetic_forces"]
    ase.io.write(tmp_path / "bare.extxyz", found[:1])
    with pytest.raises(SystemExit, match="no magnetic_forces"):
        arrays.read(tmp_path / "bare.extxyz")


def plan(file, python=script.sys.executable):
    tiny = {
        "model": {"layers": 1, "channels": 2, "l_max": 1, "cutoff": 3.0, "radial_hidden": [4]},
        "training": {"batch_structures": 4, "learning_rate": 0.01},
    }
    out = file.parent / "runs"
    return script.Plan(arrays.read(file), {"ours": {"tiny": tiny}}, {"ours": python}, 1.0, 1, out)


def test_ours_is_trained_once_for_the_seconds_given(file):
    job = script.Job("ours", "tiny", 0, *arrays.split(12, 0, kept=3), 1.0, "test")
    first = plan(file).run(job)
    assert 0.1 < first["processor_s"] < 5.0  # one second was asked for
    assert first["steps"] >= 3
    assert all(first[task]["mae"] > 0 for task in arrays.LABELS)
    assert plan(file, "/does/not/exist").run(job) == first  # nothing is started again


def test_a_training_that_fails_names_its_log(file):
    with pytest.raises(SystemExit, match="log"):
        plan(file, "false").run(script.Job("ours", "tiny", 0, *arrays.split(12, 0, kept=3), 1.0, "test"))


def result(setting, seed, mae):
    task = {"mae": mae, "rmse": 2 * mae, "size": 10.0}
    took = {"parameters": 1000, "steps": 50, "processor_s": 60.0, "wall_s": 61.0, "version": "v"}
    return {"setting": setting, "seed": seed} | took | {name: dict(task) for name in arrays.LABELS}


def test_ours_is_compared_with_the_best_of_theirs_in_each_seed(file):
    ours = [result("a", 0, 1.0), result("b", 1, 2.0)]
    theirs = [result("x", 0, 3.0), result("y", 0, 4.0), result("x", 1, 5.0), result("y", 1, 1.0)]
    text = script.table(plan(file), ours, theirs)
    assert "lower than the best of theirs in 1 of 2 seeds, by a factor of 0.5 to 3" in text
    assert "| SpinMultiNet | 2 | 1,000 | 50 | 60 (61) | 1.5 (1 to 2), 3 |" in text
    assert "| y | 2 | 1,000 | 50 | 60 (61) | 2.5 (1 to 4), 5 |" in text


def test_a_folder_that_is_no_environment_is_refused(file, monkeypatch, capsys):
    monkeypatch.setattr(script.sys, "argv", ["run.py", str(file), "--env", str(file.parent)])
    with pytest.raises(SystemExit):
        script.main()
    assert "is no environment" in capsys.readouterr().err
