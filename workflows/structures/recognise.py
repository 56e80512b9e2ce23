"""Find the fcc cation lattice in somebody else's rocksalt structure, so that orderings apply to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from workflows.structures.errors import StructureError
from workflows.structures.orderings import fitting_orderings, propagation_vector
from workflows.structures.rocksalt import ANION

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MAX_MULTIPLE = 8
"""Largest supercell tried for an ordering; AFM-III needs 4 times the primitive cell."""


def index_rocksalt(structure: Structure) -> Structure:
    """Copy with ``grid_index`` per site and ``grid_vectors``, as :func:`rocksalt` makes them.

    Works for any rocksalt-type MO (metals and O, any cell, orientation and site order), also when distorted as long as
    every site is nearer to its own grid point than to the next. The structure is not moved; grid axes are the
    metal-oxygen bonds nearest to x, y, z. Raises StructureError where it is no rocksalt oxide.
    """
    _check_composition(structure)
    anion = np.array([site.specie.symbol == ANION for site in structure])
    first = int(np.argmin(anion))
    lattice = structure.lattice.matrix
    vectors = np.round(lattice @ np.linalg.inv(_bond_axes(structure, first))).astype(np.int64)
    offsets = (structure.frac_coords - structure.frac_coords[first]) @ vectors
    index = np.round(offsets).astype(np.int64)
    if not _is_rocksalt(index, vectors, anion):
        raise _not_rocksalt(structure, "its sites do not lie on alternating metal and oxygen planes")
    result = structure.copy()
    result.add_site_property("grid_index", index.tolist())
    result.properties = {"cell": "custom", **structure.properties, "grid_vectors": vectors.tolist()}
    return result


def fitting_supercell(structure: Structure, ordering: str) -> Structure:
    """The smallest, most compact supercell (indexed) of a rocksalt structure that can hold ``ordering``.

    Returns the indexed structure itself where the ordering fits already. StructureError where it is no rocksalt
    oxide, or the ordering is unknown or fits no multiple up to MAX_MULTIPLE.
    """
    indexed = structure if "grid_vectors" in structure.properties else index_rocksalt(structure)
    vectors = np.array(indexed.properties["grid_vectors"], dtype=np.int64)
    if ordering in fitting_orderings(indexed):
        return indexed
    for multiple in range(2, MAX_MULTIPLE + 1):
        fitting = [matrix for matrix in hermite_matrices(multiple) if _holds(ordering, matrix @ vectors)]
        if fitting:
            shapes = [compact(matrix, structure.lattice.matrix) for matrix in fitting]
            best = min(shapes, key=lambda matrix: float(((matrix @ structure.lattice.matrix) ** 2).sum().round(6)))
            supercell = structure.copy(properties={})
            supercell.make_supercell(best)
            return index_rocksalt(supercell)
    propagation_vector(ordering, vectors)  # raises: unknown, or which cells fit
    raise AssertionError("unreachable")


def hermite_matrices(determinant: int) -> Iterator[IntArray]:
    """All (3, 3) Hermite normal forms with this determinant: one per distinct superlattice."""
    for a, b in itertools.product(range(1, determinant + 1), repeat=2):
        if determinant % (a * b) == 0:
            c = determinant // (a * b)
            for x, y, z in itertools.product(range(b), range(c), range(c)):
                yield np.array([[a, x, y], [0, b, z], [0, 0, c]], dtype=np.int64)


def compact(matrix: IntArray, lattice: FloatArray) -> IntArray:
    """Right-handed matrix of the same supercell of ``lattice`` (3, 3) with short vectors (LLL).

    Normal forms alone are needle-shaped.
    """
    reduced = Lattice(matrix @ lattice).get_lll_reduced_lattice().matrix
    compact = np.round(reduced @ np.linalg.inv(lattice)).astype(np.int64)
    return compact if np.linalg.det(reduced) > 0 else -compact


def _holds(ordering: str, vectors: IntArray) -> bool:
    try:
        propagation_vector(ordering, vectors)
    except StructureError:
        return False
    return True


def _check_composition(structure: Structure) -> None:
    if not structure.is_ordered:
        raise _not_rocksalt(structure, "it has partially occupied sites; use an ordered structure")
    oxygens = sum(site.specie.symbol == ANION for site in structure)
    if 2 * oxygens != len(structure):
        raise _not_rocksalt(structure, f"it has {len(structure) - oxygens} metals and {oxygens} O, not equally many")


def _bond_axes(structure: Structure, site: int) -> FloatArray:
    """(3, 3) rows: three near-perpendicular metal-oxygen bonds of a site, each the nearest to x, y, z, Angstrom."""
    a = (8 * structure.volume / len(structure)) ** (1 / 3)
    neighbours = [n for n in structure.get_neighbors(structure[site], 0.75 * a) if n.specie.symbol == ANION]
    bonds = np.array([n.coords - structure[site].coords for n in sorted(neighbours, key=lambda n: n.nn_distance)[:6]])
    if len(bonds) < 6:
        raise _not_rocksalt(structure, f"metal site {site} has {len(bonds)} oxygen neighbours, not 6")
    directions = bonds / np.linalg.norm(bonds, axis=1)[:, None]
    # Antisymmetrise: the mean of a bond and its opposite is free of the shift of the metal atom.
    opposite = np.argmin(directions @ directions.T, axis=1)
    centred = (bonds - bonds[opposite]) / 2
    chosen: list[int] = []
    for axis in np.eye(3):
        free = [i for i in range(6) if all(abs(directions[i] @ directions[j]) < 0.5 for j in chosen)]
        if not free:
            raise _not_rocksalt(structure, f"the bonds of metal site {site} form no octahedron")
        chosen.append(max(free, key=lambda i: round(float(directions[i] @ axis), 6)))
    return np.array(centred[chosen])


def _is_rocksalt(index: IntArray, vectors: IntArray, anion: NDArray[np.bool_]) -> bool:
    """Whether the grid is consistent: right volume, even lattice vectors and metals, odd oxygens, no site twice."""
    if abs(round(float(np.linalg.det(vectors)))) != len(index) or np.any(vectors.sum(axis=1) % 2):
        return False
    wrapped = np.round((index @ np.linalg.inv(vectors)) % 1.0, 6) % 1.0
    distinct = len(np.unique(wrapped, axis=0)) == len(index)
    return distinct and bool(np.array_equal(index.sum(axis=1) % 2 == 1, anion))


def _not_rocksalt(structure: Structure, why: str) -> StructureError:
    return StructureError(
        f"{structure.composition.reduced_formula} ({len(structure)} atoms) is not a rocksalt oxide: {why}; "
        "give the signs yourself with ordering 'custom'"
    )
