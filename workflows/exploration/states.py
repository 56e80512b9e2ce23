"""Spin states of a parent: their names, whether they are held out of training, and random moves between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datastore.quality import ASKED, magnetic_sites
from datastore.schema import FloatArray, SpinConfig
from datastore.splits import SplitOptions
from workflows.exploration.task import Task, by_parent
from workflows.structures.naming import recognised_ordering
from workflows.structures.twins import Twins

SAME = 1e-6
"""muB."""


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
        if not self.held:
            return [False] * len(states)
        structure = self.orderings[0].to_structure()
        twins = Twins(structure, [*self.held, *states], self.spin_orbit, symprec=self.symprec)
        keys = twins.keys(np.eye(3))
        held = set(keys[: len(self.held)])
        return [key in held for key in keys[len(self.held) :]]


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
