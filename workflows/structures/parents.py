"""Undeformed cells: a rocksalt oxide by its species, or the structures of a file that a user brings."""

from __future__ import annotations

from pathlib import Path

from pymatgen.core import Structure

from workflows.structures.files import file_parent, read_structures
from workflows.structures.options import ParentOptions
from workflows.structures.rocksalt import ANION, parse_species, rocksalt


def parent_structures(parent: ParentOptions) -> list[Structure]:
    """The undeformed structures of one entry under ``parents``: one for a species, one or more for a file.

    ``properties`` hold ``cell`` and what rocksalt() or file_parent() add. Raises StructureError.
    """
    if parent.file is not None:
        return [file_parent(content, parent.supercell) for content in with_content(parent).content]
    species = parent.species or ""  # one of the two is there: ParentOptions saw to it
    return [rocksalt(species, parent.lattice_constant, parent.cell, parent.seed, parent.decoration)]


def with_content(parent: ParentOptions) -> ParentOptions:
    """``parent`` with what its file holds now, unless it has that already. Raises StructureError.

    A campaign does this once, when it is loaded: its flow runs for days, on machines that may not see the file.
    """
    if parent.file is None or parent.content:
        return parent
    return parent.model_copy(update={"content": read_structures(Path(parent.file), parent.index)})


def parent_elements(parent: ParentOptions) -> set[str]:
    """Element symbols of one entry under ``parents``, the anions among them. Raises StructureError."""
    if parent.species is not None:  # far cheaper than building a quasirandom structure
        return {ANION, *parse_species(parent.species)}
    return {site.specie.symbol for structure in parent_structures(parent) for site in structure}
