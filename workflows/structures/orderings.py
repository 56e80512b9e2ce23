"""Collinear magnetic orderings of the fcc cation lattice by propagation vector.

The sign of a cation at R = (a/2) n is that of cos(q.R - pi/4), with q = (pi/a) p and an integer triple p, so that
q.R = (pi/2) p.n and only p.n modulo 4 matters: 0 and 1 are up, 2 and 3 are down. For AFM-I and AFM-II p.n is even on
every cation and the sign is plainly cos(q.R). Integers decide; a deformation cannot change an ordering.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from workflows.structures.errors import StructureError
from workflows.structures.rocksalt import ANION, CELLS, IntArray

FloatArray = NDArray[np.float64]

DEFAULT_MOMENTS = {"Co": 1.0, "Ni": 2.5, "Mn": 3.0, ANION: 0.0}
"""Initial moments in muB (magnitudes), the MAGMOM values of the SpinMultiNet dataset."""

PROPAGATION: dict[str, tuple[tuple[int, int, int], ...]] = {
    "FM": ((0, 0, 0),),
    "AFM-I": ((0, 0, 2), (0, 2, 0), (2, 0, 0)),
    "AFM-II": ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)),
    "AFM-III": ((2, 1, 0), (0, 2, 1), (1, 0, 2), (1, 2, 0), (0, 1, 2), (2, 0, 1)),
}
"""Propagation vectors q in units of pi/a, the star of each; the first that fits a cell is used.

