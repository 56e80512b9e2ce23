"""Molecular dynamics with the committee, of every parent in every ordering, until the committee is lost."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from datastore.atoms import config_to_atoms, point_to_atoms, read_points
from datastore.schema import SpinConfig
from datastore.snapshot import load_snapshot
from datastore.splits import Split
from workflows.exploration.candidate import at_geometry, with_state
from workflows.exploration.filters import NOT_FINITE
from workflows.exploration.held_out import HELD_OUT, is_held_out
from workflows.exploration.starts import undeformed
from workflows.exploration.states import SpinStates, movable_sites, moved, spin_states
from workflows.exploration.task import NUMERICAL, Found, Task, failure
from workflows.learning import DynamicsSource

STEP: dict[str, Callable[[Any], Any]] = {"step": int, "forces_std": float}
"""What a frame tells of itself: number of the step, the committee's largest spread of a force (eV/Angstrom)."""

NO_BOUND = "a committee of one has no spread, so max_spread ends no run of dynamics; set committee: 2 or more"

SWAPS = 0.3
"""Share of exchanges among random moves."""


def dynamics(task: Task) -> list[SpinConfig]:
    """Frames of one run per parent, ordering, temperature and pressure, every ``interval`` steps.

    A run ends where the largest spread of a force passes ``max_spread`` times :func:`typical_spread`, and its last
    frame is a candidate; or where a force passes ``max_force``, and its last frame is dropped. The first frame, the
    parent itself, is none. With ``flips`` every frame gives further states of the same geometry.

    Evaluations of the committee: at most ``steps`` + 1 per run, one per label of the val split, one per candidate.
    Every run goes on from its last frame after a stop.
    """
    wanted = task.options.active_learning.explore.dynamics
    assert wanted is not None
    starts = undeformed(task)
    states, bound = spin_states(task, starts), wanted.max_spread * typical_spread(task)
    if len(task.members) < 2:
        task.notes.append(NO_BOUND)
    parts = {}
    for start in starts:
        if is_held_out(start, task.options.split):
            continue
        for at in _conditions(wanted):
            name = "-".join([start.config_id, *(f"{value:g}" for value in at.values())])
            parts[name] = partial(_run, task, start, at, bound, states.get(start.parent))
    return task.run(parts)


def _conditions(wanted: DynamicsSource) -> list[dict[str, float]]:
    """Temperature (K) and, for runs at constant pressure, pressure (GPa) of every run of a start."""
    if not wanted.pressures:
        return [{"temperature": temperature} for temperature in wanted.temperatures]
    every = itertools.product(wanted.temperatures, wanted.pressures)
    return [{"temperature": temperature, "pressure": pressure} for temperature, pressure in every]


def typical_spread(task: Task) -> float:
    """Median over labels of the largest spread of a force in each, eV/Angstrom; 0 for a committee of one.

    The labels are those that end the training (val), or where there are none those that it learned from. The tests stay
    out of it: nothing is decided by them.
    """
    snapshot = load_snapshot(task.snapshot)
    order: tuple[Split, ...] = ("val", "train")
    split = next(split for split in order if snapshot.counts[split])
    frames = [point_to_atoms(point) for point in read_points(snapshot.path(split))]
    found = task.calculator.committee.predict(frames)
    return float(np.median([np.max(prediction["forces_std"]) for prediction in found]))


def _run(task: Task, start: SpinConfig, at: dict[str, float], bound: float, states: SpinStates | None) -> Found:
    """One run ``at`` a temperature (K) and perhaps a pressure (GPa)."""
    from spinmultinet.dynamics import MDOptions, run_md

    explore = task.options.active_learning.explore
    wanted = explore.dynamics
    assert wanted is not None
    seed = task.seed(start.config_id, *at.values())
    trajectory = task.folder / f"{start.config_id}-{seed}.xyz"
    options = MDOptions(
        ensemble="npt" if "pressure" in at else "langevin",
        temperature=at["temperature"],
        pressure=at.get("pressure", 0.0),
        timestep=wanted.timestep,
        steps=wanted.steps,
        interval=wanted.interval,
        seed=seed,
        max_force=explore.max_force,
        max_spread=bound if bound > 0 else None,
    )
    dropped, ended = Counter[str](), ""
    try:
        ended = run_md(config_to_atoms(start), task.calculator, options, trajectory).reason
    except NUMERICAL as error:
        dropped[failure(error, started=trajectory.exists())] += 1
    how = task.provenance(**at, seed=seed, timestep=wanted.timestep)
    frames = _frames(trajectory, dropped)
    steps = [{name: kind(atoms.info[name]) for name, kind in STEP.items() if name in atoms.info} for atoms in frames]
    if ended and steps:
        steps[-1]["ended"] = ended
    made = [at_geometry(start, atoms, "md", how | step) for atoms, step in zip(frames, steps, strict=True)]
    return _with_flips(task, made, wanted, states, dropped), dict(dropped)


def _frames(trajectory: Path, dropped: Counter[str]) -> list[Atoms]:
    """The frames after the first; those with numbers that are not finite are counted."""
    every = ase.io.read(trajectory, ":", format="extxyz") if trajectory.exists() else []
    frames = [atoms for atoms in every if atoms.info["step"]]
    finite = [bool(np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()) for atoms in frames]
    dropped.update({NOT_FINITE: finite.count(False)} if not all(finite) else {})
    return [atoms for atoms, good in zip(frames, finite, strict=True) if good]


def _with_flips(
    task: Task, frames: list[SpinConfig], wanted: DynamicsSource, states: SpinStates | None, dropped: Counter[str]
) -> list[SpinConfig]:
    """``frames``, each followed by the states that random moves make of it."""
    made = []
    for frame in frames:
        made.append(frame)
        sites = movable_sites(frame) if states is not None and frame.magmoms_in.ndim == 1 else []
        for number in range(wanted.flips if sites else 0):
            assert states is not None
            seed = task.seed(frame.config_id, number)
            moments = moved(frame.magmoms_in, sites, SWAPS, np.random.default_rng(seed))
            if states.held_out([moments])[0]:
                dropped[HELD_OUT] += 1
                continue
            how: dict[str, Any] = task.provenance(seed=seed, step=1)
            made.append(with_state(frame, moments, states.name(moments), how))
    return made
