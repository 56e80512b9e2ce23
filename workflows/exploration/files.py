"""Structures that the user gives: in the moments of their file, or else in every ordering of the campaign that fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pymatgen.core import Structure

from datastore.schema import SpinConfig, content_hash
from workflows.exploration.held_out import HELD_OUT
from workflows.exploration.starts import undeformed
from workflows.exploration.states import same_crystal
from workflows.exploration.task import Task
from workflows.structures.arrange import Arrangement, SpinSites, arrange
from workflows.structures.errors import StructureError
from workflows.structures.files import FileStructure, file_parent
from workflows.structures.identity import canonical
from workflows.structures.naming import recognised_ordering
from workflows.structures.options import StructureOptions
from workflows.structures.parents import parent_structures


def from_files(task: Task) -> list[SpinConfig]:
    """The campaign's files as candidates, until they have labels. Evaluations of the committee: none.

    A structure on the lattice of a parent, with each element on the same places, is a deformed copy of that one, so
    that engines give it the parent's k mesh; any other is its own parent. Orderings held out are compared by symmetry.
    """
    structures = task.options.structures
    parents = [structure for parent in structures.parents for structure in parent_structures(parent)]
    contents = task.options.active_learning.explore.content
    every = [config for content in contents for config in _configs(task, content, _home(file_parent(content), parents))]
    return _without_held_out(task, every)


def _without_held_out(task: Task, configs: list[SpinConfig]) -> list[SpinConfig]:
    """Without those in an ordering that is held out, whatever the order of their sites makes of its name."""
    held = [config for config in undeformed(task) if config.ordering in task.options.split.held_out]
    found = same_crystal(configs, held, task.options.structures.spin_orbit)
    task.dropped.update({HELD_OUT: len(found) - found.count("")})
    return [config for config, ordering in zip(configs, found, strict=True) if not ordering]


def _configs(task: Task, content: FileStructure, structure: Structure) -> Iterator[SpinConfig]:
    geometry = canonical(content.species, structure.lattice.matrix, structure.cart_coords)
    for ordering, moments in _arrangements(task.options.structures, structure):
        config = SpinConfig(
            species=[site.specie.symbol for site in structure],
            lattice=structure.lattice.matrix,
            positions=structure.cart_coords,
            magmoms_in=moments,
            moment_role=task.options.structures.moment_role,
            ordering=ordering,
            cell=structure.properties["cell"],
            parent=structure.properties["parent"],
            parent_lattice=structure.properties["parent_lattice"],
            deformation="file",
            deformation_parameters={"file": content.label},
            pair_id=content_hash(geometry, 16),
            campaign=task.options.name,
            generation=task.generation,
        )
        yield config if ordering else config.model_copy(update={"ordering": recognised_ordering(config)})


def _arrangements(options: StructureOptions, structure: Structure) -> Iterator[Arrangement]:
    """The moments of the file without a name, or the campaign's orderings that fit the structure."""
    own = structure.site_properties.get("magmom")
    if own is not None and np.any(np.array(own)):
        yield "", np.array(own, dtype=float)
        return
    sites = SpinSites.of(structure, options.magmoms, options.signs, options.symprec)
    met: set[str] = set()
    for entry in [entry for listed in _listed(options) for entry in listed]:
        try:
            found = list(arrange(sites, [entry]))
        except StructureError:  # one that does not fit this cell; others may
            continue
        yield from ((name, moments) for name, moments in found if name not in met)
        met |= {name for name, _ in found}


def _listed(options: StructureOptions) -> list[Any]:
    own = [parent.orderings for parent in options.parents if parent.orderings is not None]
    return [options.orderings, *own]


def _home(structure: Structure, parents: list[Structure]) -> Structure:
    """``structure`` with cell, id and lattice of the parent on whose lattice it is; of itself where there is none."""
    for parent in parents:
        if _is_copy(structure, parent):
            names = ("cell", "parent", "parent_lattice")
            structure.properties |= {name: parent.properties[name] for name in names}
            break
    return structure


def _is_copy(structure: Structure, parent: Structure) -> bool:
    vectors, others = (s.properties.get("grid_vectors") for s in (structure, parent))
    same_grid = vectors is not None and others is not None and np.array_equal(vectors, others)
    if not same_grid or structure.composition != parent.composition:
        return False
    places = _places(structure, 0)
    return any(_places(parent, origin) == places for origin in range(len(parent)))


def _places(structure: Structure, origin: int) -> dict[tuple[int, ...], str]:
    """Element by place on the grid, counted from the site ``origin`` and modulo the cell."""
    vectors = np.array(structure.properties["grid_vectors"])
    index = np.array(structure.site_properties["grid_index"])
    n = round(abs(np.linalg.det(vectors)))
    rows = np.rint((index - index[origin]) @ np.linalg.inv(vectors) * n).astype(int) % n
    return {tuple(row): site.specie.symbol for row, site in zip(rows.tolist(), structure, strict=True)}
