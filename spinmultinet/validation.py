"""Errors of a model in training on labelled structures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .data import Graph, batches, collate
from .hypers import TrainOptions
from .loss import task_errors, total_loss
from .metrics import Metrics
from .model import SpinMultiNet


def predicted(model: SpinMultiNet, graph: Graph, o: TrainOptions) -> dict[str, Tensor]:
    """What the loss needs: derivatives with weight zero, and magnetic forces without labels, are not calculated."""
    held = o.magnetic_forces_weight > 0 and bool(torch.isfinite(graph.magnetic_forces).any())
    found: dict[str, Tensor] = model(graph, forces=o.forces_weight > 0 or o.stress_weight > 0, magnetic_forces=held)
    return found


def add_errors(sums: Metrics, counts: Metrics, errors: dict[str, Tensor], structures: int) -> None:
    """Add mean errors of so many structures to sums and counts per task, in place."""
    for task, value in errors.items():
        sums[task] = sums.get(task, 0.0) + float(value.detach()) * structures
        counts[task] = counts.get(task, 0.0) + structures


def mean_errors(model: SpinMultiNet, graphs: Sequence[Graph], options: TrainOptions) -> Metrics:
    """Mean errors and loss over structures, without touching the weights. Units as in `task_errors`.

    Batches without any label of a task do not count for it.
    """
    was_training = model.training
    model.eval()
    sums: Metrics = {}
    counts: Metrics = {}
    for batch in batches(graphs, range(len(graphs)), options.batch_structures, options.batch_edges):
        graph = collate([graphs[k] for k in batch])
        errors = task_errors(predicted(model, graph, options), graph, model.magnetic, options)
        add_errors(sums, counts, {"loss": total_loss(errors, options), **errors}, len(batch))
    model.train(was_training)
    return {task: value / counts[task] for task, value in sums.items()}
