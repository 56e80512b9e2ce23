"""New deformations of the campaign's kinds in every ordering: the source that needs no model."""

from __future__ import annotations

from datastore.schema import SpinConfig
from workflows.exploration.task import Task
from workflows.structures.errors import NoCandidatesError
from workflows.structures.generate import candidates
from workflows.structures.preparation import count_cells


def new_deformations(task: Task) -> list[SpinConfig]:
    """About as many new geometries as the options ask for, evenly over parents and deformations.

    None where all deformations are ``none``, or of fixed amplitudes that earlier generations have used up: other
    sources may still find something. Evaluations of the model: none.
    """
    structures = task.options.structures
    kinds = sum(deformation.kind != "none" for deformation in structures.deformations)
    each = max(1, round(task.options.active_learning.candidates / max(1, kinds * count_cells(structures))))
    try:
        return list(candidates(structures, task.generation, campaign=task.options.name, count=each))
    except NoCandidatesError:
        return []
