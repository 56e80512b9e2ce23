"""Rules that look at candidates together: far from what is known, or telling most of what is not."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np

from workflows.learning import RuleName, SelectOptions
from workflows.policy.contract import Need, Rule, Scores
from workflows.policy.pool import FloatArray, Pool, PoolError

Scaling = Literal["none", "columns", "whiten"]

TINY = 1e-6
"""Columns, or directions, that vary less than this times the largest hold rounding errors of the model only."""

CHUNK = 256
"""Known labels that are compared at once."""


class FarthestPoint(Rule):
    """The candidate farthest from the known labels and from those taken, in learned features of unit variance.

    Farthest-point sampling (Gonzalez, Theor. Comput. Sci. 38, 293): the baseline that spreads over space and knows of
    no error. Without known labels the first one is that farthest from the mean.
    """

    name = "farthest-point"
    needs = frozenset({"features"})

    def __init__(self, scaling: Scaling = "columns"):
        self.scaling = scaling

    def begin(self, pool: Pool, rng: np.random.Generator) -> Scores:
        """Distances to the nearest known label or taken candidate."""
        return _Distances(*scaled(pool, "features", self.scaling), "features")


class MaxDist(Rule):
    """As farthest-point, in gradient features: there distances are differences of predictions that labels can make.

    Source: Zaverkin and Kaestner, Mach. Learn.: Sci. Technol. 2, 035009 (2021); the default of apax.
    """

    name = "max-dist"
    needs = frozenset({"gradients"})

    def __init__(self, scaling: Scaling = "none"):
        self.scaling = scaling

    @classmethod
    def of(cls, options: SelectOptions) -> Self:
        """With the scaling of the options."""
        return cls(options.scaling)

    def begin(self, pool: Pool, rng: np.random.Generator) -> Scores:
        """Distances to the nearest known label or taken candidate."""
        return _Distances(*scaled(pool, "gradients", self.scaling), "gradient features")


class MaxDet(Rule):
    """The candidate whose prediction a linear model on the gradient features knows least, given all taken before.

    Greedy maximisation of det(K + ridge): a candidate's score is its posterior variance under Bayesian linear
    regression with known labels and those taken as data, in units of the mean variance that candidates have before any
    label; ``ridge`` is the variance of the noise in the same unit. Rank-one updates: O(n g) for each one taken.

    Source: Zaverkin et al., npj Comput. Mater. 10, 83 (2024) (MaxDet); Holzmueller et al., J. Mach. Learn. Res. 24, 164
    (2023).
    """

    name: ClassVar[RuleName] = "max-det"
    needs = frozenset({"gradients"})

    def __init__(self, ridge: float = 1e-3, scaling: Scaling = "none"):
        self.ridge, self.scaling = ridge, scaling

    @classmethod
    def of(cls, options: SelectOptions) -> Self:
        """With the ridge and the scaling of the options."""
        return cls(options.ridge, options.scaling)

    def begin(self, pool: Pool, rng: np.random.Generator) -> Scores:
        """Posterior variances."""
        return _Variances(*scaled(pool, "gradients", self.scaling), self.ridge)


class _Distances(Scores):
    def __init__(self, rows: FloatArray, known: FloatArray, what: str):
        self.rows, self.what = rows, what
        self.squares = np.einsum("nd,nd->n", rows, rows)
        self.nearest = self.squares.copy()  # to the mean of all, which is the origin
        self.nothing_yet = True
        for start in range(0, len(known), CHUNK):
            others = known[start : start + CHUNK]
            products = np.einsum("md,md->m", others, others) - 2 * self.rows @ others.T
            self._approach(self.squares + products.min(axis=1))

    def _approach(self, squares: FloatArray) -> None:
        nearest = np.maximum(squares, 0.0)
        self.nearest = nearest if self.nothing_yet else np.minimum(self.nearest, nearest)
        self.nothing_yet = False

    def values(self) -> FloatArray:
        return np.sqrt(self.nearest)

    def take(self, index: int) -> None:
        """Nothing is worth more than its distance to the one taken."""
        self._approach(self.squares + self.squares[index] - 2 * (self.rows @ self.rows[index]))

    def reason(self, index: int) -> str:
        whence = "the mean of all" if self.nothing_yet else "the nearest known or chosen one"
        return f"{np.sqrt(self.nearest[index]):.3g} from {whence} in {self.what}"


class _Variances(Scores):
    def __init__(self, rows: FloatArray, known: FloatArray, ridge: float):
        before = float(np.mean(np.einsum("ng,ng->n", rows, rows))) if len(rows) else 0.0
        unit = np.sqrt(before) if before > 0 else 1.0
        self.rows, known = rows / unit, known / unit
        self.ridge = ridge
        self.covariance = np.linalg.inv(np.eye(rows.shape[1]) + known.T @ known / ridge)  # [g, g], of the weights
        self.prior = np.einsum("ng,ng->n", self.rows, self.rows)
        self.variance = np.maximum(np.einsum("ng,ng->n", self.rows @ self.covariance, self.rows), 0.0)

    def values(self) -> FloatArray:
        return self.variance

    def take(self, index: int) -> None:
        """A label there: what its prediction shares with others is known in these too (Sherman-Morrison)."""
        moves = self.covariance @ self.rows[index]
        noisy = self.ridge + self.variance[index]
        self.covariance -= np.outer(moves, moves) / noisy
        self.variance = np.maximum(self.variance - (self.rows @ moves) ** 2 / noisy, 0.0)

    def reason(self, index: int) -> str:
        left = self.variance[index] / self.prior[index] if self.prior[index] > 0 else 0.0
        return f"{100 * left:.2g} % of the variance of its prediction is left by known labels and those chosen before"


def scaled(pool: Pool, what: Need, scaling: Scaling) -> tuple[FloatArray, FloatArray]:
    """Rows of the candidates [n, g] and of the known labels [m, g], about their common mean and scaled.

    ``columns``: unit variance of every column. ``whiten``: unit variance in every direction in which they vary. Columns
    that do not vary are left out. Raises PoolError where there are none.
    """
    rows, known = (pool.features, pool.known_features) if what == "features" else (pool.gradients, pool.known_gradients)
    if rows is None:
        raise PoolError(f"the pool has no {what}; a rule that names them in its needs must get them")
    if not len(rows):
        return np.zeros((0, 0)), np.zeros((0, 0))
    both = rows if known is None or not len(known) else np.concatenate([rows, known])
    both = both - both.mean(axis=0)
    if scaling == "columns":
        size = both.std(axis=0)
        varies = size > TINY * size.max(initial=0.0)
        both = both[:, varies] / size[varies]
    elif scaling == "whiten":
        _, sizes, turn = np.linalg.svd(both, full_matrices=False)
        varies = sizes > TINY * sizes.max(initial=0.0)
        both = both @ turn[varies].T / sizes[varies] * np.sqrt(len(both))
    return both[: len(rows)], both[len(rows) :]
