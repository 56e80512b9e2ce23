"""Site symmetry: operations are isometries that permute the atoms, and there are as many as there should be."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from workflows.structures import StructureError, rocksalt
from workflows.structures.symmetry import primitive_lattice, site_symmetry

# Rotations that keep the cell (of 48) times translations in it.
ORDER = {"primitive": 48, "rhombohedral4": 12 * 2, "tetragonal4": 16 * 2, "all8": 8 * 4, "conventional": 48 * 4,
         "conventional_2x2x2": 48 * 32}  # fmt: skip


@pytest.mark.parametrize(("cell", "order"), ORDER.items())
def test_order_of_the_group_of_a_pure_oxide(cell, order):
    symmetry = site_symmetry(rocksalt("Ni", cell=cell))
    assert symmetry.rotations.shape == (order, 3, 3)
    assert len(np.unique(symmetry.sources, axis=0)) <= order


@pytest.mark.parametrize("species", ["Ni", {"Ni": 0.5, "Mn": 0.5}])
@pytest.mark.parametrize("cell", ["rhombohedral4", "all8", "conventional"])
def test_operations_take_each_site_to_where_they_say(cell, species):
    s = rocksalt(species, 4.2, cell)
    symmetry = site_symmetry(s)
    symbols = np.array([site.specie.symbol for site in s])
    for rotation, sources in zip(symmetry.rotations, symmetry.sources, strict=True):
        assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-9)
        assert sorted(sources) == list(range(len(s)))
        assert np.array_equal(symbols[sources], symbols)
        # x_i = R x_source(i) + t with one t for all sites, up to lattice vectors
        shift = s.frac_coords - s.lattice.get_fractional_coords(s.cart_coords[sources] @ rotation.T)
        assert (shift - shift[0]) - np.round(shift - shift[0]) == pytest.approx(0, abs=1e-6)


def test_a_decoration_lowers_the_symmetry():
    pure, mixed = rocksalt("Ni", 4.2, "conventional"), rocksalt({"Ni": 0.75, "Mn": 0.25}, 4.2, "conventional")
    assert len(site_symmetry(mixed).sources) == len(site_symmetry(pure).sources) / 4  # cubic, but no translations


def test_permutations_within_some_sites():
    s = rocksalt("Ni", cell="tetragonal4")
    found = site_symmetry(s).permutations(np.array([0, 1]))
    assert found.tolist() == [[0, 1], [1, 0]]


def test_primitive_lattice_keeps_the_orientation():
    s = rocksalt({"Ni": 0.5, "Mn": 0.5}, 4.2, "conventional_2x2x2")
    primitive = primitive_lattice(s, ["M" if site.specie.symbol != "O" else "O" for site in s])
    steps = s.lattice.matrix @ np.linalg.inv(primitive)
    assert steps == pytest.approx(np.round(steps), abs=1e-6)
    assert abs(np.linalg.det(primitive)) == pytest.approx(4.2**3 / 4)


def test_atoms_on_top_of_each_other_are_refused():
    s = Structure(Lattice.cubic(4), ["Ni", "Ni"], [[0, 0, 0], [0, 0, 1e-5]])
    with pytest.raises(StructureError, match="on top of each other"):
        site_symmetry(s)
