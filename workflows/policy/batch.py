"""Take a batch from a pool: the highest score per price, spread over groups, no twins, within the budget. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from workflows.learning import SelectOptions
from workflows.policy.contract import Rule, Scores
from workflows.policy.pool import Choice, FloatArray, Pool, PoolError

BoolArray = NDArray[np.bool_]

GROUP_FIELDS = {"composition": "formula", "ordering": "spins", "deformation": "deformation", "source": "source"}


def choose(
    pool: Pool, rule: Rule, count: int, options: SelectOptions | None = None, seed: Sequence[int] = (0,)
) -> list[Choice]:
    """At most ``count`` candidates, the most valuable per price first; the order of the candidates does not matter.

    Of twins one is taken, and none that is a twin of a known label. As long as others can give, a geometry
    (``pair_id``) is taken once and no group of candidates that are alike in ``options.spread_over`` gives more than its
    share plus one. ``options.core_hours`` bounds the sum of prices; the first candidate always fits. ``seed`` is that
    of rules that draw by chance. Raises PoolError for a candidate that is there twice, for prices that are not
    positive, and as the rule does.
    """
    options = options or SelectOptions()
    names = [candidate.config_id for candidate in pool.candidates]
    if len(set(names)) < len(names):
        raise PoolError(f"candidate {max(names, key=names.count)} is there twice; give each configuration once")
    order = np.argsort(np.array(names, dtype=str), kind="stable")
    batch = _Batch(_reordered(pool, order), rule, count, options, seed)
    for most_per_group, geometry_once in batch.stages():
        while len(batch.chosen) < count and batch.take(most_per_group, geometry_once):
            pass
    return batch.chosen


class _Batch:
    """A batch in the making. Groups, geometries and twins are numbers, equal for equal ones."""

    def __init__(self, pool: Pool, rule: Rule, count: int, options: SelectOptions, seed: Sequence[int]):
        self.pool, self.options, self.count = pool, options, count
        self.scores: Scores = rule.begin(pool, np.random.default_rng(list(seed)))
        self.prices = _prices(pool)
        self.worth = (self.prices / np.median(self.prices)) ** -options.price if len(pool) else self.prices
        fields = [GROUP_FIELDS[name] for name in options.spread_over]
        self.groups = _numbers([tuple(getattr(c, field) for field in fields) for c in pool.candidates])
        self.pairs = _numbers([c.pair_id for c in pool.candidates])
        self.twins = _numbers([c.twin or c.config_id for c in pool.candidates])
        self.left = np.array([not c.twin or c.twin not in pool.known_twins for c in pool.candidates], dtype=bool)
        self.in_group = np.zeros(len(pool) + 1, dtype=np.int64)
        self.pair_taken = np.zeros(len(pool), dtype=bool)
        self.spent = 0.0
        self.chosen: list[Choice] = []

    def stages(self) -> list[tuple[int, bool]]:
        """Most per group and whether a geometry is taken once, strictest first."""
        share = math.ceil(self.count / max(1, len(set(self.groups.tolist())))) + 1
        strict = [(share, True), (self.count, True)] if self.options.geometry_once else [(share, False)]
        return [*strict, (self.count, False)]

    def take(self, most_per_group: int, geometry_once: bool) -> bool:
        """Take the best that is allowed; False where none is."""
        allowed = self.left & self._affordable() & (self.in_group[self.groups] < most_per_group)
        if geometry_once:
            allowed &= ~self.pair_taken[self.pairs]
        if not allowed.any():
            return False
        worth = np.where(allowed, self.scores.values() * self.worth, -np.inf)
        self._accept(int(np.argmax(worth)), float(worth.max()))
        return True

    def _affordable(self) -> BoolArray:
        hours = self.options.core_hours
        if hours is None or not self.chosen:
            return np.ones(len(self.pool), dtype=bool)
        return self.spent + self.prices <= 3600 * hours

    def _accept(self, index: int, worth: float) -> None:
        candidate = self.pool.candidates[index]
        self.chosen.append(Choice(candidate, worth, self.scores.reason(index)))
        self.scores.take(index)
        self.spent += candidate.price
        self.in_group[self.groups[index]] += 1
        self.pair_taken[self.pairs[index]] = True
        self.left &= self.twins != self.twins[index]


def _prices(pool: Pool) -> FloatArray:
    """[n] prices. Raises PoolError where one is not a positive number."""
    prices = np.array([candidate.price for candidate in pool.candidates], dtype=float)
    bad = np.flatnonzero(~(np.isfinite(prices) & (prices > 0)))
    if len(bad):
        candidate = pool.candidates[bad[0]]
        raise PoolError(f"candidate {candidate.config_id}: price is {candidate.price}; give core seconds above 0")
    return prices


def _numbers(names: Sequence[Hashable]) -> NDArray[np.int64]:
    """[n] a number per name, equal for equal ones."""
    index: dict[Hashable, int] = {}
    return np.array([index.setdefault(name, len(index)) for name in names], dtype=np.int64)


def _reordered(pool: Pool, order: NDArray[np.int64]) -> Pool:
    return Pool(
        [pool.candidates[k] for k in order],
        None if pool.features is None else pool.features[order],
        None if pool.gradients is None else pool.gradients[order],
        pool.known_features,
        pool.known_gradients,
        pool.factors,
        pool.known_twins,
        pool.known,
    )
