"""New decorations of mixed parents."""

from collections import Counter

import numpy as np

from workflows.exploration import explore
from workflows.exploration.starts import undeformed

EIGHT = [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
"""A cell of eight cations."""

WIDE = {"parents": [{"species": {"Mn": 0.25, "Ni": 0.75}, "cell": EIGHT}], "orderings": ["FM", "AFM-I"]}


def test_other_placements_of_the_same_cations_in_every_ordering(make_task):
    task = make_task("decorations", decorations={"count": 3, "geometries": 2}, max_force=1e9)
    parents = {c.parent: c for c in undeformed(task)}
    found, dropped = explore(task)
    assert dropped == {}
    assert {c.formula for c in found} == {"MnNiO2"}  # NiO has nothing to place
    assert len({c.parent for c in found}) == 3
    assert not {c.parent for c in found} & set(parents)
    assert len(found) == 3 * 2 * 3
    assert {c.ordering for c in found} == {"FM", "AFM-I", "AFM-II"}
    assert {c.deformation for c in found} == {"shear", "volume"}
    old = next(c for c in parents.values() if c.formula == "MnNiO2")
    for config in found:
        assert config.cell == old.cell == "all8"
        assert np.isclose(np.linalg.det(config.parent_lattice), np.linalg.det(old.parent_lattice), rtol=1e-12)
        assert config.deformation_parameters["decoration"]["kind"] == "random"


def test_compositions_beside_the_parents(make_task):
    options = {"structures": WIDE, "decorations": {"count": 4, "compositions": True}, "max_force": 1e9}
    found, _ = explore(make_task("decorations", **options))
    shares = Counter(c.species.count("Mn") for c in found)
    assert shares[2] == 4  # of eight cations, in two orderings and two decorations
    assert sum(shares[n] for n in (1, 3)) == 4
    volume = {c.species.count("Mn"): abs(np.linalg.det(c.parent_lattice)) for c in found}
    assert all(volume[n] < volume[2] for n in volume if n < 2)  # Mn is the larger ion
    assert all(volume[n] > volume[2] for n in volume if n > 2)


def test_held_out_compositions_are_left_alone(make_task):
    split = {"by": "composition", "held_out": ["MnNiO2"]}
    assert explore(make_task("decorations", split=split, decorations={}))[0] == []


def test_generations_differ(make_task):
    first, second = (explore(make_task("decorations", generation=n, decorations={}))[0] for n in (1, 2))
    assert not {c.config_id for c in first} & {c.config_id for c in second}
