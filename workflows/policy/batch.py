"""Take a batch from a pool: the highest score per price, spread over groups, no twins, within the budget. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from workflows.learning import SelectOptions
from workflows.policy.pool import Candidate, Choice, FloatArray, Pool
from workflows.policy.rules import Rule, Scores

GROUP_FIELDS = {"composition": "formula", "ordering": "ordering", "deformation": "deformation", "source": "source"}


def choose(
    pool: Pool, rule: Rule, count: int, options: SelectOptions | None = None, seed: Sequence[int] = (0,)
) -> list[Choice]:
    """At most ``count`` candidates, the most valuable per price first; the order of the candidates does not matter.

    Of twins one is taken. As long as others can give, a geometry (``pair_id``) is taken once and no group of candidates
    that are alike in ``options.spread_over`` gives more than its share plus one. ``options.core_hours`` bounds the sum
    of prices; the first candidate always fits. ``seed`` is that of rules that draw by chance.
    """
    options = options or SelectOptions()
    order = np.argsort([candidate.config_id for candidate in pool.candidates], kind="stable")
    batch = _Batch(_reordered(pool, order), rule, count, options, seed)
    for most_per_group, geometry_once in batch.stages():
        while len(batch.chosen) < count and batch.take(most_per_group, geometry_once):
            pass
    return batch.chosen


class _Batch:
    """A batch in the making."""

    def __init__(self, pool: Pool, rule: Rule, count: int, options: SelectOptions, seed: Sequence[int]):
        self.pool, self.options, self.count = pool, options, count
        self.scores: Scores = rule.begin(pool, np.random.default_rng(list(seed)))
        self.prices = np.array([candidate.price for candidate in pool.candidates], dtype=float)
        self.groups = [_group(candidate, options) for candidate in pool.candidates]
        self.left = np.ones(len(pool), dtype=bool)
        self.spent = 0.0
        self.chosen: list[Choice] = []
        self.taken: Counter[tuple[str, ...]] = Counter()
        self.pairs: set[str] = set()

    def stages(self) -> list[tuple[int, bool]]:
        """Most per group and whether a geometry is taken once, strictest first."""
        share = math.ceil(self.count / max(1, len(set(self.groups)))) + 1
        strict = [(share, True), (self.count, True)] if self.options.geometry_once else [(share, False)]
        return [*strict, (self.count, False)]

    def take(self, most_per_group: int, geometry_once: bool) -> bool:
        """Take the best that is allowed; False where none is."""
        allowed = self.left & self._affordable()
        for index in np.flatnonzero(allowed):
            repeated = geometry_once and self.pool.candidates[index].pair_id in self.pairs
            allowed[index] = not repeated and self.taken[self.groups[index]] < most_per_group
        if not allowed.any():
            return False
        worth = np.where(allowed, self._worth(), -np.inf)
        self._accept(int(np.argmax(worth)), float(worth.max()))
        return True

    def _worth(self) -> FloatArray:
        typical = float(np.median(self.prices)) or 1.0
        return self.scores.values() / (self.prices / typical) ** self.options.price

    def _affordable(self) -> np.ndarray:
        hours = self.options.core_hours
        if hours is None or not self.chosen:
            return np.ones(len(self.pool), dtype=bool)
        return self.spent + self.prices <= 3600 * hours

    def _accept(self, index: int, worth: float) -> None:
        candidate = self.pool.candidates[index]
        self.chosen.append(Choice(candidate, worth, self.scores.reason(index)))
        self.scores.take(index)
        self.spent += candidate.price
        self.taken[self.groups[index]] += 1
        self.pairs.add(candidate.pair_id)
        self.left[index] = False
        for other, one in enumerate(self.pool.candidates):
            self.left[other] &= not (candidate.twin and one.twin == candidate.twin)


def _group(candidate: Candidate, options: SelectOptions) -> tuple[str, ...]:
    return tuple(str(getattr(candidate, GROUP_FIELDS[name])) for name in options.spread_over)


def _reordered(pool: Pool, order: np.ndarray) -> Pool:
    return Pool(
        [pool.candidates[k] for k in order],
        None if pool.features is None else pool.features[order],
        None if pool.gradients is None else pool.gradients[order],
        pool.known_features,
        pool.known_gradients,
        pool.factors,
    )
