"""Monte Carlo in spin space: walks by flips and exchanges of moments in deformed geometries; states are candidates."""

from __future__ import annotations

from functools import partial

import numpy as np

from datastore.atoms import config_to_atoms
from datastore.schema import FloatArray, SpinConfig
from workflows.exploration.candidate import evenly, with_state
from workflows.exploration.held_out import HELD_OUT
from workflows.exploration.starts import deformed, undeformed
from workflows.exploration.states import SpinStates, movable_sites, spin_states
from workflows.exploration.task import Found, Task, by_parent


def spin_moves(task: Task) -> list[SpinConfig]:
    """States on the way of Metropolis walks, each in a deformed geometry of its own, from the orderings in turn.

    Magnitudes stay the campaign's estimates; a state and its reverse are one. Evaluations of the committee (energies
    only): at most ``count`` x (``steps`` + 1) per parent, fewer where states come again, and one per candidate.
    Parents in vector moments only, or with a single moment, are passed over.
    """
    wanted = task.options.active_learning.explore.spin_moves
    assert wanted is not None
    states = spin_states(task, undeformed(task))
    parts = {}
    for parent, configs in by_parent(deformed(task, wanted.count)).items():
        collinear = [config for config in configs if config.magmoms_in.ndim == 1 and movable_sites(config)]
        for number, turn in enumerate(np.array_split(np.arange(len(collinear)), wanted.count)):
            if len(turn):
                start = collinear[turn[(task.generation + number) % len(turn)]]
                parts[start.config_id] = partial(_walked, task, start, states[parent])
    return task.run(parts)


def _walked(task: Task, start: SpinConfig, states: SpinStates) -> Found:
    from spinmultinet.anneal import AnnealOptions, walk
    from spinmultinet.many import states_of

    wanted = task.options.active_learning.explore.spin_moves
    assert wanted is not None
    atoms, seed = config_to_atoms(start), task.seed(start.config_id)
    hot = wanted.temperature
    options = AnnealOptions(steps=wanted.steps, start=hot, end=hot, seed=seed, swaps=wanted.swaps)
    seen: dict[bytes, tuple[int, FloatArray]] = {}
    steps = walk(lambda m: states_of(task.calculator, atoms, m).energy, start.magmoms_in, movable_sites(start), options)
    for step, moments, _ in steps:
        seen.setdefault(_key(moments), (step, moments))
    visited = list(seen.values())
    held = states.held_out([moments for _, moments in visited])
    free = [state for state, is_held in zip(visited, held, strict=True) if not is_held]
    chosen = [free[number - 1] for number in evenly(len(free), wanted.frames)]
    how = {"temperature": hot, "seed": seed}
    made = [with_state(start, m, states.name(m), task.provenance(step=step, **how)) for step, m in chosen]
    return made, {HELD_OUT: sum(held)} if any(held) else {}


def _key(moments: FloatArray) -> bytes:
    """Equal for a state and its reverse."""
    first = moments[np.flatnonzero(moments)[0]]
    return np.asarray(moments * first > 0).tobytes()
