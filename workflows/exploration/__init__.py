"""Where candidates for the next labels come from: one module per source, one contract for all.

A source is a function of a :class:`~workflows.exploration.task.Task` that returns SpinConfigs. It is deterministic (its
random numbers come from the campaign's seeds, the generation and its own name), records in ``deformation_parameters``
how it found a candidate and with which committee (``model_id``), and keeps finished work in the task's folder.
"""

from __future__ import annotations

from collections.abc import Callable

from datastore.metastable import state_key
from datastore.schema import SpinConfig
from workflows.campaign import CampaignOptions
from workflows.exploration.decorations import decorations
from workflows.exploration.deformations import new_deformations
from workflows.exploration.dynamics import dynamics
from workflows.exploration.files import from_files
from workflows.exploration.filters import keep_physical
from workflows.exploration.held_out import HELD_OUT, is_held_out
from workflows.exploration.relaxations import relaxations
from workflows.exploration.spin_moves import spin_moves
from workflows.exploration.task import Task

__all__ = ["SOURCES", "Task", "explore", "sources"]

Source = Callable[[Task], list[SpinConfig]]

SOURCES: dict[str, Source] = {
    "deformations": new_deformations,
    "relaxations": relaxations,
    "dynamics": dynamics,
    "spin-moves": spin_moves,
    "decorations": decorations,
    "files": from_files,
}
"""By the names that options and candidates give them."""

ASKED = frozenset({"deformations", "files"})
"""Sources of geometries that the user asked for: the forces of a young model say nothing against those."""


def sources(options: CampaignOptions) -> list[str]:
    """The sources that a campaign asks for; ``deformations`` is always the first."""
    wanted = options.active_learning.explore
    return [name for name in SOURCES if name == "deformations" or getattr(wanted, name.replace("-", "_"))]


def explore(task: Task) -> tuple[list[SpinConfig], dict[str, int]]:
    """Candidates of one source, and how many were dropped for which reason.

    Left out are unphysical ones (:mod:`workflows.exploration.filters`), those held out of training, those that have a
    label, and repeats: the same geometry with the same signs up to reversal of all moments.
    """
    kept = keep_physical(task, SOURCES[task.source](task), task.source in ASKED)
    found: dict[str, SpinConfig] = {}
    for config in kept:
        reason = _unwanted(task, config, found)
        if reason:
            task.dropped[reason] += 1
        else:
            found[state_key(config)] = config
    return list(found.values()), {reason: n for reason, n in sorted(task.dropped.items()) if n}


def _unwanted(task: Task, config: SpinConfig, found: dict[str, SpinConfig]) -> str:
    if is_held_out(config, task.options.split):
        return HELD_OUT
    if config.config_id in task.known:
        return "labelled"
    return "repeat" if state_key(config) in found else ""
