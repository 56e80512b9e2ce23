"""The loss of a batch whose structures are divided among processes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .data import Graph
from .distributed import Processes
from .hypers import TrainOptions
from .loss import TASKS, task_sums, total_loss
from .model import SpinMultiNet
from .validation import predicted


class BatchLoss(nn.Module):
    """Loss of one batch as a module: what it depends on is what DistributedDataParallel has to wait for."""

    def __init__(self, model: SpinMultiNet, options: TrainOptions, together: Processes) -> None:
        super().__init__()
        self.model, self.options, self.together = model, options, together

    def forward(self, graph: Graph) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss whose mean over processes has the gradient of the whole batch, and the whole batch's mean errors.

        `graph` is the share of this process. A mean over all labels is the sum over processes of (sum of errors here) /
        (number of labels anywhere): no process needs to have as many as the others.
        """
        mine = task_sums(predicted(self.model, graph, self.options), graph, self.model.magnetic, self.options)
        sums, counts, there = self.together.total(_table(mine)).unbind()
        n_labels = dict(zip(TASKS, counts.clamp_min(1.0).tolist(), strict=True))
        here = {task: self.together.size * value / n_labels[task] for task, (value, _) in mine.items()}
        errors = {task: sums[k] / n_labels[task] for k, task in enumerate(TASKS) if there[k] > 0}
        loss = total_loss(here, self.options)
        if self.together.size > 1:
            # Weights that these labels do not reach get a gradient of zero: DistributedDataParallel waits for all.
            loss = loss + 0.0 * torch.stack([p.sum() for p in self.model.parameters()]).sum()
        return loss, {"loss": total_loss(errors, self.options), **errors}


def _table(sums: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Per task [3, T], float64 on the CPU: sum of errors, number of labels, and 1 if the task is there at all."""
    table = torch.zeros(3, len(TASKS), dtype=torch.float64)
    for task, (value, count) in sums.items():
        table[:, TASKS.index(task)] = torch.stack(
            [value.detach().double(), count.double(), count.new_ones(()).double()]
        )
    return table


def wrapped(loss: BatchLoss, together: Processes) -> nn.Module:
    """The module to call in training: with several processes, its gradients are those of all."""
    if together.size == 1:
        return loss
    with warnings.catch_warnings():
        # Buffers are statistics and never change. Not all versions of PyTorch know the new name of broadcast_buffers.
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(loss, broadcast_buffers=False)


def unlabelled(graph: Graph) -> Graph:
    """The same without labels: what a process computes that has no share of a batch, for all must take every step."""
    labels = ("energy", "forces", "stress", "moments_out", "magnetic_forces")
    nothing: dict[str, Any] = {name: torch.full_like(getattr(graph, name), float("nan")) for name in labels}
    return replace(graph, **nothing)
