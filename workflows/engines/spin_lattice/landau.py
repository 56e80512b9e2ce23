"""The energy of one moment in its surroundings: a polynomial in s = |m|^2 per species.

    L(s) = (a + g rho) s + b s^2 + c s^3 + d s^4

with the crowding rho of the site, a sum over its oxygen neighbours that the shortest bonds dominate. Mn and Ni need two
terms; they have one length of moment. Co needs all: on a crowded site (compressed, or distorted) its dL/ds has three
roots, and L a low-spin minimum beside the high-spin one; they appear together at a threshold of rho. Units: eV, muB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.schema import FloatArray


@dataclass(frozen=True)
class Landau:
    """Coefficients (N,) of every site: of s (surroundings included), s^2, s^3 and s^4."""

    first: FloatArray
    second: FloatArray
    third: FloatArray
    fourth: FloatArray

    def energy(self, s: FloatArray) -> float:
        """eV for squared lengths ``s`` (N,)."""
        return float(np.sum(s * (self.first + s * (self.second + s * (self.third + s * self.fourth)))))

    def slope(self, s: FloatArray) -> FloatArray:
        """(N,) dL/ds."""
        return self.first + s * (2 * self.second + s * (3 * self.third + s * 4 * self.fourth))

    def curvature(self, s: FloatArray) -> FloatArray:
        """(N,) d2L/ds2."""
        return 2 * self.second + s * (6 * self.third + s * 12 * self.fourth)

    def gradient(self, m: FloatArray) -> FloatArray:
        """(N, k) dL/dm for moments ``m`` (N, k)."""
        return 2 * self.slope(np.sum(m**2, axis=1))[:, None] * m

    def hessian(self, m: FloatArray) -> FloatArray:
        """(N, k, k) blocks d2L/dm2."""
        s = np.sum(m**2, axis=1)
        outer = m[:, :, None] * m[:, None, :]
        return 2 * self.slope(s)[:, None, None] * np.eye(m.shape[1]) + 4 * self.curvature(s)[:, None, None] * outer


def spin_state_polynomial(onset: float, merge: float) -> tuple[float, float, float]:
    """Coefficients of s^2, s^3, s^4 of the polynomial with dL/ds = (s - onset)^2 (s - merge) + constant.

    At its threshold of rho the low-spin minimum appears at s = ``onset`` while the high-spin one is at s = ``merge``
    (both muB^2); the constant belongs to the coefficient of s.
    """
    return (onset**2 + 2 * onset * merge) / 2, -(2 * onset + merge) / 3, 1 / 4
