"""Structures of others: any cell, orientation, order and small distortion is indexed; the rest is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from workflows.structures import (
    StructureError,
    apply_ordering,
    deform,
    fitting_orderings,
    fitting_supercell,
    index_rocksalt,
    rocksalt,
)
from workflows.structures.recognise import hermite_matrices
from workflows.structures.rocksalt import CELLS


def foreign(s, seed=0, rotation=None):
    """The same crystal as a stranger writes it: no site properties, shuffled, shifted, rotated."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(s))
    turn = np.eye(3) if rotation is None else Rotation.from_rotvec(rotation).as_matrix()
    frac = (s.frac_coords[order] + rng.random(3)) % 1
    return Structure(Lattice(s.lattice.matrix @ turn.T), [s.species[i] for i in order], frac)


def pair_pattern(s):
    """Products of the signs of all metal neighbours within 1.2 a: invariant under shifts and a global flip."""
    a = (8 * s.volume / len(s)) ** (1 / 3)
    products = []
    for site in s:
        own = site.properties["magmom"]
        near = [n.properties["magmom"] * own for n in s.get_neighbors(site, 0.8 * a) if n.specie.symbol != "O"]
        products.append(sorted(np.sign(near).tolist()) if own else [])
    return sorted(products)


@settings(max_examples=40, deadline=None)
@given(
    cell=st.sampled_from(sorted(CELLS)),
    seed=st.integers(0, 10**6),
    rms=st.floats(0, 0.12),
    angles=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
)
def test_foreign_distorted_cells_hold_the_same_orderings(cell, seed, rms, angles):
    ours = rocksalt("Ni", cell=cell)
    distorted, _ = deform(ours, "displacement", rms, seed=seed)
    theirs = index_rocksalt(foreign(distorted, seed, angles))
    assert fitting_orderings(theirs) == fitting_orderings(ours)
    for ordering in fitting_orderings(ours):
        mine = apply_ordering(ours, ordering)
        assert pair_pattern(apply_ordering(theirs, ordering)) == pair_pattern(mine)


@pytest.mark.parametrize("cell", CELLS)
def test_our_own_cells_are_recognised_exactly(cell):
    ours = rocksalt("Ni", cell=cell)
    theirs = index_rocksalt(Structure.from_dict(ours.as_dict()).remove_site_property("grid_index"))
    assert theirs.site_properties["grid_index"] == ours.site_properties["grid_index"]
    assert theirs.properties["grid_vectors"] == ours.properties["grid_vectors"]


def test_a_single_atom_far_off_its_site_does_not_spoil_the_axes():
    s = rocksalt("Ni", cell="conventional_2x2x2")
    expected = s.site_properties["grid_index"]
    s.translate_sites([0], [0.35, 0, 0], frac_coords=False)
    assert index_rocksalt(s).site_properties["grid_index"] == expected


def test_the_structure_itself_is_not_moved():
    theirs = foreign(rocksalt("Mn", cell="all8"), 3)
    indexed = index_rocksalt(theirs)
    assert indexed.cart_coords.tobytes() == theirs.cart_coords.tobytes()
    assert "grid_index" not in theirs.site_properties


@pytest.mark.parametrize(
    ("cell", "ordering", "size"),
    [
        ("primitive", "FM", 2), ("primitive", "AFM-I", 4), ("primitive", "AFM-II", 4), ("primitive", "AFM-III", 8),
        ("conventional", "AFM-II", 16), ("tetragonal4", "AFM-II", 8), ("all8", "AFM-II", 8),
    ],
)  # fmt: skip
def test_the_smallest_supercell_that_holds_an_ordering(cell, ordering, size):
    for s in (rocksalt("Ni", cell=cell), foreign(rocksalt("Ni", cell=cell), 1)):
        fitting = apply_ordering(fitting_supercell(s, ordering), ordering)
        assert len(fitting) == size
        assert np.linalg.det(fitting.lattice.matrix) > 0
        assert max(fitting.lattice.abc) < 2.1 * 4.17
        assert sum(fitting.site_properties["magmom"]) == (0 if ordering != "FM" else 2.5)


def test_supercells_are_counted_right():
    # Number of sublattices of index n is the sum over d | n of d * sigma(d): 1, 7, 13, 35.
    assert [len(list(hermite_matrices(n))) for n in (1, 2, 3, 4)] == [1, 7, 13, 35]


def test_unknown_ordering_is_refused():
    with pytest.raises(StructureError, match="'AFM-9' is unknown"):
        fitting_supercell(rocksalt("Ni", cell="primitive"), "AFM-9")


def zincblende():
    return Structure.from_spacegroup("F-43m", Lattice.cubic(4.6), ["Ni", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])


def nickel_arsenide():
    # Octahedral metals too, but trigonal prisms around O: hexagonal, not cubic, stacking.
    frac = [[0, 0, 0], [0, 0, 0.5], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    return Structure(Lattice.hexagonal(2.95, 4.8), ["Ni", "Ni", "O", "O"], frac)


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (Structure(Lattice.cubic(4.2), ["Ni", "Ni", "O"], [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0]]), "2 metals and 1 O"),
        (Structure(Lattice.cubic(4.2), [{"Ni": 0.5, "Mn": 0.5}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]), "partially"),
        (zincblende(), "oxygen neighbours, not 6|no octahedron"),
        (nickel_arsenide(), "alternating metal and oxygen planes|no octahedron"),
    ],
)
def test_what_is_no_rocksalt_oxide_is_refused(structure, message):
    with pytest.raises(StructureError, match=message):
        index_rocksalt(structure)
