"""The source that every campaign has."""

import pytest

from workflows.exploration import Task, explore
from workflows.structures import StructureError


def test_new_geometries_in_every_ordering(make_task):
    found, dropped = explore(make_task("deformations"))
    assert dropped == {}
    assert {(c.deformation, c.ordering) for c in found} == {
        (kind, ordering) for kind in ("shear", "volume") for ordering in ("FM", "AFM-I", "AFM-II")
    }
    groups = {}
    for config in found:
        groups.setdefault(config.pair_id, set()).add(config.ordering)
    assert all(orderings == {"FM", "AFM-I", "AFM-II"} for orderings in groups.values())


def test_no_generation_repeats_another(make_task):
    first, second = (explore(make_task("deformations", generation=n))[0] for n in (1, 2))
    assert not {c.config_id for c in first} & {c.config_id for c in second}


def test_about_as_many_as_asked(make_task):
    for number in (8, 12):
        task = make_task("deformations", candidates=number)
        assert len({c.pair_id for c in explore(task)[0]}) == number


def test_no_model_is_needed(make_task):
    task: Task = make_task("deformations")
    task.members = ["nowhere.pt"]
    assert explore(task)[0]


FIXED = [{"kind": "none"}, {"kind": "volume", "count": 2, "amplitude": [1.04, 1.04]}]


@pytest.mark.parametrize("deformations", [[{"kind": "none"}], FIXED], ids=["none", "used up"])
def test_where_nothing_is_new_it_finds_nothing_and_leaves_the_rounds_to_others(make_task, deformations):
    task = make_task("deformations", generation=2, structures={"deformations": deformations})
    assert explore(task) == ([], {})
    others = make_task("spin-moves", generation=2, structures={"deformations": deformations}, spin_moves={"steps": 5})
    assert explore(others)[0]


def test_other_mistakes_are_not_taken_for_that(make_task):
    with pytest.raises(StructureError, match="generation is 0; candidates start at 1"):
        explore(make_task("deformations", generation=0))
