"""Which lattices are computed first, and the configurations that follow from them."""

from pathlib import Path

import numpy as np
import pytest

from workflows.structures import StructureError, StructureOptions, candidates, generate
from workflows.structures.preparation import count_cells, starts, with_lattices

DEFORMATIONS = [
    {"kind": "none"},
    {"kind": "displacement", "count": 2, "amplitude": [0.02, 0.05]},
    {"kind": "tensile", "count": 2, "amplitude": [-0.02, 0.02], "displacement": 0.02},
]


def structures(*parents, **changes) -> StructureOptions:
    content = {"parents": list(parents), "orderings": ["FM", "AFM-II"], "deformations": DEFORMATIONS}
    return StructureOptions.model_validate({**content, **changes})


def nio(lattice=None) -> dict:
    return {"species": "Ni", "cell": "rhombohedral4", **({} if lattice is None else {"lattice": lattice})}


def results(options: StructureOptions) -> list[dict]:
    """A cell for every start: the first 1 % larger than given, the second 2 %..."""
    return [
        {
            "lattice": (start.config.lattice * (1.01 + 0.01 * number)).tolist(),
            "fractional": np.linalg.solve(start.config.lattice.T, start.config.positions.T).T.tolist(),
            "how": {"method": start.kind, "ordering": start.config.ordering},
        }
        for number, start in enumerate(starts(options))
    ]


def test_given_lattices_need_nothing_and_say_nothing():
    assert starts(structures(nio(), nio("given"))) == []
    assert "lattice" not in structures(nio("given")).model_dump()["parents"][0]


def test_one_start_per_parent_and_ordering_it_is_prepared_in():
    options = structures(nio("relax"), nio({"scan": {"orderings": ["AFM-II"]}}), nio())
    found = starts(options)
    assert [(s.number, s.kind, s.config.ordering) for s in found] == [
        (0, "relax", "FM"),
        (0, "relax", "AFM-II"),
        (1, "scan", "AFM-II"),
    ]
    np.testing.assert_array_equal(found[1].config.magmoms_in, [2.5, -2.5, 0, 0])
    np.testing.assert_array_equal(found[1].config.parent_lattice, found[1].config.lattice)


def test_every_cell_is_deformed_and_each_geometry_has_every_ordering():
    options = structures(nio("relax"))
    complete = with_lattices(options, results(options))
    configs = list(generate(complete))
    assert starts(complete) == []
    assert count_cells(complete) == 2
    parents = {c.parent for c in configs}
    assert len(parents) == 2
    assert len(configs) == 2 * 2 * 5
    pairs = {}
    for config in configs:
        pairs.setdefault(config.pair_id, []).append(config)
    assert all([c.ordering for c in pair] == ["FM", "AFM-II"] for pair in pairs.values())
    for config in configs:
        assert config.deformation_parameters["parent"]["method"] == "relax"
        scale = {"FM": 1.01, "AFM-II": 1.02}[config.deformation_parameters["parent"]["ordering"]]
        np.testing.assert_allclose(config.parent_lattice, starts(options)[0].config.lattice * scale)


def test_cells_of_one_parent_never_share_displacements():
    """The same displacements on nearly the same cell would be near-copies, in training and in test."""
    options = structures(nio("relax"))
    kinds = [c for c in generate(with_lattices(options, results(options))) if c.deformation == "displacement"]
    moved = {np.round(c.positions @ np.linalg.inv(c.lattice) - _ideal(c), 6).tobytes() for c in kinds}
    assert len(kinds) == 8
    assert len(moved) == 4


def _ideal(config) -> np.ndarray:
    start = starts(structures(nio("relax")))[0].config
    return start.positions @ np.linalg.inv(start.lattice)


def test_unpaired_each_cell_is_labelled_in_its_own_ordering_as_in_the_paper():
    options = structures(nio("relax"), paired=False)
    for config in generate(with_lattices(options, results(options))):
        assert config.deformation_parameters["parent"]["ordering"] == config.ordering


