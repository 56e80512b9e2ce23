"""Where searches begin: the campaign's parents in every ordering, as they are or deformed in the campaign's ways."""

from __future__ import annotations

from datastore.schema import SpinConfig
from workflows.campaign import CampaignOptions
from workflows.exploration.held_out import is_held_out
from workflows.exploration.task import Task
from workflows.structures.generate import generate
from workflows.structures.options import DeformationOptions, StructureOptions

SHAKEN = 0.03
"""Angstrom rms on top of a strain that would be the same one every time: it also frees atoms that symmetry holds."""

FALLBACK = DeformationOptions(kind="displacement", amplitude=(SHAKEN, 2 * SHAKEN))
"""For campaigns that deform nothing."""


def undeformed(task: Task) -> list[SpinConfig]:
    """Every parent in every ordering, those held out of training among them."""
    return in_every_ordering(task.options, task.generation)


def in_every_ordering(options: CampaignOptions, generation: int = 0) -> list[SpinConfig]:
    """The parents of a campaign, undeformed, in every ordering."""
    plain = options.structures.model_copy(update={"deformations": [DeformationOptions(kind="none")]})
    return list(generate(plain, options.name, generation))


def deformed(task: Task, each: int, structures: StructureOptions | None = None) -> list[SpinConfig]:
    """``each`` new geometries per parent in every ordering, the campaign's deformations in turn.

    Without what is held out of training. ``structures``: other parents than the campaign's.
    """
    structures = structures or task.options.structures
    kinds = [_moving(d) for d in structures.deformations if d.kind != "none"] or [FALLBACK]
    chosen = [kinds[(task.generation + number) % len(kinds)] for number in range(each)]
    seed = task.seed("starts", *(parent.seed for parent in structures.parents))
    own = structures.model_copy(update={"deformations": chosen, "seed": seed})
    found = generate(own, task.options.name, task.generation)
    return [config for config in found if not is_held_out(config, task.options.split)]


def _moving(deformation: DeformationOptions) -> DeformationOptions:
    """One geometry of the kind, never one that was there before."""
    shaken = {"displacement": SHAKEN} if deformation.repeatable and deformation.kind != "displacement" else {}
    return deformation.model_copy(update={"count": 1, **shaken})
