"""The transductive rule against posterior variances computed from scratch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workflows.policy.pool import Candidate, Pool
from workflows.policy.rules import Transductive

RIDGE = 0.01


def pool(n, known, seed, g=4):
    rng = np.random.default_rng(seed)
    candidates = [Candidate(f"{k}", f"{k}", "FM", "shear") for k in range(n)]
    return Pool(candidates, gradients=rng.normal(size=(n, g)), known_gradients=rng.normal(size=(known, g)))


def mean_variance(rows, labelled):
    """Of Bayesian linear regression, in units of that before any label; rows and labels about their common mean."""
    covariance = np.linalg.inv(np.eye(rows.shape[1]) + labelled.T @ labelled / RIDGE)
    return np.mean(np.einsum("ng,gh,nh->n", rows, covariance, rows))


def scaled(given_pool):
    both = np.concatenate([given_pool.gradients, given_pool.known_gradients])
    both = both - both.mean(axis=0)
    rows = both[: len(given_pool)]
    unit = np.sqrt(np.mean(np.sum(rows**2, axis=1)))
    return rows / unit, both[len(given_pool) :] / unit


@given(st.integers(2, 12), st.integers(0, 6), st.integers(0, 1000))
def test_scores_are_falls_of_the_mean_variance_after_any_labels(n, known, seed):
    given_pool = pool(n, known, seed)
    rows, labelled = scaled(given_pool)
    scores = Transductive(RIDGE).begin(given_pool, np.random.default_rng(0))
    for taken in range(min(3, n)):
        before = mean_variance(rows, labelled)
        falls = [before - mean_variance(rows, np.vstack([labelled, row])) for row in rows]
        assert np.allclose(scores.values(), falls, rtol=1e-6, atol=1e-9)
        scores.take(taken)
        labelled = np.vstack([labelled, rows[taken]])


def test_one_of_many_alike_comes_before_a_lonely_outlier():
    rows = np.array([[1.0, 0.0], [1.0, 0.01], [1.0, -0.01], [1.0, 0.02], [1.0, -0.02], [0.0, 1.5]])
    rows = np.concatenate([rows, -rows])  # about their mean already
    candidates = [Candidate(f"{k}", f"{k}", "FM", "shear") for k in range(len(rows))]
    scores = Transductive(RIDGE).begin(Pool(candidates, gradients=rows), np.random.default_rng(0))
    first = int(np.argmax(scores.values()))
    assert first % 6 != 5
    assert "off the mean variance" in scores.reason(first)
