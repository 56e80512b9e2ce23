"""Relaxations: downhill, in the ordering asked for, and gone on with after a stop."""

import numpy as np
import pytest

from datastore.atoms import config_to_atoms
from workflows.exploration import explore
from workflows.exploration.starts import deformed

OPTIONS = {"relaxations": {"steps": 12, "frames": 3}, "structures": {"parents": [{"species": "Ni", "cell": "all8"}]}}


def energies(task, configs):
    return [r["energy"] for r in task.calculator.calculate_many([config_to_atoms(c) for c in configs])]


def test_steps_go_downhill_from_the_start(make_task):
    task = make_task("relaxations", **OPTIONS)
    starts = {start.ordering: start for start in deformed(task, 1)}
    found, dropped = explore(task)
    assert dropped == {}
    assert set(starts) == {c.ordering for c in found} == {"FM", "AFM-I", "AFM-II"}
    for ordering, start in starts.items():
        mine = [c for c in found if c.ordering == ordering]
        assert len(mine) == 3
        steps = [c.deformation_parameters["step"] for c in mine]
        assert steps == sorted(set(steps))
        assert 0 < steps[0] < steps[-1] <= 12
        below = np.diff(energies(task, [start, *mine]))
        assert (below < 1e-4).all()
        assert below[0] < 0
        assert all(np.array_equal(c.magmoms_in, start.magmoms_in) for c in mine)
        before = mine[0].deformation_parameters["before"]
        assert before["deformation"] == start.deformation
        assert before["seed"] == start.deformation_parameters["seed"]


def test_a_fixed_cell_stays(make_task):
    options = {**OPTIONS, "relaxations": {"steps": 3, "frames": 1, "cell": False}}
    task = make_task("relaxations", **options)
    lattices = {start.ordering: start.lattice for start in deformed(task, 1)}
    found = explore(task)[0]
    assert found
    assert all(np.allclose(c.lattice, lattices[c.ordering], atol=1e-12) for c in found)


def test_where_it_becomes_unphysical_it_ends_and_keeps_what_was_good(make_task):
    task = make_task("relaxations", **OPTIONS, max_force=1e-6)
    assert explore(task) == ([], {"force": 3})
    narrow = explore(make_task("relaxations", generation=2, **OPTIONS, volume=(0.999, 1.001)))
    assert narrow[1]["volume"] >= 3


def test_finished_relaxations_are_not_done_again(make_task, monkeypatch, tmp_path):
    whole = explore(make_task("relaxations", folder=tmp_path / "whole", **OPTIONS))
    import spinmultinet.relax

    real, calls = spinmultinet.relax.relax, []

    def stopped(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(spinmultinet.relax, "relax", stopped)
    with pytest.raises(KeyboardInterrupt):
        explore(make_task("relaxations", folder=tmp_path / "cut", **OPTIONS))
    assert explore(make_task("relaxations", folder=tmp_path / "cut", **OPTIONS)) == whole
    assert len(calls) == 4  # the first is not repeated
