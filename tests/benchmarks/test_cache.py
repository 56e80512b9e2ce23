"""The benchmark of neighbour lists on disk measures what it says, on a few structures."""

import re
import sys

import pytest

from benchmarks import cache as script


def test_it_prints_a_row_per_step(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cache.py", "--structures", "6", "--cutoff", "3", "--repeats", "2"])
    script.main()
    out = capsys.readouterr().out
    assert out.startswith("6 structures of 64 atoms, ")
    rows = [line.split("|")[1:-1] for line in out.splitlines() if re.match(r"\| (key|build|read|load)", line)]
    assert [int(row[-1]) for row in rows] == [1, 1, 2, 2]
    assert all(float(row[1].replace(",", "")) > 0 for row in rows)


def test_every_structure_is_read_however_batched(tmp_path):
    frames = script.structures(5)
    place = script.cached(tmp_path, "k", lambda: [script.to_graph(a, ["O", "Ni"], 3.0) for a in frames]).folder
    for batched in (True, False):
        count, seconds = script.load(place, batched)
        assert count == 5
        assert seconds > 0


def test_structures_have_64_atoms_and_labels():
    a, b = script.structures(2)
    assert len(a) == 64
    assert abs(a.positions - b.positions).max() > 0.01
    assert abs(a.arrays["magmom_in"]).sum() == pytest.approx(32 * 2.5)
