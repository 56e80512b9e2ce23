"""Cells: shapes, site order, mixtures, determinism, and every way to ask for the impossible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from workflows.structures import StructureError, rocksalt
from workflows.structures.rocksalt import CELLS, LATTICE_CONSTANTS, grid_points, resolve_cell

SIZES = {
    "primitive": 2, "rhombohedral4": 4, "tetragonal4": 4, "all8": 8, "conventional": 8, "conventional_2x2x2": 64,
}  # fmt: skip


@pytest.mark.parametrize(("cell", "size"), SIZES.items())
def test_named_cells_are_rocksalt(cell, size):
    s = rocksalt("Ni", lattice_constant=4.17, cell=cell)
    assert len(s) == size
    assert s.volume == pytest.approx(size / 8 * 4.17**3)
    assert np.linalg.det(s.lattice.matrix) > 0
    assert SpacegroupAnalyzer(s).get_space_group_symbol() == "Fm-3m"
    assert s.properties["cell"] == cell


def test_every_cell_has_a_size_here():
    assert set(SIZES) == set(CELLS)


@pytest.mark.parametrize("cell", CELLS)
def test_every_metal_has_six_oxygens_at_half_a(cell):
    s = rocksalt("Mn", cell=cell)
    for site in s:
        near = s.get_neighbors(site, 0.51 * 4.445)
        assert len(near) == 6
        assert {n.specie.symbol for n in near} == ({"O"} if site.specie.symbol == "Mn" else {"Mn"})


def test_lattices_are_those_of_the_reference_pool():
    # Lattices of labelled data that engines pin k meshes for: rhombohedral4 and tetragonal4 of NiO.
    half = 4.17 / 2
    assert rocksalt("Ni", cell="rhombohedral4").lattice.matrix == pytest.approx(
        half * np.array([[1, -1, 0], [0, 1, -1], [2, 1, 1]])
    )
    assert rocksalt("Ni", cell="tetragonal4").lattice.matrix == pytest.approx(
        half * np.array([[1, -1, 0], [1, 1, 0], [0, 0, 2]])
    )


def test_positions_are_the_grid():
    s = rocksalt("Co", cell="all8")
    grid = np.array(s.site_properties["grid_index"])
    assert s.cart_coords == pytest.approx(grid * 4.26 / 2)
    assert [n % 2 for n in grid.sum(axis=1)] == [0] * 4 + [1] * 4


@pytest.mark.parametrize("cell", CELLS)
def test_sites_of_an_element_are_ordered_by_fractional_coordinates(cell):
    # Site order is part of the identity of a configuration: a change here would orphan every label made before.
    s = rocksalt({"Ni": 0.5, "Mn": 0.5} if cell != "primitive" else "Ni", cell=cell)
    for symbol in {site.specie.symbol for site in s}:
        frac = [tuple(site.frac_coords.round(6)) for site in s if site.specie.symbol == symbol]
        assert frac == sorted(frac)


def test_the_order_of_the_smallest_cell_is_pinned():
    s = rocksalt("Ni", cell="rhombohedral4")
    assert s.frac_coords.round(9).tolist() == [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0.25, 0.25], [0.5, 0.75, 0.75]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=3, max_size=3))
def test_any_integer_matrix_gives_that_many_cells(matrix):
    det = abs(round(np.linalg.det(np.array(matrix))))
    if det == 0:
        with pytest.raises(StructureError, match="zero volume"):
            resolve_cell(matrix)
        return
    name, vectors = resolve_cell(matrix)
    cations, anions = grid_points(vectors)
    assert name == "custom"
    assert len(cations) == len(anions) == det
    assert np.linalg.det(vectors) > 0
    wrapped = np.round(np.vstack([cations, anions]) @ np.linalg.inv(vectors), 9)
    assert np.all((wrapped >= 0) & (wrapped < 1))
    assert len(np.unique(wrapped, axis=0)) == 2 * det


def test_default_lattice_constants_and_vegard():
    assert LATTICE_CONSTANTS == {"Ti": 4.18, "Mn": 4.445, "Fe": 4.33, "Co": 4.26, "Ni": 4.17}
    assert rocksalt("Mn", cell="conventional").lattice.a == pytest.approx(4.445)
    mixed = rocksalt({"Ni": 0.75, "Mn": 0.25}, cell="conventional")
    assert mixed.lattice.a == pytest.approx(0.75 * 4.17 + 0.25 * 4.445)
    assert rocksalt("V", lattice_constant=4.07, cell="conventional").lattice.a == pytest.approx(4.07)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 31))
def test_mixture_has_exact_counts_grouped_and_reproducible(seed, n):
    fractions = {"Ni": n / 32, "Mn": 1 - n / 32}
    s = rocksalt(fractions, cell="conventional_2x2x2", seed=seed)
    symbols = [site.specie.symbol for site in s]
    assert symbols == ["Mn"] * (32 - n) + ["Ni"] * n + ["O"] * 32
    again = rocksalt(dict(reversed(fractions.items())), cell="conventional_2x2x2", seed=seed)
    assert s.site_properties == again.site_properties
    assert s.frac_coords.tobytes() == again.frac_coords.tobytes()


def test_seed_changes_the_placement():
    placements = {
        str(rocksalt({"Ni": 0.5, "Mn": 0.5}, cell="conventional_2x2x2", seed=seed).site_properties["grid_index"])
        for seed in range(5)
    }
    assert len(placements) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"species": "Nix"}, "'Nix' is not a chemical element"),
        ({"species": "O"}, "O is the anion"),
        ({"species": {}}, "species is empty"),
        ({"species": {"Ni": 0.5, "Mn": 0.4}}, "sum to 0.9"),
        ({"species": {"Ni": 1.5, "Mn": -0.5}}, "fraction of Mn is -0.5"),
        ({"species": {"Ni": float("nan")}}, "fraction of Ni is nan"),
        ({"species": "Cr"}, "no lattice constant is known for Cr"),
        ({"species": "Ni", "lattice_constant": -4.17}, "no volume"),
        ({"species": "Ni", "lattice_constant": 0.0}, "no volume"),
        ({"species": "Ni", "lattice_constant": float("inf")}, "no volume"),
        ({"species": "Ni", "cell": "cubic"}, "cell 'cubic' is unknown; use primitive"),
        ({"species": "Ni", "cell": [[1, 0], [0, 1]]}, "not a 3x3 matrix of integers"),
        ({"species": "Ni", "cell": [[1, 0, 0], [0, 1], [0, 0, 1]]}, "not a 3x3 matrix of integers"),
        ({"species": "Ni", "cell": [[1, 0, 0.5], [0, 1, 0], [0, 0, 1]]}, "not a 3x3 matrix of integers"),
        ({"species": "Ni", "cell": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}, "zero volume"),
    ],
)
def test_impossible_requests_say_how_to_mend_them(arguments, message):
    with pytest.raises(StructureError, match=message):
        rocksalt(**arguments)


def test_fractions_that_do_not_fit_name_the_counts_and_cells_that_do():
    with pytest.raises(StructureError, match="multiples of 1/4") as error:
        rocksalt({"Ni": 0.875, "Mn": 0.125}, cell="all8")
    assert "multiple of 8 (conventional_2x2x2)" in str(error.value)
    with pytest.raises(StructureError, match=r"Mn 1\.32, Ni 2\.68 of 4"):
        rocksalt({"Ni": 0.67, "Mn": 0.33}, cell="all8")
