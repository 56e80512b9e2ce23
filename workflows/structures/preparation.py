"""Which parents of a campaign have a lattice that has to be computed first, and their options once it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from datastore.schema import SpinConfig
from workflows.structures.arrange import SpinSites, arrange
from workflows.structures.identity import parent_id
from workflows.structures.lattice import PreparedLattice, RelaxOptions, ScanOptions, prepared_orderings
from workflows.structures.options import ParentOptions, StructureOptions
from workflows.structures.parents import parent_structures, with_content

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Start:
    """A cell to compute: the number of its parent in the options, where to start (with moments in), and how."""

    number: int
    config: SpinConfig
    method: ScanOptions | RelaxOptions

    @property
    def kind(self) -> str:
        """``scan`` or ``relax``."""
        return "scan" if isinstance(self.method, ScanOptions) else "relax"


def starts(options: StructureOptions) -> list[Start]:
    """Cells to compute, one per parent and ordering it is prepared in; none where every lattice is given or there.

    Raises StructureError where an ordering does not fit.
    """
    return [
        Start(number, config, parent.lattice.method)
        for number, parent in enumerate(options.parents)
        if parent.lattice is not None and not parent.lattice.prepared
        for structure in parent_structures(parent)
        for config in _configs(options, parent, structure)
    ]


def _configs(options: StructureOptions, parent: ParentOptions, structure: Structure) -> list[SpinConfig]:
    """The given cell in each ordering it is prepared in."""
    assert parent.lattice is not None
    sites = SpinSites.of(structure, options.magmoms, options.signs, options.symprec)
    moments = dict(arrange(sites, parent.orderings or options.orderings))
    return [
        SpinConfig(
            species=[site.specie.symbol for site in structure],
            lattice=structure.lattice.matrix,
            positions=structure.cart_coords,
            magmoms_in=moments[ordering],
            moment_role=options.moment_role,
            ordering=ordering,
            cell=structure.properties["cell"],
            parent=parent_id(structure),
            parent_lattice=structure.lattice.matrix,
        )
        for ordering in prepared_orderings(parent.lattice, moments, options.moment_role)
    ]


def with_lattices(options: StructureOptions, results: Sequence[dict[str, Any] | None]) -> StructureOptions:
    """``options`` with the results of :func:`starts`, in its order; the start itself stands in for a missing one.

    A result has ``lattice`` (3, 3) Angstrom, ``fractional`` (N, 3), and ``how``, its provenance. What depends on who
    asks is taken from the start: another campaign may have computed the cell, under another name of the ordering.
    """
    prepared: dict[int, list[PreparedLattice]] = {}
    names = ("lattice", "fractional", "how")
    for start, result in zip(starts(options), results, strict=True):
        own = prepared.setdefault(start.number, [])
        content = _stand_in(start.config, len(own)) if result is None else {name: result[name] for name in names}
        if result is not None:
            content["how"] = {**result["how"], "ordering": start.config.ordering, "start": start.config.parent}
        own.append(PreparedLattice(start=start.config.parent, ordering=start.config.ordering, **content))
    parents = [
        parent.model_copy(update={"lattice": parent.lattice.model_copy(update={"prepared": prepared[number]})})
        if parent.lattice is not None and number in prepared
        else parent
        for number, parent in enumerate(options.parents)
    ]
    return options.model_copy(update={"parents": parents})


def count_cells(options: StructureOptions) -> int:
    """Undeformed cells of complete options; a file of several structures, or a lattice computed in several orderings,
    gives as many. Quasirandom cells are not built for this.
    """
    return sum(_count(parent) for parent in options.parents)


def _count(parent: ParentOptions) -> int:
    if parent.lattice is not None:
        return len(parent.lattice.prepared)
    return len(with_content(parent).content) if parent.file is not None else 1


def _stand_in(config: SpinConfig, number: int) -> dict[str, Any]:
    """The start in place of what will be computed; a little off, as equal cells would count as one."""
    fractional = np.linalg.solve(config.lattice.T, config.positions.T).T
    return {"lattice": (config.lattice * (1 + 1e-6 * number)).tolist(), "fractional": fractional.tolist()}
