"""Every collinear ordering of a cell, each once up to symmetry and reversal of all moments.

An ordering is a sign per magnetic site. Its translations form a superlattice of the crystal's own (undecorated)
lattice, so all orderings are found by going through these superlattices, smallest first (Hart and Forcade, Phys.
Rev. B 77, 224115 (2008)), restricted to those that fit the cell. Signs are then reduced by the permutations that the
decorated cell really has. icet enumerates up to the symmetry of the primitive lattice, in one orientation, which need
not fit the cell and is too much symmetry where the cell is decorated or long; the tests compare where both apply.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from pymatgen.core import Structure

from workflows.progress import report
from workflows.structures.errors import StructureError
from workflows.structures.recognise import hermite_matrices
from workflows.structures.symmetry import SYMPREC, FloatArray, IntArray, primitive_lattice, site_symmetry

EXHAUSTIVE = 16
"""Magnetic sites up to which all orderings of a cell are enumerated unless told otherwise: 2^15 sign patterns."""

PERIOD = 4
"""Magnetic sites per magnetic primitive cell otherwise: with 4, FM, AFM-I, AFM-II and AFM-III of rocksalt are in."""

SAME = 0.02
"""Fractions of a vector; sites of one kind are never that close, and distortions within the symmetry are smaller."""


REPORTED = 1024
"""Sign patterns between two reports of progress: a few milliseconds."""


def enumerate_signs(
    structure: Structure,
    magnetic: IntArray,
    max_period: int | None = None,
    first: FloatArray | None = None,
    symprec: float = SYMPREC,
) -> Iterator[IntArray]:
    """(n,) signs +1/-1 of the ``magnetic`` sites (n indices), one representative per class, first sign up.

    Args:
        structure: undeformed, decorated cell; elements count as they are.
        magnetic: indices of the sites that carry a moment.
        max_period: most magnetic sites in the magnetic primitive cell (of the undecorated lattice); None: all
            orderings up to EXHAUSTIVE sites, PERIOD beyond.
        first: (m, n) signs preferred as representatives of their classes, the first of them where a class has several;
            they come in their class's turn.
        symprec: Angstrom that the structure may be off its symmetry.

    Small periods come first (FM is the very first), so the start of a long enumeration is the useful part. Memory
    grows with the patterns met, about 60 bytes each. Tells :func:`workflows.progress.report` how far it is.
    StructureError where there are none or 2^15 are exceeded.
    """
    if not len(magnetic):
        raise StructureError("no site has a moment, so there is nothing to enumerate; give one in magmoms")
    limit = max_period or (len(magnetic) if len(magnetic) <= EXHAUSTIVE else PERIOD)
    if min(limit, len(magnetic)) > EXHAUSTIVE:
        raise StructureError(
            f"all orderings of {min(limit, len(magnetic))} magnetic sites are more than can be listed; "
            f"give max_period {EXHAUSTIVE} or less"
        )
    permutations = site_symmetry(structure, symprec).permutations(magnetic)
    known = np.empty((0, len(magnetic))) if first is None else first[::-1]
    preferred = {key: signs for signs in known for key in sign_images(signs, permutations)}
    periods = list(_periods(structure, magnetic, limit, symprec))
    total = sum(2 ** int(groups.max()) for groups in periods)
    seen: set[bytes] = set()
    for number, signs in enumerate(itertools.chain.from_iterable(map(_patterns, periods))):
        if number % REPORTED == REPORTED - 1:
            report(number / total, "enumerating orderings")
        if sign_key(signs) not in seen:
            seen |= sign_images(signs, permutations)
            yield preferred.get(sign_key(signs), signs)


def sign_images(signs: IntArray, permutations: IntArray) -> set[bytes]:
    """Keys of all patterns that ``permutations`` (U, n) and reversal make of ``signs`` (n,)."""
    up = np.packbits(signs[permutations] > 0, axis=1)
    down = np.packbits(signs[permutations] < 0, axis=1)
    return {row.tobytes() for row in np.concatenate([up, down])}


def sign_key(signs: IntArray) -> bytes:
    """Key of one pattern of signs (n,)."""
    return np.packbits(signs > 0).tobytes()


def _patterns(groups: IntArray) -> Iterator[IntArray]:
    """(n,) signs, one for each of the ``groups`` (n,); that of group 0 is up."""
    bits = np.arange(int(groups.max()))
    for code in range(2 ** len(bits)):
        yield np.append(1, 1 - 2 * (code >> bits & 1))[groups]


def _periods(structure: Structure, magnetic: IntArray, limit: int, symprec: float) -> Iterator[IntArray]:
    """(n,) group per magnetic site, the same where a translation of the superlattice connects two; by size."""
    labels = [site.specie.symbol for site in structure]
    for site in magnetic:
        labels[site] = "magnetic"
    primitive, cell = primitive_lattice(structure, labels, symprec), structure.lattice.matrix
    multiple = round(abs(np.linalg.det(cell) / np.linalg.det(primitive)))
    each = len(magnetic) // multiple
    if each > limit:
        raise StructureError(f"the primitive cell has {each} magnetic sites; give max_period {each} or more")
    for size in range(1, limit // each + 1):
        for matrix in hermite_matrices(size) if multiple % size == 0 else ():
            superlattice = matrix @ primitive
            steps = cell @ np.linalg.inv(superlattice)
            if np.abs(steps - np.round(steps)).max() < SAME:
                yield _groups(structure.cart_coords[magnetic] @ np.linalg.inv(superlattice))


def _groups(fractional: FloatArray) -> IntArray:
    """(n,) number of the group of each site; equal fractional coordinates (n, 3) modulo 1 are one group."""
    apart = fractional[:, None] - fractional
    same = np.abs(apart - np.round(apart)).max(axis=-1) < SAME
    return np.unique(np.argmax(same, axis=1), return_inverse=True)[1]
