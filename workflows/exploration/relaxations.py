"""Relaxations with the committee, of every parent in every ordering, from deformed starts; steps are candidates."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
from ase import Atoms

from datastore.atoms import config_to_atoms
from datastore.schema import SpinConfig
from workflows.exploration.candidate import at_geometry, evenly
from workflows.exploration.filters import FORCE, bad_geometry
from workflows.exploration.starts import deformed
from workflows.exploration.task import NUMERICAL, Found, Task, failure


class _EndedError(Exception):
    """The relaxation left what is physical."""


def relaxations(task: Task) -> list[SpinConfig]:
    """Some of the steps of each relaxation, the last included; the start is none of them.

    The moments stay those of the ordering asked for. A relaxation ends where a step is unphysical, and that step is
    dropped. Evaluations of the committee: at most ``count`` x (``steps`` + 1) per parent and ordering, and one per
    candidate. Finished relaxations are on disk; the one at work begins anew after a stop.
    """
    wanted = task.options.active_learning.explore.relaxations
    assert wanted is not None
    starts = deformed(task, wanted.count)
    return task.run({start.config_id: partial(_relaxed, task, start) for start in starts})


def _relaxed(task: Task, start: SpinConfig) -> Found:
    from spinmultinet.relax import relax

    wanted, frames, dropped = task.options.active_learning.explore.relaxations, list[Atoms](), Counter[str]()
    assert wanted is not None

    def watch(atoms: Atoms) -> None:
        problem = _problem(task, atoms, start)
        if problem:
            raise _EndedError(problem)
        frames.append(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True))

    try:
        relax(
            config_to_atoms(start),
            task.calculator,
            fmax=wanted.fmax,
            steps=wanted.steps,
            relax_cell=wanted.cell,
            carry="fixed",
            watch=watch,
        )
    except _EndedError as end:
        dropped[str(end)] += 1
    except NUMERICAL as error:
        dropped[failure(error, started=bool(frames))] += 1
    steps = evenly(len(frames) - 1, wanted.frames) if frames else []
    made = [at_geometry(start, frames[step], "relaxation", task.provenance(step=step)) for step in steps]
    return made, dict(dropped)


def _problem(task: Task, atoms: Atoms, start: SpinConfig) -> str:
    options = task.options.active_learning.explore
    largest = np.linalg.norm(atoms.get_forces(), axis=1).max()
    if not largest <= options.max_force:  # NaN is not
        return FORCE
    return bad_geometry(atoms, options, start.parent_lattice)
