"""The content of a geometry, for hashing: the one rule that ids of parents and pairs follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datastore.schema import FloatArray, content_hash


def canonical(species: Sequence[str], lattice: FloatArray, positions: FloatArray) -> list[Any]:
    """Content of a geometry for hashing, rounded to 1e-8 Angstrom; adding 0.0 turns -0.0 into 0.0."""
    return [list(species), (lattice.round(8) + 0.0).tolist(), (positions.round(8) + 0.0).tolist()]


def geometry_id(species: Sequence[str], lattice: FloatArray, positions: FloatArray) -> str:
    """16 hex digits of a geometry in site order: the ``pair_id`` that all its orderings share.

    ``lattice`` (3, 3) and ``positions`` (N, 3) in Angstrom.
    """
    return content_hash(canonical(species, lattice, positions), 16)
