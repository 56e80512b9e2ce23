"""Twins: configurations that symmetry, reversal of all moments or a rotation of all spins make the same one.

Two configurations of a parent are twins where an operation of the parent's space group takes the geometry of one to
that of the other and, with it, its moments to those of the other up to one global reversal. An operation R takes a
deformation gradient F (symmetric, no displacements) to R F R^T, so the canonical form of a configuration is the
smallest image of (F, moments) over all operations. Random displacements leave only the identity.

Without spin-orbit coupling the energy depends on the scalar products of the moments only, so vectors are compared by
these, and collinear ones are the same along any axis. With it, moments turn as axial vectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from pymatgen.core import Structure

from workflows.structures.equivalence import Isometry
from workflows.structures.symmetry import SYMPREC, FloatArray, IntArray, SiteSymmetry, site_symmetry

Kept = dict[tuple[str, bytes], tuple[str, str]]
"""Of a crystal and a key: parent and ordering of the configuration that was kept."""

RESOLUTION = 1e-6
"""muB, or muB^2 of scalar products: closer moments are equal."""

STRAIN_RESOLUTION = 1e-6
"""Closer components of a deformation gradient are equal."""

SHOWN = 5
"""Pairs of orderings that a summary names."""


class Twins:
    """The arrangements of one parent, and which of them are twins in a given geometry.

    Keys are cached per set of operations that a strain leaves, so a geometry costs a few matrix products.

    Where ``way`` is given, the parent is another one that it takes to ``structure``: keys are then those of the same
    configurations of ``structure``. ``symprec``: Angstrom, of the symmetry.
    """

    def __init__(
        self,
        structure: Structure,
        arrangements: Sequence[FloatArray],
        spin_orbit: bool = False,
        way: Isometry | None = None,
        symprec: float = SYMPREC,
    ) -> None:
        self.structure, self.spin_orbit, self.symprec = structure, spin_orbit, symprec
        self.turn = np.eye(3) if way is None else way.turn
        if way is not None:
            arrangements = [way.moments(moments, axial=spin_orbit) for moments in arrangements]
        self.arrangements = arrangements if spin_orbit else [along_axis(moments) for moments in arrangements]
        self._keys: dict[bytes, list[bytes]] = {}

    def keys(self, gradient: FloatArray | None) -> list[bytes]:
        """A key per arrangement, equal for twins only.

        ``gradient`` (3, 3): deformation gradient, symmetric. None: random displacements, where keys may be compared
        within this one geometry only.
        """
        if gradient is None:
            return self._moment_keys(None)
        turns = self._distinct[0]
        gradient = self.turn @ gradient @ self.turn.T
        strains = np.einsum("kij,jl,kml->kim", turns, gradient, turns).reshape(-1, 9)
        images = _integers(strains, STRAIN_RESOLUTION)
        best = _smallest(images)
        geometry = images[best[0]].tobytes()
        return [_digest(geometry + key) for key in self._moment_keys(best)]

    @cached_property
    def _symmetry(self) -> SiteSymmetry:
        return site_symmetry(self.structure, self.symprec)

    @cached_property
    def _distinct(self) -> tuple[FloatArray, IntArray]:
        """(T, 3, 3) rotations of the parent, each once, and (K,) which of them an operation has."""
        rotations = self._symmetry.rotations
        _, first, inverse = np.unique(_integers(rotations), axis=0, return_index=True, return_inverse=True)
        return rotations[first], inverse.reshape(-1)

    def _moment_keys(self, turns: IntArray | None) -> list[bytes]:
        """A key per arrangement: its smallest image under the operations with these ``turns``, and reversal.

        ``turns`` are indices into the distinct rotations; None: the identity only.
        """
        name = b"" if turns is None else turns.tobytes()
        if name not in self._keys:
            if turns is None:
                sources, rotations = np.arange(len(self.structure))[None], np.eye(3)[None]
            else:
                chosen = np.isin(self._distinct[1], turns)
                sources, rotations = self._symmetry.sources[chosen], self._symmetry.rotations[chosen]
            unique = np.unique(sources, axis=0)
            self._keys[name] = [
                _vector_key(moments, sources, rotations)
                if moments.ndim == 2 and self.spin_orbit
                else _product_key(moments, unique)
                if moments.ndim == 2
                else _sign_key(moments, unique)
                for moments in self.arrangements
            ]
        return self._keys[name]


class TwinCount:
    """Configurations that a run of the generator kept and left out.

    ``removed`` counts those left out by (parent id, their ordering, ordering of the twin that was kept, with its parent
    where that is another one). ``notes``: what else the user should know about the parents and their orderings.
    """

    def __init__(self) -> None:
        self.removed: Counter[tuple[str, str, str]] = Counter()
        self.notes: list[str] = []
        self._kept: Kept = {}

    def rows(self) -> list[dict[str, Any]]:
        """``removed`` as plain rows: parent, ordering, twin_of, count."""
        names = ("parent", "ordering", "twin_of")
        return [{**dict(zip(names, key, strict=True)), "count": count} for key, count in self.removed.items()]

    def __str__(self) -> str:
        pairs: Counter[tuple[str, str]] = Counter()
        for (_, ordering, kept), count in self.removed.items():
            pairs[ordering, kept] += count
        shown = [
            f"{count} {ordering}" + ("" if ordering == kept else f" like {kept}")
            for (ordering, kept), count in pairs.most_common(SHOWN)
        ]
        more = ", ..." if len(pairs) > SHOWN else ""
        return (
            f"{self.removed.total()} twins left out, the same as others by symmetry or reversal of all moments: "
            f"{', '.join(shown)}{more}"
        )

    def is_new(self, crystal: str, key: bytes, parent: str, ordering: str, kept: Kept | None = None) -> bool:
        """Whether no twin was kept before; counts the configuration as removed otherwise.

        ``crystal``: id of the first parent that is the same crystal as ``parent``. ``kept`` holds the keys to compare
        with; default: all of this run. Memory: about 200 bytes per key.
        """
        kept = self._kept if kept is None else kept
        twin = kept.get((crystal, key))
        if twin is None:
            kept[crystal, key] = (parent, ordering)
            return True
        name = twin[1] if twin[0] == parent else f"{twin[1]} of {twin[0]}"
        self.removed[parent, ordering, name] += 1
        return False


def along_axis(moments: FloatArray) -> FloatArray:
    """Collinear vectors as signed numbers; anything else as it is."""
    if moments.ndim == 1 or not moments.any():
        return moments if moments.ndim == 1 else np.zeros(len(moments))
    axis = moments[np.argmax(np.linalg.norm(moments, axis=1))]
    axis = axis / np.linalg.norm(axis)
    along = moments @ axis
    collinear = np.abs(moments - np.outer(along, axis)).max() < RESOLUTION
    return np.asarray(along) if collinear else moments


def _sign_key(moments: FloatArray, sources: IntArray) -> bytes:
    """Collinear moments (N,), up to permutation and reversal."""
    images = _integers(moments)[sources]
    images = np.concatenate([images, -images])
    return _digest(b"1" + images[_smallest(images)[0]].tobytes())


def _product_key(moments: FloatArray, sources: IntArray) -> bytes:
    """Vector moments (N, 3), up to permutation, rotation and reversal: their scalar products, row by row."""
    products = _integers(moments @ moments.T)
    rows = []
    for site in range(len(moments)):
        images = products[sources[:, [site]], sources]
        best = _smallest(images)
        rows.append(images[best[0]])
        sources = sources[best]
    return _digest(b"2" + np.array(rows).tobytes())


def _vector_key(moments: FloatArray, sources: IntArray, turns: FloatArray) -> bytes:
    """Vector moments (N, 3) bound to the lattice: images are permuted and turned as axial vectors, and reversed."""
    axial = np.linalg.det(turns)[:, None, None] * turns
    images = _integers(np.einsum("kij,knj->kni", axial, moments[sources])).reshape(len(sources), -1)
    images = np.concatenate([images, -images])
    return _digest(b"3" + images[_smallest(images)[0]].tobytes())


def _smallest(rows: IntArray) -> IntArray:
    """Indices of the lexicographically smallest rows of (K, M); more than one where they are equal."""
    left = np.arange(len(rows))
    for column in range(rows.shape[1]):
        if len(left) == 1:
            break
        values = rows[left, column]
        left = left[values == values.min()]
    return left


def _integers(values: FloatArray, resolution: float = RESOLUTION) -> IntArray:
    return np.rint(values / resolution).astype(np.int64)


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()
