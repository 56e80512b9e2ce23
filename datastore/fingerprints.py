"""Short vectors that are equal for equal crystals, however they are written down, and close for close ones.

Of every atom the nearest distances to each species are listed (up to 12, none above 4.5 Angstrom); the lists of all
atoms of a species are joined and sorted, and the vector holds the means of equal shares of each sorted list. Distances
do not change under translation, rotation, reflection or another choice of the cell; sorting forgets the order of
sites; shares instead of values forget the number of cells. Sorted lists move no further than the distances in them do,
so a small displacement changes the vector little: it can be searched with a tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pymatgen.optimization.neighbors import find_points_in_spheres

from datastore.schema import FloatArray, content_hash

IntArray = NDArray[np.int64]

CUTOFF = 4.5
"""Angstrom: three shells of a rocksalt oxide. Distances above count as equal to it, so that nothing jumps there."""

NEIGHBOURS = 12
"""Distances per atom and species of neighbour: the first cation shell of rocksalt."""

SHARES = 8
"""Means per sorted list."""

_PERIODIC = np.ones(3, dtype=np.int64)


@dataclass(frozen=True)
class Geometry:
    """A periodic arrangement of atoms with signed moments: what decides whether two labels are of the same thing."""

    name: str
    species: tuple[str, ...]
    lattice: FloatArray
    """(3, 3) Angstrom, rows are lattice vectors."""
    positions: FloatArray
    """(N, 3) Cartesian, Angstrom."""
    moments: FloatArray | None = None
    """(N,) or (N, 3) muB, input moments."""

    @property
    def token(self) -> str:
        """Hash of species, lattice and positions (1e-6 Angstrom), in site order."""
        rounded = [(np.round(array, 6) + 0.0).tolist() for array in (self.lattice, self.positions)]
        return f"geometry:{content_hash([list(self.species), *rounded])}"

    @property
    def composition(self) -> tuple[tuple[str, int], ...]:
        """Elements and their numbers, reduced: equal for a cell and its supercells."""
        elements, counts = np.unique(self.species, return_counts=True)
        divisor = int(np.gcd.reduce(counts))
        return tuple((str(e), int(n) // divisor) for e, n in zip(elements, counts, strict=True))

    @property
    def density(self) -> float:
        """Atoms per cubic Angstrom."""
        return len(self.species) / abs(float(np.linalg.det(self.lattice)))


def environments(geometry: Geometry) -> FloatArray:
    """(N, elements * NEIGHBOURS) sorted distances in Angstrom from each atom to the nearest of each element."""
    fractional = geometry.positions @ np.linalg.inv(geometry.lattice)
    wrapped = np.ascontiguousarray((fractional - np.floor(fractional)) @ geometry.lattice)
    lattice = np.ascontiguousarray(geometry.lattice, dtype=np.float64)
    centre, neighbour, _, distance = find_points_in_spheres(wrapped, wrapped, CUTOFF, _PERIODIC, lattice, 1e-8)
    keep = distance > 1e-6
    centre, neighbour, distance = centre[keep], neighbour[keep], distance[keep]
    elements, kind = np.unique(geometry.species, return_inverse=True)
    result = np.full((len(geometry.species), len(elements), NEIGHBOURS), CUTOFF)
    block = centre * len(elements) + kind[neighbour]
    order = np.lexsort((distance, block))
    block, distance = block[order], distance[order]
    rank = np.arange(len(block)) - np.searchsorted(block, block)
    near = rank < NEIGHBOURS
    result.reshape(-1, NEIGHBOURS)[block[near], rank[near]] = distance[near]
    return result.reshape(len(geometry.species), -1)


def fingerprint(geometry: Geometry, distances: FloatArray | None = None) -> FloatArray:
    """(1 + elements^2 * SHARES,) Angstrom: cube root of the volume per atom, then the means described at the top.

    ``distances``: the :func:`environments` where they are known already. Only vectors of one ``composition`` are
    comparable.
    """
    distances = environments(geometry) if distances is None else distances
    elements, kind = np.unique(geometry.species, return_inverse=True)
    parts: list[ArrayLike] = [[geometry.density ** (-1 / 3)]]
    for centre in range(len(elements)):
        mine = distances[kind == centre].reshape(-1, len(elements), NEIGHBOURS)
        parts += [_shares(mine[:, neighbour].ravel()) for neighbour in range(len(elements))]
    return np.concatenate(parts)


def reach(elements: int, tolerance: float) -> float:
    """Largest distance of the fingerprints of two crystals whose atoms differ by ``tolerance`` (Angstrom, rms).

    A distance changes by no more than its two atoms move, so the rms change of a list is at most twice the tolerance
    (where every atom is neighbour as often as centre); the square of a mean is at most the mean of the squares.
    """
    return 2 * tolerance * float(np.sqrt(SHARES)) * elements + tolerance


def _shares(values: FloatArray) -> FloatArray:
    """(SHARES,) means of equal shares of the sorted values; a value on a border belongs to both in part."""
    total = np.concatenate([[0.0], np.cumsum(np.sort(values))])
    borders = np.linspace(0, len(values), SHARES + 1)
    return np.diff(np.interp(borders, np.arange(len(total)), total)) * SHARES / len(values)
