"""Crystals with magnetic orderings and deformations, rocksalt oxides first: pure functions, deterministic from seeds.

>>> from workflows.structures import apply_ordering, deform, rocksalt
>>> s = rocksalt("Ni", lattice_constant=4.17, cell="rhombohedral4")
>>> s = apply_ordering(s, "AFM-II", magmoms={"Ni": 2.5})
>>> s.site_properties["magmom"]
[2.5, -2.5, 0.0, 0.0]
>>> strained, parameters = deform(s, "tensile", 0.02, direction="z")
>>> round(strained.lattice.c / s.lattice.c, 3)
1.003
"""

# Imported eagerly: a module and a function share the names `rocksalt` and `generate`, and a lazy import would hand
# out the module.
from workflows.structures.arrange import ordered_structures
from workflows.structures.deformations import deform
from workflows.structures.draw import draw_structure
from workflows.structures.enumeration import enumerate_signs
from workflows.structures.errors import StructureError
from workflows.structures.files import read_parents
from workflows.structures.generate import (
    DeformationOptions,
    ParentOptions,
    StructureOptions,
    candidates,
    count_configs,
    generate,
)
from workflows.structures.identity import parent_id
from workflows.structures.noncollinear import canted, random_directions, spiral
from workflows.structures.orderings import apply_ordering, fitting_orderings
from workflows.structures.recognise import fitting_supercell, index_rocksalt
from workflows.structures.rocksalt import rocksalt
from workflows.structures.symmetry import site_symmetry
from workflows.structures.twins import TwinCount, Twins

__all__ = [
    "DeformationOptions",
    "ParentOptions",
    "StructureError",
    "StructureOptions",
    "TwinCount",
    "Twins",
    "apply_ordering",
    "candidates",
    "canted",
    "count_configs",
    "deform",
    "draw_structure",
    "enumerate_signs",
    "fitting_orderings",
    "fitting_supercell",
    "generate",
    "index_rocksalt",
    "ordered_structures",
    "parent_id",
    "random_directions",
    "read_parents",
    "rocksalt",
    "site_symmetry",
    "spiral",
]