def test_a_shared_cell_is_that_of_the_named_ordering():
    options = structures(nio({"relax": {"orderings": ["AFM-II"]}}))
    configs = list(generate(with_lattices(options, results(options))))
    assert len({c.parent for c in configs}) == 1
    assert {c.ordering for c in configs} == {"FM", "AFM-II"}


def test_parents_after_a_computed_one_keep_their_configurations():
    plain = [c.config_id for c in generate(structures(nio(), nio()))]
    options = structures(nio("relax"), nio())
    mixed = [c.config_id for c in generate(with_lattices(options, results(options)))]
    assert set(plain[10:]) <= set(mixed)


def test_candidates_come_from_the_computed_cells():
    options = structures(nio("relax"))
    complete = with_lattices(options, results(options))
    pool = list(candidates(complete, 1))
    assert {c.parent for c in pool} == {c.parent for c in generate(complete)}


def test_unknown_results_are_stood_in_for_so_that_counts_are_right():
    options = structures(nio("relax"))
    known = results(options)
    assert len(list(generate(with_lattices(options, [None, None])))) == 20
    assert len(list(generate(with_lattices(options, [None, known[1]])))) == 20


def test_without_results_there_are_no_configurations():
    with pytest.raises(StructureError, match="not computed yet"):
        generate(structures(nio("relax")))


def test_an_ordering_that_does_not_fit_is_named():
    with pytest.raises(StructureError, match="no ordering AFM-I "):
        starts(structures(nio({"relax": {"orderings": ["AFM-I"]}})))


def test_the_structure_of_a_file_is_prepared_like_any_other():
    file = Path(__file__).resolve().parents[2] / "data" / "nio_conventional.cif"
    options = structures({"file": str(file), "lattice": "relax"}, orderings=["FM"])
    (start,) = starts(options)
    assert start.config.species.count("O") == 4
    configs = list(generate(with_lattices(options, results(options))))
    assert len(configs) == 5
    np.testing.assert_allclose(configs[0].lattice, start.config.lattice * 1.01)


def test_held_moments_are_held_while_the_lattice_is_computed():
    options = structures(nio("relax"), moment_role="constraint")
    assert {start.config.moment_role for start in starts(options)} == {"constraint"}


def test_orderings_added_at_the_end_change_no_earlier_configuration():
    cells = {"species": "Ni", "cell": "all8", "lattice": {"relax": {"orderings": ["FM", "AFM-II"]}}}

    def made(*orderings: str) -> set[str]:
        options = structures(cells, orderings=list(orderings), paired=False)
        return {c.config_id for c in generate(with_lattices(options, results(options)))}

    before, after = made("FM", "AFM-II"), made("FM", "AFM-II", "AFM-I")
    assert len(before) == 10
    assert before < after
    assert len(after) == 15


def test_canted_orderings_take_the_cell_of_a_collinear_one():
    canted = {"kind": "canted", "base": "AFM-II", "angle": 10}
    options = structures(nio("relax"), orderings=["AFM-II", canted])
    assert [start.config.ordering for start in starts(options)] == ["AFM-II"]
    configs = list(generate(with_lattices(options, results(options))))
    assert len({c.parent for c in configs}) == 1
    assert sum(c.magmoms_in.ndim == 2 for c in configs) == 5
    with pytest.raises(StructureError, match="no ordering is collinear"):
        starts(structures(nio("relax"), orderings=[canted]))


def test_provenance_names_the_ordering_of_this_campaign():
    """The job is shared with a campaign that calls the same moments otherwise."""
    options = structures(nio({"relax": {"orderings": ["AFM-II"]}}))
    (result,) = results(options)
    foreign = {**result, "how": {**result["how"], "ordering": "mine", "start": "other"}}
    for config in generate(with_lattices(options, [foreign])):
        how = config.deformation_parameters["parent"]
        assert (how["ordering"], how["start"]) == ("AFM-II", starts(options)[0].config.parent)
