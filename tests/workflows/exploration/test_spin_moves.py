"""Walks in spin space: the geometry stays, states differ by more than reversal, cold walks go downhill."""

import numpy as np
import pytest

from datastore.atoms import config_to_atoms
from datastore.metastable import state_key
from spinmultinet.many import states_of
from workflows.exploration import explore
from workflows.exploration.starts import deformed

NIO = {"parents": [{"species": "Ni", "cell": "conventional"}]}
BOTH = {"orderings": ["FM", "AFM-I"]}
MIXED = {"parents": [{"species": {"Mn": 0.5, "Ni": 0.5}, "cell": "all8"}], "orderings": ["FM", "AFM-II"]}


def test_states_of_the_starting_geometries(make_task):
    task = make_task("spin-moves", spin_moves={"count": 2, "steps": 60, "frames": 5})
    found, _ = explore(task)
    starts = {start.pair_id: start for start in deformed(task, 2)}
    assert {c.formula for c in found} == {"NiO", "MnNiO2"}
    for config in found:
        start = starts[config.pair_id]
        assert np.array_equal(config.positions, start.positions)
        assert np.array_equal(config.lattice, start.lattice)
        assert np.array_equal(abs(config.magmoms_in), abs(start.magmoms_in))
        assert config.cell == start.cell
    assert len({state_key(c) for c in found}) == len(found)
    per_walk = [[c for c in found if c.deformation_parameters["seed"] == s] for s in {*map(seed_of, found)}]
    assert len(per_walk) == 4
    assert all(1 < len(walk) <= 5 for walk in per_walk)


def seed_of(config):
    return config.deformation_parameters["seed"]


def test_a_state_has_the_campaigns_name_in_any_geometry(make_task):
    found, _ = explore(make_task("spin-moves", spin_moves={"count": 3, "steps": 100, "frames": 8}))
    arrangements = {(c.formula, c.ordering): np.sign(c.magmoms_in) for c in deformed(make_task("spin-moves"), 1)}
    named = [c for c in found if (c.formula, c.ordering) in arrangements]
    others = [c for c in found if (c.formula, c.ordering) not in arrangements]
    assert named
    assert all("[" in c.ordering for c in others)
    reached = {(c.formula, c.ordering) for c in found}
    for (formula, ordering), signs in arrangements.items():
        for config in found:
            if config.formula == formula and abs(np.sign(config.magmoms_in) @ signs) == np.count_nonzero(signs):
                assert config.ordering == ordering
                reached.discard((formula, ordering))


def test_cold_walks_only_go_downhill(make_task):
    options = {"count": 1, "steps": 60, "frames": 100, "temperature": 1e-6}
    task = make_task("spin-moves", structures=MIXED, spin_moves=options)
    found, _ = explore(task)
    moments = np.array([c.magmoms_in for c in found])
    energies = states_of(task.calculator, config_to_atoms(found[0]), moments).energy
    assert (np.diff(energies) <= 1e-6).all()
    hot = make_task("spin-moves", structures=MIXED, spin_moves={**options, "temperature": 1e6})
    assert len(explore(hot)[0]) == 8 > len(found)  # every state of four moments, a state and its reverse being one


def test_held_out_orderings_are_passed_through_and_left_out(make_task):
    options = {"spin_moves": {"count": 2, "steps": 80, "frames": 8}, "structures": NIO | BOTH}
    free, _ = explore(make_task("spin-moves", **options))
    assert "AFM-I" in {c.ordering for c in free}
    split = {"by": "ordering", "held_out": ["AFM-I"]}
    found, dropped = explore(make_task("spin-moves", generation=2, split=split, **options))
    assert found
    assert dropped["held out"] >= 1
    # All three AFM-I of the four-site cell are one by symmetry: none of them is left.
    assert all(abs(np.sign(c.magmoms_in).sum()) == 2 or c.ordering == "FM" for c in found)


def test_one_moment_has_nowhere_to_go(make_task):
    structures = {"parents": [{"species": "Ni", "cell": "primitive"}], "orderings": ["FM"]}
    assert explore(make_task("spin-moves", structures=structures, spin_moves={})) == ([], {})


@pytest.mark.parametrize("swaps", [0.0, 1.0])
def test_kinds_of_moves(make_task, swaps):
    """Exchanges alone keep the number of moments that are up; flips alone change it by one per step."""
    options = {"count": 1, "steps": 1, "frames": 2, "swaps": swaps, "temperature": 1e7}
    structures = {**MIXED, "orderings": ["AFM-II"]}
    found, _ = explore(make_task("spin-moves", structures=structures, spin_moves=options))
    assert len(found) == 2
    ups = [np.sum(c.magmoms_in > 0) for c in found]
    assert abs(ups[1] - ups[0]) == (0 if swaps else 1)
