"""Are two crystals one and the same up to symmetry, choice of cell, order of sites and small displacements?

:func:`match` decides by construction: it maps the lattices on each other in every possible way, then one atom on each
atom that has like surroundings, and measures what is left. Tests compare it with pymatgen's StructureMatcher, which
takes tolerances relative to the free length per atom and is too slow for thousands of candidates.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from datastore.fingerprints import Geometry, IntArray, environments, fingerprint
from datastore.schema import FloatArray

FEW_PROBES, PROBES = 3, 8
"""Atoms, those with the most unusual surroundings, that are looked at first."""

PROBED = 2.5
"""Times the tolerance: the probes of a twin differ by less (rms), or they would hold most of all displacements."""

ANCHORS = 2
"""Atoms that are tried as the one which is mapped; a twin in which one of them has moved is found by another."""

SUPERCELL = 0.001
"""Angstrom: the parts of a supercell are equal within this."""

STRAIN_LENGTH = 10.0
"""Angstrom. Two lattices are equal where no two points that far apart move by more than the tolerance."""

BATCH = 128
_COMBINATIONS = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)), dtype=np.float64)


@dataclass(frozen=True)
class Match:
    """How one crystal lies on another."""

    rms: float
    """Angstrom: root mean square displacement, the common one removed."""
    sites: IntArray
    """(N,) site of the second crystal for each site of the first; empty where a smaller cell had to be compared."""


class Crystal:
    """A geometry with what comparing it needs, computed once; its sites are sorted by element."""

    def __init__(self, geometry: Geometry):
        self.order = np.argsort(np.array(geometry.species), kind="stable")
        species = np.array(geometry.species)[self.order]
        self.geometry = replace(geometry, species=tuple(species.tolist()), positions=geometry.positions[self.order])
        distances = environments(self.geometry)
        self.fingerprint = fingerprint(self.geometry, distances)
        self.environments = distances.astype(np.float32)
        self.elements, kind = np.unique(species, return_inverse=True)
        self.blocks = [
            slice(int(np.argmax(kind == k)), int(np.argmax(kind == k) + np.sum(kind == k))) for k in set(kind)
        ]
        self.blocks.sort(key=lambda block: block.start)

    @cached_property
    def unusual(self) -> IntArray:
        """Sites, those with the surroundings least like the mean of their element first."""
        departure = np.zeros(len(self.order))
        for block in self.blocks:
            mine = self.environments[block]
            departure[block] = np.linalg.norm(mine - mine.mean(axis=0), axis=1)
        return np.argsort(-departure, kind="stable")

    @cached_property
    def reduced(self) -> FloatArray:
        """(3, 3) short lattice vectors."""
        return np.array(Lattice(self.geometry.lattice).get_lll_reduced_lattice().matrix)

    @cached_property
    def fractional(self) -> FloatArray:
        """(N, 3) positions in units of the short lattice vectors."""
        return self.geometry.positions @ np.linalg.inv(self.reduced)

    def block_of(self, site: int) -> slice:
        """Sites of the element of a site."""
        return next(block for block in self.blocks if block.start <= site < block.stop)

    @cached_property
    def primitive(self) -> Crystal:
        """The crystal in its smallest cell, or itself where that is it."""
        site = int(self.unusual[0])
        block = self.block_of(site)
        gaps = np.linalg.norm(self.environments[block] - self.environments[site], axis=1)
        if np.sum(gaps <= SUPERCELL) < 2:  # an atom with surroundings of its own: no supercell
            return self
        whole = Structure(
            self.geometry.lattice, self.geometry.species, self.geometry.positions, coords_are_cartesian=True
        )
        small = SpacegroupAnalyzer(whole, symprec=SUPERCELL).find_primitive()
        if small is None or len(small) == len(self.order):
            return self
        species = tuple(site.specie.symbol for site in small)
        return Crystal(Geometry(self.geometry.name, species, small.lattice.matrix, small.cart_coords))


def likeness(elements: int, tolerance: float) -> float:
    """Angstrom: the surroundings of an atom and of its image differ by less, for random displacements of ``tolerance``.

    Each of 12 distances per element changes by sqrt(2/3) of the tolerance (rms, two atoms, one of three directions).
    """
    return tolerance * float(np.sqrt(10 * elements))


def match(first: Crystal, second: Crystal, tolerance: float) -> Match | None:
    """How ``first`` lies on ``second``, None where they differ.

    They are the same where a rotation or reflection takes the lattice of one to that of the other with a strain below
    ``tolerance`` / 10 Angstrom, and the atoms then differ by at most ``tolerance`` (Angstrom, rms).
    """
    strain = tolerance / STRAIN_LENGTH
    if first.geometry.composition != second.geometry.composition:
        return None
    if abs(np.log(first.geometry.density / second.geometry.density)) > 3.1 * strain:
        return None
    if len(first.order) == len(second.order):
        mappings = lattice_mappings(first.reduced, second.reduced, strain)
        if len(mappings):
            return _on_lattice(first, second, mappings, tolerance)
    small = (first.primitive, second.primitive)
    if len(small[0].order) != len(small[1].order) or small == (first, second):
        return None
    mappings = lattice_mappings(small[0].reduced, small[1].reduced, strain)
    found = _on_lattice(small[0], small[1], mappings, tolerance)
    return None if found is None else Match(found.rms, np.zeros(0, dtype=np.int64))


def lattice_mappings(first: FloatArray, second: FloatArray, strain: float) -> FloatArray:
    """(n, 3, 3) integers M such that a rotation or reflection takes M @ ``first`` to ``second`` within ``strain``.

    ``first``, ``second``: (3, 3) short lattice vectors. The strain is the largest singular value of what is left.
    """
    vectors = _COMBINATIONS @ first
    lengths = np.linalg.norm(vectors, axis=1)
    wanted = np.linalg.norm(second, axis=1)
    choices = [np.flatnonzero(np.abs(lengths - length) <= strain * length) for length in wanted]
    triples = np.array(list(itertools.product(*choices)), dtype=np.int64).reshape(-1, 3)
    gram = vectors @ vectors.T
    for i, j in ((0, 1), (0, 2), (1, 2)):
        slack = 2.1 * strain * wanted[i] * wanted[j]
        triples = triples[np.abs(gram[triples[:, i], triples[:, j]] - second[i] @ second[j]) <= slack]
    candidates = _COMBINATIONS[triples]
    candidates = candidates[np.abs(np.abs(np.linalg.det(candidates)) - 1) < 1e-6]
    images = candidates @ first
    u, _, vt = np.linalg.svd(np.swapaxes(images, 1, 2) @ second)  # nearest rotation (Kabsch), reflections included
    left = np.linalg.norm(np.linalg.inv(second) @ (images @ (u @ vt)) - np.eye(3), ord=2, axis=(1, 2))
    return np.asarray(candidates[left <= strain])


def _on_lattice(first: Crystal, second: Crystal, mappings: FloatArray, tolerance: float) -> Match | None:
    limit = 1.6 * likeness(len(first.elements), tolerance)
    images = first.fractional @ np.linalg.inv(mappings)  # (n, N, 3)
    for anchor in first.unusual[:ANCHORS].tolist():
        block = second.block_of(anchor)
        gaps = np.linalg.norm(second.environments[block] - first.environments[anchor], axis=1)
        targets = block.start + np.flatnonzero(gaps <= limit)
        shifts = second.fractional[targets][None] - images[:, anchor][:, None]  # (n, targets, 3)
        which = np.repeat(np.arange(len(mappings)), len(targets))
        found = _first_fit(first, second, images, which, shifts.reshape(-1, 3), tolerance)
        if found is not None:
            return found
    return None


def _first_fit(
    first: Crystal, second: Crystal, images: FloatArray, which: IntArray, shifts: FloatArray, tolerance: float
) -> Match | None:
    """The first of the mappings ``which`` with ``shifts`` under which all atoms fit; probes sort out most of them."""
    for start in range(0, len(which), BATCH):
        fitting = np.arange(start, min(start + BATCH, len(which)))
        for count in (FEW_PROBES, PROBES):
            probes = first.unusual[:count]
            moved = images[which[fitting]][:, probes] + shifts[fitting][:, None]
            left, _ = _nearest(first, second, moved, probes)
            fitting = fitting[_rms(left) <= PROBED * tolerance]
        for k in fitting:
            whole = (images[which[k]] + shifts[k])[None]
            vectors, (sites,) = _nearest(first, second, whole, np.arange(len(first.order)))
            rms = float(_rms(vectors)[0])
            if rms <= tolerance and len(set(sites.tolist())) == len(sites):
                original = np.empty(len(sites), dtype=np.int64)
                original[first.order] = second.order[sites]
                return Match(rms, original)
    return None


def _nearest(
    first: Crystal, second: Crystal, moved: FloatArray, sites: NDArray[np.int64]
) -> tuple[FloatArray, IntArray]:
    """From each of ``sites``, moved to (n, sites, 3), to the nearest atom of its element in ``second``.

    Vectors (n, sites, 3) in Angstrom, and those atoms (n, sites).
    """
    vectors = np.empty_like(moved)
    nearest = np.empty(moved.shape[:2], dtype=np.int64)
    for mine, theirs in zip(first.blocks, second.blocks, strict=True):
        here = np.flatnonzero((sites >= mine.start) & (sites < mine.stop))
        gaps = second.fractional[theirs] - moved[:, here, None]
        gaps = (gaps - np.round(gaps)) @ second.reduced
        best = np.argmin(np.einsum("nsax,nsax->nsa", gaps, gaps), axis=2)
        vectors[:, here] = np.take_along_axis(gaps, best[:, :, None, None], axis=2)[:, :, 0]
        nearest[:, here] = theirs.start + best
    return vectors, nearest


def _rms(vectors: FloatArray) -> FloatArray:
    """(n,) root mean square of (n, atoms, 3) vectors, the mean over the atoms removed."""
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    return np.asarray(np.sqrt(np.mean(np.sum(centred**2, axis=2), axis=1)))
