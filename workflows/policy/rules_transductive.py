"""The rule that asks what a label says about all candidates, not only about its own configuration."""

from __future__ import annotations

import numpy as np

from workflows.policy.contract import Scores
from workflows.policy.pool import FloatArray, Pool
from workflows.policy.rules_features import MaxDet, scaled


class Transductive(MaxDet):
    """The candidate whose label lowers the mean variance of the predictions on all candidates most.

    Bayesian linear regression on the gradient features, as max-det; but max-det takes what is least known itself, often
    the oddest structures of a pool, and this takes what tells most about the others. A score is the fall of the mean
    variance in units of that before any label. Rank-one updates: O(n g + g^2) for each one taken.

    Source: transductive experimental design, Yu, Bi and Tresp, ICML 2006; the trace of the posterior covariance over a
    given density is the A-optimality (here V- or I-optimality) of the design of experiments.
    """

    name = "transductive"

    def begin(self, pool: Pool, rng: np.random.Generator) -> Scores:
        """Falls of the mean variance."""
        return _Falls(*scaled(pool, "gradients", self.scaling), self.ridge)


class _Falls(Scores):
    """``covariance`` S [g, g] of the weights; ``variance`` x.S.x and ``shared`` x.S T S x [n] of each row x.

    T [g, g] is the mean of x x^T over all rows: x.S T S x is the mean square of the covariance with the others.
    """

    def __init__(self, rows: FloatArray, known: FloatArray, ridge: float):
        before = float(np.mean(np.einsum("ng,ng->n", rows, rows))) if len(rows) else 0.0
        unit = np.sqrt(before) if before > 0 else 1.0
        self.rows, known = rows / unit, known / unit
        self.ridge = ridge
        self.density = self.rows.T @ self.rows / max(1, len(rows))
        self.covariance = np.linalg.inv(np.eye(rows.shape[1]) + known.T @ known / ridge)
        seen = self.rows @ self.covariance
        self.variance = np.einsum("ng,ng->n", seen, self.rows)
        self.shared = np.einsum("ng,ng->n", seen @ self.density, seen)

    def values(self) -> FloatArray:
        return self.shared / (self.ridge + self.variance)

    def take(self, index: int) -> None:
        """A label there (Sherman-Morrison): S loses s s^T / d, with s = S x of the one taken."""
        moves = self.covariance @ self.rows[index]
        noisy = self.ridge + self.variance[index]
        towards = self.density @ moves
        along = self.rows @ moves
        others = self.rows @ (self.covariance @ towards)
        self.shared = self.shared - 2 * along * others / noisy + along**2 * float(moves @ towards) / noisy**2
        self.shared = np.maximum(self.shared, 0.0)
        self.covariance = self.covariance - np.outer(moves, moves) / noisy
        self.variance = np.maximum(self.variance - along**2 / noisy, 0.0)

    def reason(self, index: int) -> str:
        left = float(np.sum(self.covariance * self.density))
        share = self.values()[index] / left if left > 0 else 0.0
        return f"its label takes {100 * share:.2g} % off the mean variance of the predictions on all candidates"
