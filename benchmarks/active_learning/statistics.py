"""Learning curves of a strategy and a baseline: labels for equal error, and whether one is worse.

Curves are arrays [seeds, counts] of errors, row by row the same seed: same first labels, same random state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval; infinite where the error is never reached."""

    value: float
    low: float
    high: float


def labels_for(counts: Sequence[int], errors: FloatArray, target: float) -> float:
    """Labels after which a curve has come down to ``target`` for the first time, between points by power laws.

    The first count where it begins below, infinity where it never comes so low.
    """
    best = np.minimum.accumulate(np.asarray(errors, dtype=float))
    below = np.flatnonzero(best <= target)
    if not len(below):
        return float("inf")
    k = int(below[0])
    if k == 0:
        return float(counts[0])
    (n0, n1), (e0, e1) = np.log(counts[k - 1 : k + 1]), np.log(best[k - 1 : k + 1])
    return float(np.exp(n0 + (n1 - n0) * (e0 - np.log(target)) / (e0 - e1)))


def share_of_labels(counts: Sequence[int], mine: FloatArray, theirs: FloatArray, at: int) -> Interval:
    """Labels that ``mine`` needs for the lowest error of ``theirs`` up to count ``at``, over those ``theirs`` needs.

    Those are fewer than ``at`` where ``theirs`` had that error before. Of geometric means over seeds, each error the
    lowest up to its count. The interval is a percentile bootstrap over seeds, which stay pairs.
    """
    column = list(counts).index(at)

    def share(curve: FloatArray, baseline: FloatArray) -> float:
        target = float(baseline[: column + 1].min())
        return labels_for(counts, curve, target) / labels_for(counts, baseline, target)

    draws = np.random.default_rng(0).integers(len(mine), size=(RESAMPLES, len(mine)))
    found = np.sort([share(*pair) for pair in zip(_means(mine, draws), _means(theirs, draws), strict=True)])
    edge = round(RESAMPLES * (1 - LEVEL) / 2)
    return Interval(share(_mean(mine), _mean(theirs)), float(found[edge]), float(found[-1 - edge]))


def error_ratio(mine: FloatArray, theirs: FloatArray) -> Interval:
    """Geometric mean over counts and seeds of error over error; t interval over seeds, each its mean over counts."""
    logs = np.log(np.asarray(mine) / np.asarray(theirs)).mean(axis=1)
    half = stats.t.ppf((1 + LEVEL) / 2, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return Interval(*(float(np.exp(x)) for x in (logs.mean(), logs.mean() - half, logs.mean() + half)))


def mean_and_interval(errors: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Geometric mean over seeds per count, and its 95 % t interval."""
    logs = np.log(errors)
    half = stats.t.ppf((1 + LEVEL) / 2, len(logs) - 1) * logs.std(axis=0, ddof=1) / np.sqrt(len(logs))
    return np.exp(logs.mean(axis=0)), np.exp(logs.mean(axis=0) - half), np.exp(logs.mean(axis=0) + half)


def _mean(errors: FloatArray) -> FloatArray:
    mean: FloatArray = np.exp(np.log(errors).mean(axis=0))
    return mean


def _means(errors: FloatArray, draws: NDArray[np.int64]) -> FloatArray:
    """Geometric means over the seeds of each draw."""
    means: FloatArray = np.exp(np.log(errors)[draws].mean(axis=1))
    return means
