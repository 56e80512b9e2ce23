"""The benchmark of many estimates per state: its branches are branches, its tables hold every training."""

import sys

import numpy as np
import pytest

from benchmarks import many_to_one as script


def test_lengths_within_a_branch_change_nothing():
    groups, dropped = script.groups_of_equals(3, 4, seed=5)
    assert len(groups) + dropped == 6
    assert len(groups) >= 4
    for group in groups:
        estimates = np.array([np.abs(a.arrays["magmom_in"]) for a in group])
        assert np.ptp(estimates, axis=0).max() > 0.05
        energies = [a.calc.results["free_energy"] for a in group]
        assert np.ptp(energies) < 1e-6
    lengths = np.abs(np.concatenate([g[0].arrays["magmom_out"][g[0].symbols == "Co"] for g in groups]))
    assert (lengths < 1.8).any()
    assert (lengths > 1.8).any()


def test_training_sets_differ_in_lengths_only():
    one, random = (script.training_set(kind, 2, seed=0) for kind in script.DATA)
    lengths = np.abs([a.arrays["magmom_in"][a.symbols == "Co"] for a in one])
    assert set(lengths.ravel()) <= set(script.TYPICAL)
    for a, b in zip(one, random, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
        np.testing.assert_array_equal(np.sign(a.arrays["magmom_in"]), np.sign(b.arrays["magmom_in"]))
    assert len(np.unique(np.abs([a.arrays["magmom_in"] for a in random]))) > 10


@pytest.mark.slow
def test_tables(tmp_path, monkeypatch, capsys):
    sizes = ["--seeds", "1", "--epochs", "1", "--geometries", "3", "--test", "4", "--lengths", "2"]
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), *sizes])
    script.main()
    out = capsys.readouterr().out
    rows = [line.split("|") for line in out.splitlines() if line.startswith("| ")]
    for name in script.TRAININGS:
        for iterated in ("yes", "no"):
            assert sum(r[1].strip() == name and r[2].strip() == iterated for r in rows) == 2
    assert len(list(tmp_path.glob("*/model.pt"))) == 8
