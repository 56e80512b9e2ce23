"""Learning rate as a function of the epochs done, so that a resumed training needs no state for it."""

from __future__ import annotations

import math

import torch

from .hypers import TrainOptions


def learning_rate(options: TrainOptions, done: float, steps_per_epoch: int, now: float) -> float:
    """Rate of the step after `done` epochs (a fraction inside an epoch): linear warm-up, then cosine or constant.

    After the warm-up, `plateau` keeps the rate `now`, which its scheduler has set.
    """
    o = options
    if done < o.warmup_epochs:
        return o.learning_rate * (done + 1.0 / steps_per_epoch) / o.warmup_epochs
    if o.schedule == "plateau":
        return now if done > o.warmup_epochs else o.learning_rate
    if o.schedule == "constant":
        return o.learning_rate
    x = (done - o.warmup_epochs) / max(o.epochs - o.warmup_epochs, 1)
    return o.final_learning_rate + 0.5 * (o.learning_rate - o.final_learning_rate) * (1.0 + math.cos(math.pi * x))


def plateau(optimizer: torch.optim.Optimizer, options: TrainOptions) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    """Halves the rate where the validation loss (or without validation the training loss) stops falling."""
    return torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=options.plateau_patience, min_lr=options.final_learning_rate
    )
