"""Molecular dynamics: bounds, temperatures, pressures, states on the way, exact continuation."""

import numpy as np
import pytest

import spinmultinet.dynamics
from spinmultinet.committee import Committee
from workflows.exploration import explore
from workflows.exploration.dynamics import typical_spread
from workflows.exploration.starts import undeformed

NIO = {"parents": [{"species": "Ni", "cell": "all8"}], "orderings": ["FM", "AFM-II"]}


def md(**options):
    return {"steps": 20, "interval": 10, "temperatures": [300.0], "max_spread": 1e6, **options}


def steps(configs):
    return [c.deformation_parameters["step"] for c in configs]


def test_a_wide_bound_lets_it_run(make_task):
    found, dropped = explore(make_task("dynamics", structures=NIO, dynamics=md(temperatures=[100.0, 600.0])))
    assert dropped == {}
    assert steps(found) == [10, 20] * 4
    assert {(c.ordering, c.deformation_parameters["temperature"]) for c in found} == {
        (ordering, temperature) for ordering in ("FM", "AFM-II") for temperature in (100.0, 600.0)
    }
    assert all("ended" not in c.deformation_parameters for c in found)
    moved = {t: [] for t in (100.0, 600.0)}
    for config in found:
        offset = config.positions - config.positions.mean(axis=0)
        start = next(s for s in undeformed(make_task("dynamics", structures=NIO)) if s.ordering == config.ordering)
        rms = np.sqrt(np.mean((offset - start.positions + start.positions.mean(axis=0)) ** 2))
        moved[config.deformation_parameters["temperature"]].append(rms)
    assert np.mean(moved[600.0]) > 1.5 * np.mean(moved[100.0])


def test_where_the_committee_is_lost_it_ends_and_that_frame_is_a_candidate(make_task):
    task = make_task("dynamics", structures=NIO, dynamics=md(max_spread=0.05, interval=20, temperatures=[900.0]))
    found, _ = explore(task)
    assert found
    bound = 0.05 * typical_spread(task)
    for config in found:
        assert config.deformation_parameters["forces_std"] > bound
        assert "spread" in config.deformation_parameters["ended"]
    # Symmetry leaves the parent no forces; the tiniest bound is passed right after it.
    lost = make_task("dynamics", generation=2, structures=NIO, dynamics=md(max_spread=1e-4))
    assert steps(explore(lost)[0]) == [1, 1]


def test_a_frame_with_exploding_forces_is_dropped(make_task):
    task = make_task("dynamics", structures=NIO, dynamics=md(temperatures=[900.0]), max_force=1.0)
    assert explore(task) == ([], {"force": 2})


def test_typical_spread_is_that_of_labels_that_are_no_tests(make_task, trained):
    from datastore.snapshot import load_snapshot
    from workflows.jobs.dataset import split_atoms

    found = Committee(trained.members).predict(split_atoms(load_snapshot(trained.snapshot), "val"))
    expected = np.median([prediction["forces_std"].max() for prediction in found])
    assert typical_spread(make_task("dynamics")) == pytest.approx(expected, rel=1e-6)
    alone = make_task("dynamics", structures=NIO, dynamics=md(steps=2, interval=2))
    alone.members = alone.members[:1]
    assert typical_spread(alone) == 0
    assert steps(explore(alone)[0]) == [2, 2]  # no bound
    assert [note for note in alone.notes if "max_spread ends no run" in note] == alone.notes != []


def test_pressure_changes_the_volume(make_task):
    options = md(steps=40, interval=40, temperatures=[50.0], pressures=[-10.0, 30.0], max_spread=1e9)
    found, _ = explore(make_task("dynamics", structures={**NIO, "orderings": ["AFM-II"]}, dynamics=options))
    volume = {c.deformation_parameters["pressure"]: abs(np.linalg.det(c.lattice)) for c in found}
    assert volume[-10.0] > 1.01 * volume[30.0]


def test_flips_on_the_way_share_the_geometry(make_task):
    found, _ = explore(make_task("dynamics", structures=NIO, dynamics=md(flips=2)))
    frames = {c.pair_id: c for c in found if c.deformation == "md"}
    flipped = [c for c in found if c.deformation == "spin-move"]
    assert len(frames) == 4
    assert 4 <= len(flipped) <= 8  # two moves may give one state
    for config in flipped:
        frame = frames[config.pair_id]
        assert np.array_equal(config.positions, frame.positions)
        assert 1 <= np.count_nonzero(config.magmoms_in != frame.magmoms_in) <= 2
        assert np.array_equal(abs(config.magmoms_in), abs(frame.magmoms_in))
        assert config.deformation_parameters["before"]["deformation"] == "md"
        assert config.ordering != frame.ordering


def test_after_a_stop_it_goes_on_to_the_same_end(make_task, monkeypatch, tmp_path):
    options = {"structures": NIO, "dynamics": md()}
    whole = explore(make_task("dynamics", folder=tmp_path / "whole", **options))
    real, calls = spinmultinet.dynamics._bound_passed, []

    def stopped(*args):
        calls.append(1)
        if len(calls) == 36:  # step 14 of the second run
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(spinmultinet.dynamics, "_bound_passed", stopped)
    with pytest.raises(KeyboardInterrupt):
        explore(make_task("dynamics", folder=tmp_path / "cut", **options))
    found, dropped = explore(make_task("dynamics", folder=tmp_path / "cut", **options))
    assert len(calls) == 36 + 11  # from the frame at step 10
    assert dropped == whole[1]
    assert [c.ordering for c in found] == [c.ordering for c in whole[0]]
    for config, expected in zip(found, whole[0], strict=True):
        assert np.allclose(config.positions, expected.positions, atol=1e-6)
