"""Symmetry of a cell as permutations of its sites: which spin arrangements are the same arrangement seen otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray
from pymatgen.core import Structure
from scipy.spatial import cKDTree

from workflows.structures.errors import StructureError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SYMPREC = 0.01
"""Angstrom. Files of relaxed structures are off their symmetry by a few thousandths."""


@dataclass(frozen=True)
class SiteSymmetry:
    """The K space-group operations of a crystal that map its *cell* onto itself, pure translations included.

    ``rotations`` (K, 3, 3) act on Cartesian column vectors and are orthogonal. ``sources`` (K, N): operation k takes
    site ``sources[k, i]`` to site i, so collinear moments ``m`` become ``m[sources[k]]``.
    """

    rotations: FloatArray
    sources: IntArray

    def permutations(self, sites: IntArray) -> IntArray:
        """(U, n) distinct ``sources`` restricted to ``sites`` (n,), numbered within them."""
        number = np.full(self.sources.shape[1], -1)
        number[sites] = np.arange(len(sites))
        return np.unique(number[self.sources[:, sites]], axis=0)


def site_symmetry(structure: Structure, symprec: float = SYMPREC) -> SiteSymmetry:
    """Symmetry of a decorated, ordered structure found by spglib (moments do not count). Raises StructureError.

    ``symprec``: Angstrom that sites and lattice may be off.
    """
    lattice, fractional = np.array(structure.lattice.matrix), np.array(structure.frac_coords)
    found = _dataset(structure, [site.specie.symbol for site in structure], symprec)
    # The nearest orthogonal matrices, because a lattice from a file has its symmetry up to symprec only.
    left, _, right = np.linalg.svd(lattice.T @ found.rotations @ np.linalg.inv(lattice.T))
    return SiteSymmetry(
        rotations=left @ right,
        sources=_sources(fractional, found.rotations, found.translations),
    )


def count_operations(structure: Structure, symprec: float) -> int:
    """Symmetry operations of a structure (moments do not count) within ``symprec`` Angstrom."""
    return len(_dataset(structure, [site.specie.symbol for site in structure], symprec).rotations)


def primitive_lattice(structure: Structure, labels: list[str], symprec: float = SYMPREC) -> FloatArray:
    """(3, 3) rows, Angstrom: primitive lattice of the crystal where sites of one label are of one kind.

    In the orientation of the structure, whose cell is a supercell of it.
    """
    return np.array(_dataset(structure, labels, symprec).primitive_lattice)


def _dataset(structure: Structure, labels: list[str], symprec: float) -> Any:
    numbers = np.unique(labels, return_inverse=True)[1] + 1
    cell: Any = (structure.lattice.matrix, structure.frac_coords, numbers)
    try:
        found = spglib.get_symmetry_dataset(cell, symprec=symprec)
    except spglib.SpglibError:  # what a failure will be from spglib's next version on
        found = None
    if found is None:
        raise StructureError(
            f"no symmetry can be found for {structure.composition.reduced_formula} ({len(structure)} atoms); "
            "look for atoms on top of each other"
        )
    return found


def _sources(fractional: FloatArray, rotations: IntArray, translations: FloatArray) -> IntArray:
    """(K, N) site where the atom at each site comes from: the nearest one, as spglib allows for symprec."""
    images = np.einsum("kij,nj->kni", rotations, fractional) + translations[:, None]
    tree = cKDTree(_wrapped(fractional), boxsize=1.0)
    distance, target = tree.query(_wrapped(images.reshape(-1, 3)))
    targets = target.reshape(images.shape[:2])
    if np.any(np.sort(targets, axis=1) != np.arange(len(fractional))):
        raise StructureError(
            f"symmetry operations do not permute the sites (off by {distance.max():.2g} of a cell vector); "
            "atoms lie too close to each other"
        )
    return np.argsort(targets, axis=1)


def _wrapped(fractional: FloatArray) -> FloatArray:
    """Into [0, 1); a tiny negative number modulo 1 is 1.0 in floating point, which the tree refuses."""
    wrapped = fractional % 1.0
    wrapped[wrapped >= 1.0] = 0.0
    return wrapped
