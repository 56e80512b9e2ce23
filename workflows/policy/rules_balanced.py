"""The rule that asks no model: as many labels of everything that a campaign is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping

import numpy as np

from workflows.policy.contract import Rule, Scores
from workflows.policy.pool import Candidate, FloatArray, Pool

Group = tuple[str, str]


class Balanced(Rule):
    """A candidate of the composition and ordering that have the fewest labels, the known ones counted.

    Among those, one of the deformation with the fewest labels; among those, one by chance. The energy of an ordering
    in a composition that has no label yet is what a model of few labels knows least, and a draw by chance leaves such
    gaps for long: docs/decisions/020-default-selection.md. Spin states beyond the campaign's orderings count as one
    ordering of their composition (``Candidate.state``): else each of their many names would be a group without a label,
    and they would come before everything. This is stratified sampling with equal allocation (Cochran,
    Sampling Techniques, chapter 5), carried over rounds.
    """

    name = "balanced"

    def begin(self, pool: Pool, rng: np.random.Generator) -> Scores:
        """One over the labels of the group, the ones taken included."""
        return _Balance(pool, rng)


class _Balance(Scores):
    """``groups`` and ``kinds``: labels by composition and ordering, and by deformation."""

    def __init__(self, pool: Pool, rng: np.random.Generator):
        self.candidates = pool.candidates
        self.groups: Counter[Hashable] = Counter(map(_group, pool.known))
        self.kinds: Counter[Hashable] = Counter(known.deformation for known in pool.known)
        self.chance = rng.random(len(pool))

    def values(self) -> FloatArray:
        labels = _counts(self.groups, map(_group, self.candidates))
        kinds = _counts(self.kinds, (candidate.deformation for candidate in self.candidates))
        below_one = (kinds + self.chance) / (kinds.max(initial=0.0) + 1)  # decides among equals only
        values: FloatArray = 1 / (1 + labels + below_one)
        return values

    def take(self, index: int) -> None:
        """One label more of its group and its deformation."""
        self.groups[_group(self.candidates[index])] += 1
        self.kinds[self.candidates[index].deformation] += 1

    def reason(self, index: int) -> str:
        candidate = self.candidates[index]
        n, kind = self.groups[_group(candidate)], self.kinds[candidate.deformation]
        return (
            f"{n} labels of {candidate.formula or 'this composition'} in {candidate.spins}, {kind} of deformation "
            f"{candidate.deformation}; the fewest come first"
        )


def _group(candidate: Candidate) -> Group:
    return candidate.formula, candidate.spins


def _counts(counter: Mapping[Hashable, int], names: Iterable[Hashable]) -> FloatArray:
    """As a Counter counts: 0 for a name that is not there."""
    return np.array([counter.get(name, 0) for name in names], dtype=np.float64)
