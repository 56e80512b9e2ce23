"""Options of a parent's lattice, and the cells that computed ones give."""

import numpy as np
import pytest
from pydantic import ValidationError

from workflows.structures import StructureError, StructureOptions, generate, parent_id, rocksalt
from workflows.structures.lattice import (
    LatticeOptions,
    PreparedLattice,
    RelaxOptions,
    parse_lattice,
    prepared_orderings,
    variants,
    with_lattice,
)


def options(value) -> LatticeOptions | None:
    parsed = parse_lattice(value)
    return None if parsed is None else LatticeOptions.model_validate(parsed)


def arranged(*names: str) -> dict[str, np.ndarray]:
    return {name: np.ones(4) for name in names}


def prepared(structure, ordering: str, scale: float = 1.01) -> PreparedLattice:
    return PreparedLattice(
        start=structure.properties["parent"],
        ordering=ordering,
        lattice=(structure.lattice.matrix * scale).tolist(),
        fractional=structure.frac_coords.tolist(),
        how={"method": "relax", "ordering": ordering},
    )


def test_given_is_the_default_and_names_stand_for_default_options():
    assert options("given") is None
    assert options("relax").method == RelaxOptions() == options({"relax": None}).method
    assert options("scan").scan.points == 9


@pytest.mark.parametrize("value", ["relax", "scan", {"relax": {"moves": "volume", "orderings": ["FM"]}}])
def test_options_survive_a_document(value):
    once = options(value)
    assert options(once.model_dump(mode="json")) == once


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("relaxed", "use given, scan or relax"),
        ({}, "either scan or relax"),
        ({"scan": {}, "relax": {}}, "either scan or relax"),
        ({"scan": {"ratios": [1.1, 0.9]}}, "must rise"),
        ({"scan": {"ratios": [0.1, 0.9]}}, "within 0.5 to 2"),
        ({"scan": {"points": 4}}, "greater than or equal to 5"),
        ({"relax": {"fmax": 0}}, "greater than 0"),
        ({"relax": {"moves": "atoms"}}, "'volume', 'cell' or 'all'"),
        ({"relax": {"orderings": []}}, "at least one ordering"),
        ({"relax": {"orderings": ["FM", "FM"]}}, "none twice"),
        ({"relax": {"force": 0.1}}, "Extra inputs"),
    ],
    ids=str,
)
def test_bad_options_are_named(value, message):
    with pytest.raises((StructureError, ValidationError), match=message):
        options(value)


def test_an_ordering_the_parent_does_not_have_is_named():
    lattice = options({"relax": {"orderings": ["AFM-I"]}})
    with pytest.raises(StructureError, match=r"no ordering AFM-I \(FM, AFM-II\)"):
        prepared_orderings(lattice, arranged("FM", "AFM-II"))
    assert prepared_orderings(options("relax"), arranged("FM", "AFM-II")) == ["FM", "AFM-II"]


def test_orderings_that_would_turn_while_a_cell_is_computed_are_prepared_only_where_named_or_held():
    mixed = {**arranged("FM"), "canted": np.ones((4, 3)), **arranged("AFM-II")}
    assert prepared_orderings(options("relax"), mixed) == ["FM", "AFM-II"]
    assert prepared_orderings(options("relax"), mixed, "constraint") == list(mixed)
    assert prepared_orderings(options({"relax": {"orderings": ["canted"]}}), mixed) == ["canted"]
    with pytest.raises(StructureError, match=r"no ordering is collinear \(canted\)"):
        prepared_orderings(options("scan"), {"canted": np.ones((4, 3))})


def test_a_lattice_that_is_not_computed_yet_gives_no_cells():
    with pytest.raises(StructureError, match="not computed yet"):
        variants(options("relax"), rocksalt("Ni", cell="rhombohedral4"), arranged("FM"), paired=True)


def test_paired_cells_take_every_ordering_and_unpaired_ones_their_own():
    structure = rocksalt("Ni", cell="all8")
    lattice = options({"relax": {"orderings": ["AFM-II", "FM"]}})
    lattice = lattice.model_copy(update={"prepared": [prepared(structure, o) for o in ("FM", "AFM-II")]})
    names = ["FM", "AFM-I", "AFM-II"]
    both = variants(lattice, structure, arranged(*names), paired=True)
    assert [v.orderings for v in both] == [names, names]
    assert [v.streams for v in both] == [[0] * 3, [1] * 3]
    own = variants(lattice, structure, arranged(*names), paired=False)
    assert [v.orderings for v in own] == [["AFM-I", "AFM-II"], ["FM"]]  # AFM-I has no cell and takes the first
    assert [v.streams for v in own] == [[1, 2], [0]]
    assert [v.how["ordering"] for v in own] == ["AFM-II", "FM"]


def test_the_computed_cell_has_an_id_and_a_lattice_constant_of_its_own():
    structure = rocksalt("Ni", lattice_constant=4.17, cell="rhombohedral4")
    cell = with_lattice(structure, prepared(structure, "FM"))
    assert cell.properties["lattice_constant"] == pytest.approx(4.17 * 1.01)
    assert cell.properties["parent"].startswith("NiO-rhombohedral4-a4.2117-")
    np.testing.assert_allclose(cell.properties["parent_lattice"], structure.lattice.matrix * 1.01)
    assert cell.site_properties["grid_index"] == structure.site_properties["grid_index"]
    assert structure.properties["lattice_constant"] == 4.17


def test_a_cell_of_another_parent_is_refused():
    structure, other = rocksalt("Ni", cell="rhombohedral4"), rocksalt("Ni", cell="all8")
    with pytest.raises(StructureError, match="8 sites"):
        with_lattice(structure, prepared(other, "FM"))


def test_a_computed_cell_of_lower_symmetry_has_more_orderings():
    start = rocksalt("Mn", cell="conventional")
    prepared = [
        {
            "start": parent_id(start),
            "ordering": "AFM-I",
            "lattice": (start.lattice.matrix * [1, 1, scale]).tolist(),
            "fractional": start.frac_coords.tolist(),
            "how": {"kind": "relax"},
        }
        for scale in (0.99, 1.0)
    ]
    found = []
    for cell in prepared:
        lattice = {"relax": {"orderings": ["AFM-I"]}, "prepared": [cell]}
        parent = {"species": "Mn", "cell": "conventional", "lattice": lattice}
        wanted = StructureOptions(
            parents=[parent],
            orderings=["AFM-I", {"kind": "enumerate"}],
            deformations=[{"kind": "none"}, {"kind": "displacement", "amplitude": [0.02, 0.02]}],
        )
        found.append([config.ordering for config in generate(wanted)])
    assert found == [["AFM-I", "FM", "FiM[+-++]", "AFM[+-+-]"] * 2, ["AFM-I", "FM", "FiM[+-++]"] * 2]
