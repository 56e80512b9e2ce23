"""Functions of a distance."""

from __future__ import annotations

import numpy as np
import pytest

from workflows.engines.spin_lattice.radial import decay, switch


def test_switch_is_smooth_at_both_ends():
    ends = np.array([2.8, 2.8 + 1e-6, 3.4 - 1e-6, 3.4])
    value, slope = switch(ends, 2.8, 3.4)
    assert value == pytest.approx([1, 1, 0, 0], abs=1e-9)
    assert slope == pytest.approx(np.zeros(4), abs=1e-9)


def test_slopes_match_finite_differences():
    r, step = np.linspace(1.5, 3.5, 41), 1e-6

    def value(x: np.ndarray) -> np.ndarray:
        return decay(x, 2.1, 0.4, (2.8, 3.4)).scaled(np.full(len(x), 3.0)).value

    slope = decay(r, 2.1, 0.4, (2.8, 3.4)).scaled(np.full(len(r), 3.0)).slope
    assert slope == pytest.approx((value(r + step) - value(r - step)) / 2 / step, abs=1e-6)
