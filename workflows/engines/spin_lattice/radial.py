"""Smooth functions of one distance, with their slopes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.schema import FloatArray


@dataclass(frozen=True)
class Radial:
    """Values and slopes of a function of distance, one per pair."""

    value: FloatArray
    slope: FloatArray

    def scaled(self, factor: FloatArray) -> Radial:
        """Times a constant per pair."""
        return Radial(self.value * factor, self.slope * factor)


def switch(r: FloatArray, inner: float, outer: float) -> tuple[FloatArray, FloatArray]:
    """Quintic step from 1 at ``inner`` to 0 at ``outer`` with two continuous derivatives; value and slope."""
    x = np.clip((r - inner) / (outer - inner), 0.0, 1.0)
    slope = -30 * x**2 * (1 - x) ** 2 / (outer - inner)
    return 1 - x**3 * (10 - 15 * x + 6 * x**2), slope


def decay(r: FloatArray, centre: float, length: float | FloatArray, ends: tuple[float, float]) -> Radial:
    """exp(-(r - centre) / length), switched off between ``ends``."""
    step, slope = switch(r, *ends)
    value = np.exp(-(r - centre) / length)
    return Radial(value * step, value * (slope - step / length))
