"""The benchmark of magnetic forces, on labels whose sizes are known."""

import sys

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks import magnetic_forces as script


def test_sizes_are_those_of_the_labels(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(10):
        atoms = bulk("NiO", "rocksalt", a=4.17, cubic=True)
        atoms.rattle(0.05, rng=rng)
        moments = rng.normal(size=(8, 3)) * (atoms.numbers == 28)[:, None]
        atoms.set_array("magmom_in", moments)
        atoms.set_array("magnetic_forces", 0.02 * np.sign(moments))
        atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=np.full((8, 3), 0.05))
        frames.append(atoms)
    ase.io.write(tmp_path / "held.extxyz", frames)
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "held.extxyz"), "--seeds", "1", "--epochs", "2"])
    script.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("10 frames of 8 atoms, 2 epochs")
    rows = {row[1].strip(): row for row in (line.split("|") for line in lines[4:])}
    assert float(rows["forces"][3]) == pytest.approx(50.0)
    assert float(rows["magnetic_forces"][3]) == pytest.approx(20.0)  # oxygen, without moment, does not dilute it
    assert all(float(row[4]) > 0 for row in rows.values())
