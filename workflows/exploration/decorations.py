"""New random decorations of the campaign's mixed parents, and compositions beside theirs, deformed."""

from __future__ import annotations

from typing import Any

import numpy as np

from datastore.schema import SpinConfig
from workflows.exploration.starts import deformed
from workflows.exploration.task import Task
from workflows.learning import DecorationSource
from workflows.structures.options import ParentOptions, StructureOptions
from workflows.structures.parents import parent_structures
from workflows.structures.rocksalt import ANION, LATTICE_CONSTANTS, parse_species

DRAWS = 20
"""Random placements tried for one that is new."""


def decorations(task: Task) -> list[SpinConfig]:
    """``geometries`` of each of ``count`` new decorations per mixed parent, in every ordering.

    Cell and orderings are the parent's. With ``compositions`` every second one has one cation exchanged for another
    kind, and a lattice constant changed in the ratio of Vegard's means. Evaluations of the committee: one per
    candidate.
    """
    wanted = task.options.active_learning.explore.decorations
    assert wanted is not None
    structures = task.options.structures
    found = []
    for number, parent in enumerate(structures.parents):
        if parent.species is None or isinstance(parent.species, str) or len(parent.species) == 1:
            continue
        for new in _new_parents(task, number, parent, wanted):
            configs = deformed(task, wanted.geometries, _only(structures, new))
            found += [_noted(task, config, new.seed) for config in configs]
    return found


def _new_parents(task: Task, number: int, parent: ParentOptions, wanted: DecorationSource) -> list[ParentOptions]:
    """As many as wanted that differ from ``parent`` and from each other; fewer where a small cell has no more."""
    met = {parent_structures(parent)[0].properties["parent"]}
    found = []
    for item in range(wanted.count):
        for draw in range(DRAWS):
            new = _decorated(parent, task.seed(number, item, draw), wanted.compositions and item % 2 == 1)
            name = parent_structures(new)[0].properties["parent"]
            if name not in met:
                met.add(name)
                found.append(new)
                break
    return found


def _decorated(parent: ParentOptions, seed: int, other: bool) -> ParentOptions:
    """``parent`` with its cations placed by ``seed``; with ``other``, one of them of another kind."""
    fractions = parse_species(parent.species or "")
    structure = parent_structures(parent)[0]
    n = sum(site.specie.symbol != ANION for site in structure)
    volume = structure.volume
    if parent.lattice is not None and parent.lattice.prepared:
        volume = float(np.mean([abs(np.linalg.det(item.lattice)) for item in parent.lattice.prepared]))
    a = float((4 * volume / n) ** (1 / 3))
    species = _exchanged(fractions, n, np.random.default_rng(seed)) if other else fractions
    if other and set(species) <= set(LATTICE_CONSTANTS):
        a *= _vegard(species) / _vegard(fractions)
    fresh: dict[str, Any] = {"lattice_constant": a, "cell": parent.cell, "orderings": parent.orderings}
    return ParentOptions(species=species, seed=seed, decoration="random", **fresh)


def _exchanged(fractions: dict[str, float], n: int, rng: np.random.Generator) -> dict[str, float]:
    """Fractions of ``n`` cations after one became another kind; no kind dies out."""
    counts = {symbol: round(share * n) for symbol, share in fractions.items()}
    giving = [symbol for symbol, count in counts.items() if count > 1]
    if giving:
        gives = str(rng.choice(giving))
        takes = str(rng.choice([symbol for symbol in counts if symbol != gives]))
        counts[gives], counts[takes] = counts[gives] - 1, counts[takes] + 1
    return {symbol: count / n for symbol, count in counts.items()}


def _vegard(fractions: dict[str, float]) -> float:
    return sum(share * LATTICE_CONSTANTS[symbol] for symbol, share in fractions.items())


def _only(structures: StructureOptions, parent: ParentOptions) -> StructureOptions:
    present = {*parse_species(parent.species or ""), ANION}
    magmoms = {symbol: moment for symbol, moment in structures.magmoms.items() if symbol in present}
    return structures.model_copy(update={"parents": [parent], "magmoms": magmoms})


def _noted(task: Task, config: SpinConfig, seed: int) -> SpinConfig:
    """The deformation is one of the campaign's kinds; the decoration is told beside it."""
    known = task.provenance(**config.deformation_parameters, decoration={"kind": "random", "seed": seed})
    return config.model_copy(update={"deformation_parameters": known})
