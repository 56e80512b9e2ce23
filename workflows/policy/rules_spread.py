"""Rules that look at one candidate at a time: by chance, by the committee's spread, by its expected error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from workflows.learning import SelectOptions, Task
from workflows.policy.contract import Rule, Scores
from workflows.policy.pool import FloatArray, Pool, PoolError

TASKS: tuple[Task, ...] = ("energy", "forces", "moments")
UNITS = {"energy": "meV/atom", "forces": "meV/Angstrom", "moments": "muB"}
"""Of the options and of what people read."""
SCALE = {"energy": 1000.0, "forces": 1000.0, "moments": 1.0}
"""From units of the pool (eV/atom, eV/Angstrom, muB) to UNITS."""
FLOOR = {"energy": 0.01, "forces": 0.1, "moments": 1e-4}
"""In UNITS: smaller spreads are no disagreement, so none is measured in units of less."""
LARGEST = {"energy": "", "forces": " (largest in the structure)", "moments": " (largest in the structure)"}
"""What a value of a candidate is: that of the whole structure, or of one of its sites."""
LOST = 1e-6
"""Score of a lost candidate at most: below what any price makes of another."""


class Random(Rule):
    """By chance, with a probability in proportion to one over the price: the baseline that other rules must beat."""

    name = "random"

    def begin(self, pool: Pool, rng: np.random.Generator) -> Scores:
        """One over numbers of exponential distribution: the largest of these per price is the first of such a draw."""
        return _Fixed(1.0 / np.maximum(rng.exponential(size=len(pool)), 1e-300), ["by chance"] * len(pool))


class Spread(Rule):
    """The largest spread of the committee over ``tasks``, each in units of its median over all candidates.

    Query by committee; the units let no task decide by its size. Where the median is below ``FLOOR``, the unit is that:
    a task on which all members agree about nearly all candidates has no say by rounding errors.
    """

    name = "spread"
    needs = frozenset({"spreads"})

    def __init__(self, tasks: Sequence[Task] = TASKS):
        self.tasks = tuple(tasks)

    @classmethod
    def of(cls, options: SelectOptions) -> Self:
        """With the tasks of the options."""
        return cls(options.tasks)

    def begin(self, pool: Pool, rng: np.random.Generator) -> Scores:
        """Scores that do not change while a batch is taken: the committee learns of a label in training only."""
        spreads = _spreads(pool, self.tasks)
        floors = _floors(self.tasks)
        medians = np.median(spreads, axis=0) if len(spreads) else floors
        relative = spreads / np.maximum(medians, floors)
        units = [
            "the median candidate's" if median >= floor else f"{floor:g} {UNITS[task]}"
            for task, median, floor in zip(self.tasks, medians, floors, strict=True)
        ]
        reasons = [
            f"spread of {self.tasks[k]} is {row[k]:.1f} times {units[k]}"
            for row, k in zip(relative, relative.argmax(axis=1), strict=True)
        ]
        return _Fixed(relative.max(axis=1, initial=0.0), reasons)


class Threshold(Rule):
    """Candidates whose expected error is above a threshold, but not where the model is lost.

    The expected error is the spread times the factor of the calibration (1 for a task without one). ``threshold``: per
    task, in meV/atom, and for the largest in the structure meV/Angstrom, muB; of tasks without one it is the
    ``quantile`` of the candidates, at least ``FLOOR``. A candidate counts where one task is above its threshold; it is
    lost where one is above ``lost`` times it. The score is the largest error over its threshold, so those between the
    bounds come first and the good ones after them. The lost ones come last, the least lost first: what a model says
    there means little, and what is there is often unphysical.

    Source: levels of trust of DP-GEN (Zhang et al., Comput. Phys. Commun. 253, 107206 (2020)); thresholds of calibrated
    errors as in AiiDA-TrainsPot.
    """

    name = "threshold"
    needs = frozenset({"spreads"})

    def __init__(
        self,
        tasks: Sequence[Task] = TASKS,
        threshold: dict[Task, float] | None = None,
        quantile: float = 0.8,
        lost: float = 5.0,
    ):
        self.tasks, self.threshold = tuple(tasks), threshold or {}
        self.quantile, self.lost = quantile, lost

    @classmethod
    def of(cls, options: SelectOptions) -> Self:
        """With the tasks and bounds of the options."""
        return cls(options.tasks, options.threshold, options.quantile, options.lost)

    def begin(self, pool: Pool, rng: np.random.Generator) -> Scores:
        """Scores that do not change while a batch is taken."""
        errors = _spreads(pool, self.tasks) * [pool.factors.get(task, 1.0) for task in self.tasks]
        floors = _floors(self.tasks)
        adaptive = np.maximum(np.quantile(errors, self.quantile, axis=0), floors) if len(errors) else floors
        limits = np.array([self.threshold.get(t, found) for t, found in zip(self.tasks, adaptive, strict=True)])
        ratios = errors / limits
        worst = ratios.max(axis=1, initial=0.0)
        values = np.where(worst > self.lost, LOST / np.maximum(worst, 1.0), worst)
        reasons = [self._reason(row, error, limits) for row, error in zip(ratios, errors, strict=True)]
        return _Fixed(values, reasons)

    def _reason(self, ratios: FloatArray, errors: FloatArray, limits: FloatArray) -> str:
        k = int(ratios.argmax())
        task = self.tasks[k]
        where = "above" if ratios[k] >= 1 else "below"
        where = f"far above (more than {self.lost:g} times)" if ratios[k] > self.lost else where
        error = f"{errors[k]:.3g} {UNITS[task]}{LARGEST[task]}"
        return f"expected error of {task} {error}, {where} the threshold {limits[k]:.3g}"


class _Fixed(Scores):
    """Scores that do not change while a batch is taken."""

    def __init__(self, values: FloatArray, reasons: list[str]):
        self._values, self._reasons = values, reasons

    def values(self) -> FloatArray:
        return self._values

    def take(self, index: int) -> None:
        """Nothing changes."""

    def reason(self, index: int) -> str:
        return self._reasons[index]


def _spreads(pool: Pool, tasks: Sequence[Task]) -> FloatArray:
    """[n, tasks] spreads, in UNITS. Raises PoolError where one is not a number."""
    found = np.array([[getattr(c, task) for task in tasks] for c in pool.candidates], dtype=float)
    found = found.reshape(-1, len(tasks))
    if not np.all(np.isfinite(found)):
        bad = pool.candidates[int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])]
        raise PoolError(f"candidate {bad.config_id}: a spread is not a number; the committee cannot predict it")
    return found * [SCALE[task] for task in tasks]


def _floors(tasks: Sequence[Task]) -> FloatArray:
    return np.array([FLOOR[task] for task in tasks])
