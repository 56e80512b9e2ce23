"""Spin states: their names, which are one by symmetry, whether they are held out, and random moves between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datastore.quality import ASKED, magnetic_sites
from datastore.schema import FloatArray, SpinConfig
from datastore.splits import SplitOptions
from workflows.exploration.task import Task, by_parent
from workflows.structures.errors import StructureError
from workflows.structures.naming import recognised_ordering
from workflows.structures.recognise import index_rocksalt
from workflows.structures.twin_keys import twin_keys
from workflows.structures.twins import Twins, along_axis

SAME = 1e-6
"""muB."""

OTHER = "other states"
"""What states count as that are none of the campaign's orderings."""

OWN_SIGNS = frozenset({"spin-move", "file"})
"""Deformations of configurations whose signs were not set up as an ordering of the campaign."""

GRID = 2.1
"""Angstrom; half a lattice constant of the ideal lattice that arrangements are compared on."""


class SpinStates:
    """The collinear states of one parent.

    ``orderings``: the undeformed parent in the campaign's collinear orderings, those held out among them.
    """

    def __init__(self, orderings: Sequence[SpinConfig], split: SplitOptions, spin_orbit: bool, symprec: float) -> None:
        self.orderings = orderings
        self.held = [config.magmoms_in for config in orderings if config.ordering in split.held_out]
        self.spin_orbit, self.symprec = spin_orbit, symprec

    def name(self, moments: FloatArray) -> str:
        """The campaign's name of moments (N,) up to reversal, else that of a wave, else the pattern of signs.

        Names are given in the undeformed cell, as a deformation cannot change an ordering.
        """
        for config in self.orderings:
            if min(np.abs(moments - sign * config.magmoms_in).max() for sign in (1, -1)) < SAME:
                return config.ordering
        bare = self.orderings[0].model_copy(update={"magmoms_in": moments})
        return recognised_ordering(bare)

    def held_out(self, states: Sequence[FloatArray]) -> list[bool]:
        """Which of the states (N,) are a held-out ordering, or one that the parent's symmetry makes the same."""
        held, keys = self._keys(self.held, states)
        return [key in held for key in keys]

    def same_as(self, states: Sequence[FloatArray]) -> list[str]:
        """The campaign's ordering that each state (N,) is by the parent's symmetry or reversal; empty: it is none."""
        if not states:
            return []
        ours, keys = self._keys([config.magmoms_in for config in self.orderings], states)
        names: dict[bytes, str] = {}
        for key, config in zip(ours, self.orderings, strict=True):
            names.setdefault(key, config.ordering)
        return [names.get(key, "") for key in keys]

    def _keys(self, known: Sequence[FloatArray], states: Sequence[FloatArray]) -> tuple[list[bytes], list[bytes]]:
        if not known or not states:
            return [], [b""] * len(states)
        structure = self.orderings[0].to_structure()
        keys = Twins(structure, [*known, *states], self.spin_orbit, symprec=self.symprec).keys(np.eye(3))
        return keys[: len(known)], keys[len(known) :]


def state_names(
    configs: Sequence[SpinConfig], orderings: Sequence[SpinConfig], spin_orbit: bool, symprec: float
) -> list[str]:
    """What the state of each configuration counts as, where labels are shared out over orderings.

    The name of its ordering; for states of spin moves and of files that of the campaign's ordering which symmetry or
    reversal makes the same, and OTHER where there is none. ``orderings``: the campaign's undeformed parents in every
    ordering.
    """
    names = [config.ordering for config in configs]
    own = [k for k, config in enumerate(configs) if config.deformation in OWN_SIGNS]
    parents = by_parent(config for config in orderings if config.magmoms_in.ndim == 1)
    for parent, ours in parents.items():
        states = SpinStates(ours, SplitOptions(), spin_orbit, symprec)
        here = [k for k in own if configs[k].parent == parent and configs[k].deformation == "spin-move"]
        for k, name in zip(here, states.same_as([configs[k].magmoms_in for k in here]), strict=True):
            names[k] = name or OTHER
    # Sites of files are in their own order, and parents that have gone cannot be asked: their lattice is recognised.
    rest = [k for k in own if configs[k].deformation == "file" or configs[k].parent not in parents]
    known = {config.ordering for config in orderings if "[" not in config.ordering}
    for k, name in zip(rest, same_crystal([configs[k] for k in rest], orderings, spin_orbit), strict=True):
        names[k] = name or (names[k] if names[k] in known else OTHER)
    return names


def same_crystal(configs: Sequence[SpinConfig], orderings: Sequence[SpinConfig], spin_orbit: bool) -> list[str]:
    """The ordering that each configuration is in, whatever its cell's orientation and the order of its sites.

    Signs of collinear moments are compared, on the ideal lattice where a crystal is a rocksalt oxide, as no deformation
    changes an ordering. Empty where it is in none of ``orderings``; cells of other size are not compared.
    """
    if not configs or not orderings:
        return [""] * len(configs)
    ideal = [_ideal(config) for config in (*orderings, *configs)]
    known = range(len(orderings))
    names = {ideal[k].config_id: orderings[k].ordering for k in reversed(known)}
    return [names.get(key, "") for key in twin_keys(ideal, known, spin_orbit)[len(orderings) :]]


def _ideal(config: SpinConfig) -> SpinConfig:
    """With moments of 1 muB, or vectors as they are, and on the ideal lattice where the crystal is recognised."""
    moments = along_axis(config.magmoms_in)
    if moments.ndim == 1:
        moments = np.where(np.abs(moments) >= ASKED, np.sign(moments), 0.0)
    changed = {"magmoms_in": moments, "occupations": ""}
    try:
        indexed = index_rocksalt(config.to_structure())
    except StructureError:  # any other crystal: compared as it is
        return config.model_copy(update=changed)
    lattice = GRID * np.array(indexed.properties["grid_vectors"])
    positions = GRID * np.array(indexed.site_properties["grid_index"])
    return config.model_copy(update={**changed, "lattice": lattice, "positions": positions})


def spin_states(task: Task, undeformed: Sequence[SpinConfig]) -> dict[str, SpinStates]:
    """The states of every parent with a collinear ordering, by the parent's id."""
    structures = task.options.structures
    collinear = by_parent(config for config in undeformed if config.magmoms_in.ndim == 1)
    return {
        parent: SpinStates(orderings, task.options.split, structures.spin_orbit, structures.symprec)
        for parent, orderings in collinear.items()
    }


def movable_sites(config: SpinConfig) -> list[int]:
    """Magnetic sites with a moment to flip; none where they are less than two, as reversal changes nothing."""
    sites = [int(site) for site in magnetic_sites(config) if abs(config.magmoms_in[site]) >= ASKED]
    return sites if len(sites) > 1 else []


def moved(moments: FloatArray, sites: Sequence[int], swaps: float, rng: np.random.Generator) -> FloatArray:
    """Moments (N,) after one flip or, with probability ``swaps``, an exchange of an up and a down one of ``sites``."""
    new = moments.copy()
    up, down = [s for s in sites if moments[s] > 0], [s for s in sites if moments[s] < 0]
    chosen = [rng.choice(up), rng.choice(down)] if up and down and rng.random() < swaps else [rng.choice(sites)]
    new[chosen] *= -1
    return new
