"""Pairs, metal-oxygen bonds and metal-oxygen-metal bridges of a periodic structure, each with its image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datastore.schema import FloatArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Each pair within the cutoff once: atoms ``i`` and ``j``, vector ``D = r_j - r_i`` (P, 3), length ``d``."""

    i: IntArray
    j: IntArray
    D: FloatArray
    d: FloatArray

    @classmethod
    def build(cls, lattice: FloatArray, positions: FloatArray, cutoff: float) -> Pairs:
        """Half neighbour list with periodic images; an atom can be its own neighbour."""
        from vesin import NeighborList  # it loads torch where there is torch, which takes a second

        finder = NeighborList(cutoff=cutoff, full_list=False)
        i, j, vectors, lengths = finder.compute(
            points=np.ascontiguousarray(positions), box=np.ascontiguousarray(lattice), periodic=True, quantities="ijDd"
        )
        return cls(i.astype(np.int64), j.astype(np.int64), vectors, lengths)


@dataclass(frozen=True)
class Bonds:
    """Metal-oxygen bonds, sorted by oxygen. ``pair`` indexes Pairs; ``u`` (B, 3) points from oxygen to metal."""

    pair: IntArray
    metal: IntArray
    oxygen: IntArray
    u: FloatArray
    d: FloatArray
    sign: FloatArray
    """+1 where ``u`` is the pair's own vector ``D``, -1 where it is reversed."""

    @classmethod
    def build(cls, pairs: Pairs, is_oxygen: NDArray[np.bool_], cutoff: float) -> Bonds:
        """Bonds shorter than ``cutoff`` between a metal and an oxygen."""
        pair = np.flatnonzero((is_oxygen[pairs.i] != is_oxygen[pairs.j]) & (pairs.d < cutoff))
        from_oxygen = is_oxygen[pairs.i[pair]]
        oxygen = np.where(from_oxygen, pairs.i[pair], pairs.j[pair])
        order = np.argsort(oxygen, kind="stable")
        pair, from_oxygen, oxygen = pair[order], from_oxygen[order], oxygen[order]
        sign = np.where(from_oxygen, 1.0, -1.0)
        metal = np.where(from_oxygen, pairs.j[pair], pairs.i[pair])
        return cls(pair, metal, oxygen, sign[:, None] * pairs.D[pair], pairs.d[pair], sign)


def couples(group: IntArray) -> tuple[IntArray, IntArray]:
    """Index pairs of entries of the sorted array ``group`` that are equal, each pair once."""
    n = len(group)
    partners = np.searchsorted(group, group, side="right") - np.arange(n) - 1
    first = np.repeat(np.arange(n), partners)
    start = np.repeat(np.cumsum(partners) - partners, partners)
    return first, first + 1 + np.arange(len(first)) - start
