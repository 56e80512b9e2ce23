"""Errors of a model in training on labelled structures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .data import Graph, batches, collate
from .distributed import Processes
from .hypers import TrainOptions
from .loss import TASKS, task_errors, total_loss
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


def mean_errors(
    model: SpinMultiNet, graphs: Sequence[Graph], options: TrainOptions, together: Processes | None = None
) -> Metrics:
    """Mean errors and loss over structures, without touching the weights. Units as in `task_errors`.

    Batches without any label of a task do not count for it. Each of the processes evaluates a part of the batches; all
    of them get the mean over all.
    """
    together = together or Processes()
    device = model.neighbour_norm.device
    was_training = model.training
    model.eval()
    sums: Metrics = {}
    counts: Metrics = {}
    planned = list(batches(graphs, range(len(graphs)), options.batch_structures, options.batch_edges))
    for batch in planned[together.rank :: together.size]:
        graph = collate([graphs[k] for k in batch]).to(device)
        errors = task_errors(predicted(model, graph, options), graph, model.magnetic, options)
        add_errors(sums, counts, {"loss": total_loss(errors, options), **errors}, len(batch))
    model.train(was_training)
    names = ("loss", *TASKS)
    table = torch.tensor([[found.get(n, 0.0) for n in names] for found in (sums, counts)], dtype=torch.float64)
    total, weight = together.total(table).tolist()
    return {n: total[k] / weight[k] for k, n in enumerate(names) if weight[k] > 0}
