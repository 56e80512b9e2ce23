"""Which parents are one crystal: decorations that a translation or a rotation makes the same, or a file and a species.

Configurations of such parents are twins where the isometry takes one to the other, so they are compared on the first
of these parents. Whether two parents are one crystal is decided by :func:`datastore.isometry.match`; cells of
different size are not, because their labels differ in what a cell can hold and in k-points.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Structure

from datastore.fingerprints import Geometry, reach
from datastore.isometry import STRAIN_LENGTH, Crystal, lattice_mappings, match
from workflows.structures.symmetry import FloatArray, IntArray

GIVEN, COMPUTED = 1e-5, 1e-3
"""Angstrom, rms: given cells that differ less are the same; computed ones converge no better than the second."""


@dataclass(frozen=True)
class Isometry:
    """Takes one crystal to another: ``turn`` (3, 3) orthogonal, on column vectors, and ``sites`` (N,).

    Site i goes to site ``sites[i]`` of the other.
    """

    turn: FloatArray
    sites: IntArray

    def moments(self, moments: FloatArray, axial: bool) -> FloatArray:
        """Moments (N,) or (N, 3) on the sites of the other crystal; ``axial`` vectors turn with the lattice."""
        result = np.empty_like(moments)
        turned = np.linalg.det(self.turn) * moments @ self.turn.T if axial and moments.ndim == 2 else moments
        result[self.sites] = turned
        return result


def isometry(first: Crystal, second: Crystal, tolerance: float) -> Isometry | None:
    """How ``first`` lies on ``second`` (cells of equal size), None where they differ by more than ``tolerance``.

    ``tolerance``: Angstrom, rms of the atoms; strains up to a tenth of it per Angstrom are let pass.
    """
    found = match(first, second, tolerance)
    if found is None or not len(found.sites):
        return None
    theirs = second.geometry.positions[np.argsort(second.order)][found.sites]
    fractional = theirs @ np.linalg.inv(second.reduced)
    mine = first.geometry.positions[np.argsort(first.order)]
    for mapping in lattice_mappings(first.reduced, second.reduced, tolerance / STRAIN_LENGTH):
        image = mapping @ first.reduced
        left, _, right = np.linalg.svd(image.T @ second.reduced)  # nearest rotation (Kabsch)
        apart = mine @ np.linalg.inv(image) - fractional
        apart -= apart[0]
        apart = (apart - np.round(apart)) @ second.reduced
        apart -= apart.mean(axis=0)
        if np.sqrt(np.mean(np.sum(apart**2, axis=1))) <= tolerance:
            return Isometry((left @ right).T, found.sites)
    return None


class Crystals:
    """The different crystals among parents, each by the first parent that is one."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], list[tuple[str, Hashable, bool, Structure, Crystal]]] = {}

    def find(
        self, structure: Structure, name: str, entry: Hashable, computed: bool
    ) -> tuple[str, Structure, Isometry | None]:
        """Name and structure of the first parent that is the same crystal, and the way there (None: the way is none).

        A new crystal is its own. ``entry``: cells of one entry are apart however close they are, as they were computed
        in different orderings; ``computed``: whether this cell was.
        """
        symbols = tuple(site.specie.symbol for site in structure)
        crystal = Crystal(Geometry(name, symbols, np.array(structure.lattice.matrix), np.array(structure.cart_coords)))
        known = self._known.setdefault(tuple(sorted(symbols)), [])
        for other_name, other_entry, other_computed, other, theirs in known:
            if other_name == name:
                return name, other, None
            tolerance = COMPUTED if computed and other_computed else GIVEN
            off = float(np.linalg.norm(crystal.fingerprint - theirs.fingerprint))
            if other_entry == entry or off > reach(len(crystal.elements), tolerance):
                continue
            found = isometry(crystal, theirs, tolerance)
            if found is not None:
                return other_name, other, found
        known.append((name, entry, computed, structure, crystal))
        return name, structure, None
