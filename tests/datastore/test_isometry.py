import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from datastore.fingerprints import Geometry
from datastore.isometry import Crystal, lattice_mappings, match
from tests.datastore.crystals import crystal, rewritten
from workflows.structures import rocksalt

TOLERANCE = 0.01
seeds = st.integers(0, 2**32 - 1)


def same(first, second, tolerance=TOLERANCE):
    return match(Crystal(first), Crystal(second), tolerance)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_crystal_is_itself_however_it_is_written(seed):
    rng = np.random.default_rng(seed)
    original = crystal(rng)
    other = rewritten(original, rng)
    found = same(original, other)
    assert found is not None
    assert found.rms < 1e-6
    assert [other.species[site] for site in found.sites] == list(original.species)
    assert np.array_equal(other.moments[found.sites], original.moments)
    assert same(other, original) is not None


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_small_displacements_are_measured(seed):
    rng = np.random.default_rng(seed)
    original = crystal(rng)
    found = same(original, rewritten(original, rng, noise=0.4 * TOLERANCE))
    assert found is not None
    assert 1e-4 < found.rms <= TOLERANCE


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(0, 5), st.sampled_from([0.004, 0.2]))
def test_agrees_with_pymatgen(seed, site, size):
    """One atom moved by much less, or much more, than the tolerance."""
    rng = np.random.default_rng(seed)
    original = crystal(rng)
    positions = original.positions.copy()
    positions[site] += size * np.array([0.6, 0.0, 0.8])
    other = rewritten(Geometry("", original.species, original.lattice, positions, original.moments), rng)
    matcher = StructureMatcher(ltol=0.001, stol=0.01, angle_tol=0.1, primitive_cell=False, scale=False)
    theirs = matcher.fit(
        *(Structure(g.lattice, g.species, g.positions, coords_are_cartesian=True) for g in (original, other))
    )
    assert (same(original, other) is not None) == theirs == (size < 0.1)


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(2, 3))
def test_a_supercell_is_the_same_crystal(seed, repeat):
    rng = np.random.default_rng(seed)
    original = crystal(rng)
    assert same(original, rewritten(original, rng, repeat=repeat)) is not None


@pytest.mark.parametrize("strain", [0.0005, -0.0005, 0.002, -0.002])
@pytest.mark.parametrize("cell", ["primitive", "conventional", "conventional_2x2x2"])
def test_strain_is_judged_alike_in_every_cell(strain, cell):
    first, second = (geometry_of(rocksalt("Ni", 4.17 * (1 + s), cell)) for s in (0.0, strain))
    assert (same(first, second) is not None) == (abs(strain) < 0.001)


def geometry_of(structure):
    species = tuple(site.specie.symbol for site in structure)
    return Geometry("", species, structure.lattice.matrix, structure.cart_coords)


def test_cells_of_one_crystal_that_no_basis_connects():
    cells = [geometry_of(rocksalt("Ni", 4.17, cell)) for cell in ("rhombohedral4", "tetragonal4", "conventional")]
    for first in cells:
        for second in cells:
            assert same(first, second) is not None


def test_other_elements_are_another_crystal():
    rng = np.random.default_rng(0)
    original = crystal(rng)
    swapped = tuple({"Ni": "Mn", "Mn": "Ni"}.get(s, s) for s in original.species)
    assert same(original, Geometry("", swapped, original.lattice, original.positions)) is None
    same_formula = ("Ni", "Mn", *original.species[2:])
    assert same(original, Geometry("", same_formula, original.lattice, original.positions)) is None


def test_mappings_of_a_cube_are_its_symmetries():
    assert len(lattice_mappings(np.eye(3) * 4.2, np.eye(3) * 4.2, 1e-3)) == 48
    assert len(lattice_mappings(np.diag([4.2, 4.2, 4.3]), np.diag([4.2, 4.2, 4.3]), 1e-3)) == 16
    assert len(lattice_mappings(np.eye(3) * 4.2, np.eye(3) * 4.3, 1e-3)) == 0
