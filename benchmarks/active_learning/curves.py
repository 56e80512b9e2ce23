"""Results of runs as learning curves, and what the tables compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.active_learning.plan import Plan, Task
from benchmarks.active_learning.statistics import FloatArray, Interval, error_ratio, share_of_labels
from workflows.finished import Finished

GOALS = ("unseen/energy", "seen/differences")
"""Errors for which the default is to need half the labels."""

QUANTITIES = {
    "seen/differences": "E(FM) - E(AFM) of equal geometry, meV/atom",
    "unseen/energy": "held-out orderings: energy, meV/atom",
    "unseen/forces": "held-out orderings: forces, meV/Angstrom",
    "unseen/moments": "held-out orderings: moments, muB",
    "seen/energy": "energy, meV/atom",
    "seen/forces": "forces, meV/Angstrom",
    "seen/moments": "moments, muB",
}
"""What is plotted and compared, the goals first."""


@dataclass(frozen=True)
class Curves:
    """Errors [seeds, counts] by strategy and quantity, of the seeds that every strategy has finished."""

    counts: list[int]
    seeds: list[int]
    pools: list[dict[str, Any]]
    """Of each seed: candidates, in all and by deformation and ordering, and tests."""
    errors: Mapping[str, Mapping[str, FloatArray]]

    def compared(self, default: str, baseline: str, quantity: str) -> Comparison:
        """The default beside a baseline."""
        mine, theirs = self.errors[default][quantity], self.errors[baseline][quantity]
        shares = {at: share_of_labels(self.counts, mine, theirs, at) for at in self.counts[2:]}
        ratio = error_ratio(mine[:, 1:], theirs[:, 1:])  # the first models are the same
        return Comparison(quantity, baseline, shares, ratio)


@dataclass(frozen=True)
class Comparison:
    """Of the default with a baseline: shares of labels at counts of the baseline, and the ratio of errors."""

    quantity: str
    baseline: str
    shares: dict[int, Interval]
    ratio: Interval

    @property
    def worse(self) -> bool:
        """Whether the default's errors are larger with 95 % confidence."""
        return self.ratio.low > 1


def read_curves(plan: Plan, task: Task, folder: Path, strategies: Sequence[str] = ()) -> Curves:
    """Curves of a task in ``folder``; seeds that a strategy lacks are left out for all."""
    names = list(strategies or task.strategies)
    results = Finished(folder / f"{task.name}.jsonl", plan.source(task))
    keys = [f"{name}/{{}}/{count}" for name in names for count in task.counts] + ["pool/{}"]
    seeds = [seed for seed in task.seeds if all(key.format(seed) in results for key in keys)]
    errors = {
        name: {
            quantity: np.array([[results[f"{name}/{s}/{n}"]["errors"][quantity] for n in task.counts] for s in seeds])
            for quantity in QUANTITIES
        }
        for name in names
    }
    return Curves(list(task.counts), seeds, [results[f"pool/{s}"] for s in seeds], errors)
