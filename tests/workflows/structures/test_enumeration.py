"""Enumeration: complete and without repetition, by brute force and against icet."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from icet.tools import enumerate_structures
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from workflows.structures import StructureError, apply_ordering, rocksalt
from workflows.structures.cells import PRIMITIVE
from workflows.structures.enumeration import enumerate_signs
from workflows.structures.symmetry import site_symmetry


def cations(structure):
    return np.array([i for i, site in enumerate(structure) if site.specie.symbol != "O"])


def enumerated(structure, **options):
    return [tuple(signs.tolist()) for signs in enumerate_signs(structure, cations(structure), **options)]


def orbit(signs, permutations):
    images = np.array(signs)[permutations]
    return {tuple(row) for row in np.concatenate([images, -images]).tolist()}


def brute_force_count(structure):
    """Classes of sign patterns under the operations of pymatgen, found by moving atoms around one by one."""
    sites = cations(structure)
    positions = structure.frac_coords[sites]
    images = []
    for operation in SpacegroupAnalyzer(structure).get_symmetry_operations():
        moved = operation.operate_multi(positions)
        apart = moved[:, None] - positions[None]
        nearest = np.abs(apart - np.round(apart)).sum(axis=-1)
        if nearest.min(axis=1).max() < 1e-3:
            images.append(nearest.argmin(axis=1))
    left, count = set(itertools.product((1, -1), repeat=len(sites))), 0
    while left:
        left -= orbit(left.pop(), np.array(images))
        count += 1
    return count


PURE, HALVES, QUARTERS = "Ni", {"Ni": 0.5, "Mn": 0.5}, {"Co": 0.25, "Ni": 0.25, "Mn": 0.5}
DECORATED = [(cell, PURE) for cell in ("primitive", "rhombohedral4", "tetragonal4", "all8", "conventional")]
DECORATED += [(cell, HALVES) for cell in ("rhombohedral4", "tetragonal4", "all8", "conventional")]
DECORATED += [(cell, QUARTERS) for cell in ("all8", "conventional")]


@pytest.mark.parametrize(("cell", "species"), DECORATED)
def test_as_many_as_by_brute_force(cell, species):
    structure = rocksalt(species, 4.2, cell, seed=1)
    assert len(enumerated(structure)) == brute_force_count(structure)


def test_known_classes():
    assert enumerated(rocksalt("Ni", cell="rhombohedral4")) == [(1, 1), (1, -1)]
    # Cube of four cations: all up, one down, two down.
    assert [sum(signs) for signs in enumerated(rocksalt("Ni", cell="conventional"))] == [4, 0, 2]


@settings(max_examples=25, deadline=None)
@given(
    diagonal=st.sampled_from([(1, 1, 2), (1, 2, 2), (2, 2, 2), (1, 1, 5), (1, 2, 4), (1, 3, 2)]),
    shear=st.lists(st.integers(-1, 1), min_size=3, max_size=3),
    seed=st.integers(0, 5),
    mixed=st.booleans(),
)
def test_classes_are_disjoint_and_together_all_patterns(diagonal, shear, seed, mixed):
    matrix = np.diag(diagonal)
    matrix[0, 1], matrix[0, 2], matrix[1, 2] = shear
    n = int(np.prod(diagonal))
    species = {"Ni": 1 / n, "Mn": 1 - 1 / n} if mixed else "Ni"
    structure = rocksalt(species, 4.2, matrix.tolist(), seed=seed)
    permutations = site_symmetry(structure).permutations(cations(structure))
    found = enumerated(structure)
    assert found[0] == (1,) * n
    assert all(signs[0] == 1 for signs in found)
    orbits = [orbit(signs, permutations) for signs in found]
    assert len(set().union(*orbits)) == sum(map(len, orbits)) == 2**n


@pytest.mark.parametrize(("cell", "sizes"), [("conventional_2x2x2", (1, 2, 4)), (np.diag([3, 3, 3]).tolist(), (1, 3))])
def test_the_classes_of_icet_tiled_onto_a_larger_cell(cell, sizes):
    structure = rocksalt("Ni", 4.0, cell)
    sites = cations(structure)
    permutations = site_symmetry(structure).permutations(sites)
    rotations = np.unique(np.round(site_symmetry(rocksalt("Ni", 4.0, "primitive")).rotations), axis=0)
    lattice = Atoms("H", cell=np.array(PRIMITIVE) * 2.0, positions=[[0, 0, 0]], pbc=True)
    patterns = set()
    for small in enumerate_structures(lattice, list(sizes), ["H", "He"], niggli_reduce=False):
        patterns |= {tiled(small, rotation, structure, sites) for rotation in rotations}
    patterns.discard(())
    for signs in enumerated(structure, max_period=max(sizes)):
        images = orbit(signs, permutations)
        assert patterns & images
        patterns -= images
    assert not patterns


def tiled(small, rotation, structure, sites):
    """Signs that a rotated structure of icet gives a larger cell, () where it does not fit."""
    cell = small.cell.array @ rotation.T
    steps = structure.lattice.matrix @ np.linalg.inv(cell)
    if not np.allclose(steps, np.round(steps)):
        return ()
    apart = (structure.cart_coords[sites][:, None] - small.positions @ rotation.T) @ np.linalg.inv(cell)
    nearest = np.abs(apart - np.round(apart)).sum(axis=-1).argmin(axis=1)
    return tuple(np.where(small.numbers[nearest] == 1, 1, -1).tolist())


def test_a_large_cell_gets_small_magnetic_cells_with_the_known_orderings_among_them():
    structure = rocksalt("Ni", cell="conventional_2x2x2")
    found = enumerated(structure)
    permutations = site_symmetry(structure).permutations(cations(structure))
    classes = {min(orbit(signs, permutations)) for signs in found}
    for name in ("FM", "AFM-I", "AFM-II", "AFM-III"):
        moments = np.sign(apply_ordering(structure, name).site_properties["magmom"])[:32].astype(int)
        assert min(orbit(moments, permutations)) in classes
    assert enumerated(structure, max_period=1) == [(1,) * 32]
    assert len(enumerated(structure, max_period=2)) == 3  # FM, AFM-I and AFM-II


def test_preferred_signs_stand_for_their_class():
    structure = rocksalt("Ni", cell="all8")
    mine = np.sign(apply_ordering(structure, "AFM-II").site_properties["magmom"])[:4].astype(int)
    assert tuple(mine) in enumerated(structure, first=mine[None])
    assert len(enumerated(structure, first=mine[None])) == len(enumerated(structure))


def test_other_crystals_than_rocksalt():
    spinel_like = Structure(Lattice.cubic(3.0), ["Fe", "Fe", "Ni"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]])
    found = list(enumerate_signs(spinel_like, np.array([0, 1])))
    assert [signs.tolist() for signs in found] == [[1, 1], [1, -1]]


def test_what_cannot_be_enumerated_says_so():
    structure = rocksalt("Ni", cell="conventional_2x2x2")
    with pytest.raises(StructureError, match="give max_period 16 or less"):
        enumerated(structure, max_period=20)
    with pytest.raises(StructureError, match="nothing to enumerate"):
        list(enumerate_signs(structure, np.array([], dtype=int)))
    pair = Structure(Lattice.cubic(3.0), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.4]])
    with pytest.raises(StructureError, match="has 2 magnetic sites; give max_period 2 or more"):
        list(enumerate_signs(pair, np.array([0, 1]), max_period=1))
