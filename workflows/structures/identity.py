"""Ids of geometries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from datastore.schema import content_hash

FloatArray = NDArray[np.float64]


def parent_id(structure: Structure) -> str:
    """Readable id of an undeformed cell with a hash of its geometry: ``NiO-rhombohedral4-a4.1700-1a2b3c4d``."""
    species = [site.specie.symbol for site in structure]
    digest = content_hash(canonical(species, structure.lattice.matrix, structure.cart_coords), 8)
    properties = structure.properties
    name = f"{structure.composition.reduced_formula}-{properties.get('cell', 'custom')}"
    a = properties.get("lattice_constant")
    return f"{name}-a{a:.4f}-{digest}" if a else f"{name}-{digest}"


def canonical(species: list[str], lattice: FloatArray, positions: FloatArray) -> list[Any]:
    """Content of a geometry for hashing, rounded to 1e-8 Angstrom; adding 0.0 turns -0.0 into 0.0."""
    return [species, (lattice.round(8) + 0.0).tolist(), (positions.round(8) + 0.0).tolist()]
