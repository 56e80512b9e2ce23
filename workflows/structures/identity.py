"""Ids of geometries."""

from __future__ import annotations

from pymatgen.core import Structure

from datastore.identity import canonical
from datastore.schema import content_hash

__all__ = ["canonical", "parent_id"]


def parent_id(structure: Structure) -> str:
    """Readable id of an undeformed cell with a hash of its geometry: ``NiO-rhombohedral4-a4.1700-1a2b3c4d``."""
    species = [site.specie.symbol for site in structure]
    digest = content_hash(canonical(species, structure.lattice.matrix, structure.cart_coords), 8)
    properties = structure.properties
    name = f"{structure.composition.reduced_formula}-{properties.get('cell', 'custom')}"
    a = properties.get("lattice_constant")
    return f"{name}-a{a:.4f}-{digest}" if a else f"{name}-{digest}"