FM (0,0,0); AFM-I (0,0,1), AFM-II (1/2,1/2,1/2), AFM-III (1,1/2,0) in units of 2 pi/a.
"""

CUSTOM = "custom"
FILE = "file"
"""The moments that a structure file holds."""


def apply_ordering(
    structure: Structure,
    ordering: str,
    magmoms: Mapping[str, float] | None = None,
    signs: Sequence[int] | None = None,
) -> Structure:
    """Copy of ``structure`` with the site property ``magmom`` (signed, muB).

    Args:
        structure: from :func:`rocksalt`, or a deformed copy of one (site property ``grid_index``).
        ordering: a name in PROPAGATION, or ``custom`` with ``signs``.
        magmoms: magnitude per element in muB, over DEFAULT_MOMENTS. Ferrimagnets arise by themselves in mixtures:
            the sign belongs to the site, the magnitude to the element.
        signs: +1 or -1 per cation in site order, for ``custom`` only.

    Raises:
        StructureError: unknown ordering, one that does not fit the cell (names the cells that do), magmoms of an
            absent element, no moment known for an element.
    """
    symbols = [site.specie.symbol for site in structure]
    cations = np.array([symbol != ANION for symbol in symbols])
    if signs is not None or ordering == CUSTOM:
        cation_signs = custom_signs(ordering, signs, int(cations.sum()))
    else:
        cation_signs = propagation_signs(ordering, _grid_index(structure)[cations], _grid_vectors(structure))
    moments = site_moments(symbols, cation_signs, magmoms or {}, ordering)
    result = structure.copy()
    result.add_site_property("magmom", moments.tolist())
    return result


def propagation_vector(ordering: str, vectors: IntArray) -> tuple[int, int, int]:
    """First propagation vector (units pi/a) of the ordering's star that is a period of the cell.

    ``vectors``: (3, 3) lattice vectors in units of a/2. Raises StructureError with the names of cells that fit.
    """
    if ordering not in PROPAGATION:
        raise StructureError(f"ordering {ordering!r} is unknown; use {', '.join(PROPAGATION)} (or custom with signs)")
    for q in PROPAGATION[ordering]:
        if _fits(q, vectors):
            return q
    named = [name for name, rows in CELLS.items() if any(_fits(q, np.array(rows)) for q in PROPAGATION[ordering])]
    raise StructureError(
        f"ordering {ordering} does not fit the cell {vectors.tolist()} (rows in units of a/2); "
        f"use cell {' or '.join(named)}, or double the cell along a vector"
    )


def propagation_signs(ordering: str, index: IntArray, vectors: IntArray) -> IntArray:
    """(n,) signs +1/-1 of cations at grid indices ``index`` (n, 3) in a cell of ``vectors`` (3, 3), units a/2."""
    q = np.array(propagation_vector(ordering, vectors))
    return np.where((index @ q) % 4 < 2, 1, -1)


def custom_signs(ordering: str, signs: Sequence[int] | None, n_cations: int) -> IntArray:
    """(n,) signs as given by the user, checked."""
    if ordering in PROPAGATION:
        raise StructureError(f"ordering {ordering} has its own signs; leave out signs or name the ordering 'custom'")
    if signs is None:
        raise StructureError("ordering 'custom' needs signs: a list of +1 or -1, one per cation in site order")
    array = np.array(signs, dtype=np.float64)
    if array.shape != (n_cations,) or not np.all(np.abs(array) == 1):
        raise StructureError(f"ordering {ordering!r}: signs must be {n_cations} values +1 or -1, one per cation")
    return array.astype(np.int64)


def site_moments(
    symbols: Sequence[str], cation_signs: IntArray, magmoms: Mapping[str, float], ordering: str
) -> FloatArray:
    """(N,) signed moments in muB; O carries none unless the ordering is FM and ``magmoms`` gives it one."""
    present = sorted(set(symbols))
    magnitude = {symbol: moment_magnitude(symbol, magmoms) for symbol in present}
    absent = sorted(set(magmoms) - set(present))
    if absent:
        raise StructureError(f"magmoms: {', '.join(absent)} not in the structure ({', '.join(present)}); remove it")
    if ordering != "FM" and magnitude.get(ANION):
        raise StructureError(f"magmoms: O has no sign in {ordering}; set O to 0")
    moments = np.array([magnitude[symbol] for symbol in symbols])
    moments[np.array([symbol != ANION for symbol in symbols])] *= cation_signs
    return moments


def moment_magnitude(symbol: str, magmoms: Mapping[str, float]) -> float:
    """Initial moment of an element in muB (not negative): as given, or the default."""
    if symbol not in magmoms and symbol not in DEFAULT_MOMENTS:
        raise StructureError(
            f"no initial moment is known for {symbol}; add it to magmoms (muB), such as {{{symbol}: 4.0}}"
        )
    value = float(magmoms.get(symbol, DEFAULT_MOMENTS.get(symbol, 0.0)))
    if not math.isfinite(value) or value < 0:
        raise StructureError(f"magmoms: {symbol} is {value}; give a magnitude in muB, the ordering gives the sign")
    return value


def fitting_orderings(structure: Structure) -> list[str]:
    """Names of the orderings by propagation vector that the cell of ``structure`` can hold."""
    vectors = _grid_vectors(structure)
    return [name for name, star in PROPAGATION.items() if any(_fits(q, vectors) for q in star)]


def _fits(q: Sequence[int], vectors: IntArray) -> bool:
    """Whether every lattice vector is a whole period of the wave: (pi/2) q.v is a multiple of 2 pi."""
    return bool(np.all(vectors @ np.array(q) % 4 == 0))


def _grid_index(structure: Structure) -> IntArray:
    """(N, 3) grid indices of all sites."""
    index = structure.site_properties.get("grid_index")
    if index is None or any(i is None for i in index):
        raise StructureError(
            "the structure has no 'grid_index' site property, so its fcc lattice is unknown; make it with "
            "rocksalt(), index it with index_rocksalt(), or give signs with ordering 'custom'"
        )
    return np.array(index, dtype=np.int64)


def _grid_vectors(structure: Structure) -> IntArray:
    """(3, 3) lattice vectors in units of a/2, kept through deformations."""
    vectors = structure.properties.get("grid_vectors")
    if vectors is None:
        raise StructureError(
            "the structure has no 'grid_vectors' property; make it with rocksalt() or index_rocksalt()"
        )
    return np.array(vectors, dtype=np.int64)
