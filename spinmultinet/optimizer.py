"""What turns gradients into weights: the optimiser, and the exponential mean of the weights."""

from __future__ import annotations

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .hypers import TrainOptions
from .model import SpinMultiNet


def optimizer(model: SpinMultiNet, options: TrainOptions) -> torch.optim.Optimizer:
    """Adam or AdamW over all weights of the model."""
    kind = torch.optim.Adam if options.optimizer == "adam" else torch.optim.AdamW
    return kind(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)


def averaged(model: SpinMultiNet, decay: float) -> AveragedModel | None:
    """A copy of the model for the exponential moving average of its weights, or nothing for decay 0."""
    if decay == 0:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]


def complete_gradients(model: SpinMultiNet) -> None:
    """Zeros for weights that no label of the batch reaches: the step is then that of several processes."""
    for weight in model.parameters():
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
