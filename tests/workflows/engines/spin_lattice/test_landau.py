"""The longitudinal energy: derivatives, and Co's two spin states."""

from __future__ import annotations

import numpy as np
import pytest

from workflows.engines.spin_lattice.landau import Landau, spin_state_polynomial


def polynomial(first: float, onset: float = 2.2, merge: float = 6.6) -> Landau:
    second, third, fourth = spin_state_polynomial(onset, merge)
    return Landau(*(np.array([x]) for x in (first, second, third, fourth)))


def minima(landau: Landau) -> list[float]:
    s = np.linspace(0.01, 12, 6000)
    slopes = np.array([landau.slope(np.array([x]))[0] for x in s])
    return [float(x) for x, a, b in zip(s, slopes, slopes[1:], strict=False) if a < 0 <= b]


@pytest.mark.parametrize("columns", [1, 3])
def test_gradient_and_hessian_match_finite_differences(columns):
    rng = np.random.default_rng(0)
    landau = Landau(*rng.normal(size=(4, 5)))
    m, step = rng.normal(size=(5, columns)), 1e-5

    def energy(x: np.ndarray) -> float:
        return landau.energy(np.sum(x**2, axis=1))

    gradient, hessian = landau.gradient(m), landau.hessian(m)
    for site, axis in np.ndindex(5, columns):
        move = np.zeros_like(m)
        move[site, axis] = step
        assert gradient[site, axis] == pytest.approx((energy(m + move) - energy(m - move)) / 2 / step, abs=1e-6)
        row = (landau.gradient(m + move) - landau.gradient(m - move))[site] / 2 / step
        assert hessian[site, axis] == pytest.approx(row, abs=1e-6)


def test_low_spin_exists_on_one_side_of_the_threshold_only():
    threshold = -(2.2**2) * 6.6  # dL/ds = (s - 2.2)^2 (s - 6.6) there
    below, above = polynomial(threshold - 0.3), polynomial(threshold + 0.3)
    assert len(minima(below)) == 1
    low, high = minima(above)
    assert low < 2.2 < high < 6.6
    assert minima(below)[0] > 6.6
    energies = [above.energy(np.array([s])) for s in (low, high)]
    assert energies[1] < energies[0], "high spin stays the ground state where low spin appears"
