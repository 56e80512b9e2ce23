"""Orderings: neighbours up and down as theory says, in every cell that holds them, and clear refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.structures import StructureError, apply_ordering, deform, fitting_orderings, rocksalt
from workflows.structures.orderings import PROPAGATION
from workflows.structures.rocksalt import CELLS

HOLDS = {
    "primitive": ["FM"],
    "rhombohedral4": ["FM", "AFM-II"],
    "tetragonal4": ["FM", "AFM-I"],
    "all8": ["FM", "AFM-I", "AFM-II"],
    "conventional": ["FM", "AFM-I"],
    "conventional_2x2x2": ["FM", "AFM-I", "AFM-II", "AFM-III"],
}
FITTING = [(cell, ordering) for cell, names in HOLDS.items() for ordering in names]
PARALLEL = {  # antiparallel neighbours of every cation: of the 12 nearest, of the 6 next
    "FM": (0, 0), "AFM-I": (8, 0), "AFM-II": (6, 6), "AFM-III": (8, 2),
}  # fmt: skip


def moments(structure):
    return np.array(structure.site_properties["magmom"])


def antiparallel(structure, site, low, high):
    """Antiparallel and all metal neighbours of a site between two distances in units of a."""
    a = structure.properties["lattice_constant"]
    own = structure[site].properties["magmom"]
    near = [
        n
        for n in structure.get_neighbors(structure[site], high * a)
        if n.nn_distance > low * a and n.specie.symbol != "O"
    ]
    return sum(n.properties["magmom"] * own < 0 for n in near), len(near)


@pytest.mark.parametrize("cell", CELLS)
def test_cells_hold_the_orderings_they_are_made_for(cell):
    assert fitting_orderings(rocksalt("Ni", cell=cell)) == HOLDS[cell]


@pytest.mark.parametrize(("cell", "ordering"), FITTING)
def test_neighbours_up_and_down(cell, ordering):
    s = apply_ordering(rocksalt("Ni", cell=cell), ordering)
    nearest, next_nearest = PARALLEL[ordering]
    for site in range(len(s) // 2):
        assert antiparallel(s, site, 0.6, 0.8) == (nearest, 12)
        assert antiparallel(s, site, 0.9, 1.1) == (next_nearest, 6)


@settings(max_examples=40, deadline=None)
@given(
    diagonal=st.lists(st.sampled_from([1, 2, 4]), min_size=3, max_size=3),
    shear=st.lists(st.integers(-2, 2), min_size=3, max_size=3),
    ordering=st.sampled_from(sorted(PROPAGATION)),
)
def test_any_cell_either_holds_the_ordering_exactly_or_refuses(diagonal, shear, ordering):
    matrix = np.diag(diagonal)
    matrix[0, 1], matrix[0, 2], matrix[1, 2] = shear
    s = rocksalt("Mn", cell=matrix.tolist())
    if ordering not in fitting_orderings(s):
        with pytest.raises(StructureError, match="does not fit"):
            apply_ordering(s, ordering)
        return
    s = apply_ordering(s, ordering)
    m = moments(s)
    assert set(np.abs(m)) == {3.0, 0.0}
    assert m.sum() == (0.0 if ordering != "FM" else 3.0 * np.prod(diagonal))
    assert antiparallel(s, 0, 0.6, 0.8) == (PARALLEL[ordering][0], 12)
    assert antiparallel(s, 0, 0.9, 1.1) == (PARALLEL[ordering][1], 6)


def test_sign_is_the_cosine_of_the_propagation_vector():
    s = apply_ordering(rocksalt("Ni", lattice_constant=4.17, cell="all8"), "AFM-II", magmoms={"Ni": 2.5})
    q = 2 * np.pi / 4.17 * np.array([0.5, 0.5, 0.5])
    assert moments(s)[:4] == pytest.approx(2.5 * np.cos(s.cart_coords[:4] @ q))


def test_default_moments():
    s = apply_ordering(rocksalt({"Ni": 0.5, "Co": 0.25, "Mn": 0.25}, cell="all8"), "FM")
    assert moments(s).tolist() == [1.0, 3.0, 2.5, 2.5, 0, 0, 0, 0]


def test_a_mixture_becomes_a_ferrimagnet():
    s = apply_ordering(rocksalt({"Ni": 0.5, "Mn": 0.5}, cell="rhombohedral4"), "AFM-II", {"Ni": 2.0, "Mn": 5.0})
    m = moments(s)
    assert abs(m[0]) == 5.0  # Mn comes first: alphabetical groups
    assert abs(m[1]) == 2.0
    assert m[0] * m[1] < 0


@pytest.mark.parametrize("kind", ["displacement", "shear", "tensile", "volume"])
def test_ordering_before_and_after_a_deformation_is_the_same(kind):
    parent = rocksalt("Ni", cell="conventional_2x2x2")
    amplitude = {"displacement": 0.15, "volume": 0.9}.get(kind, 0.08)
    before, _ = deform(apply_ordering(parent, "AFM-II"), kind, amplitude, seed=1)
    after = apply_ordering(deform(parent, kind, amplitude, seed=1)[0], "AFM-II")
    assert moments(before).tolist() == moments(after).tolist()


def test_input_is_left_alone():
    parent = rocksalt("Ni", cell="all8")
    apply_ordering(parent, "AFM-I")
    assert "magmom" not in parent.site_properties


def test_custom_signs():
    s = apply_ordering(rocksalt("Ni", cell="all8"), "custom", signs=[1, 1, -1, 1])
    assert moments(s).tolist() == [2.5, 2.5, -2.5, 2.5, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ordering": "AFM-IV"}, "'AFM-IV' is unknown; use FM, AFM-I"),
        ({"ordering": "AFM-I", "magmoms": {"Co": 1.0}}, "Co not in the structure"),
        ({"ordering": "AFM-I", "magmoms": {"Ni": -2.0}}, "the ordering gives the sign"),
        ({"ordering": "AFM-I", "magmoms": {"Ni": float("nan")}}, "Ni is nan"),
        ({"ordering": "AFM-I", "magmoms": {"O": 0.1}}, "O has no sign in AFM-I"),
        ({"ordering": "custom"}, "needs signs"),
        ({"ordering": "custom", "signs": [1, -1]}, "4 values"),
        ({"ordering": "custom", "signs": [1, -1, 0, 1]}, "4 values"),
        ({"ordering": "AFM-I", "signs": [1, -1, 1, 1]}, "has its own signs"),
    ],
)
def test_bad_orderings_say_how_to_mend_them(arguments, message):
    with pytest.raises(StructureError, match=message):
        apply_ordering(rocksalt("Ni", cell="all8"), **arguments)


def test_an_ordering_that_does_not_fit_names_every_cell_that_does():
    with pytest.raises(StructureError) as error:
        apply_ordering(rocksalt("Ni", cell="tetragonal4"), "AFM-II")
    assert "rhombohedral4 or all8 or conventional_2x2x2" in str(error.value)
    assert "tetragonal4" not in str(error.value)


def test_an_element_without_a_known_moment_needs_one():
    fe = rocksalt("Fe", lattice_constant=4.33, cell="all8")
    with pytest.raises(StructureError, match="no initial moment is known for Fe"):
        apply_ordering(fe, "FM")
    assert moments(apply_ordering(fe, "FM", magmoms={"Fe": 4.0}))[0] == 4.0


@pytest.mark.parametrize("lost", ["index", "vectors"])
def test_a_foreign_structure_is_refused_with_the_remedy(lost):
    s = rocksalt("Ni", cell="all8")
    if lost == "index":
        s.remove_site_property("grid_index")
    else:
        s.properties = {}
    with pytest.raises(StructureError, match=r"index_rocksalt\(\)"):
        apply_ordering(s, "FM")
