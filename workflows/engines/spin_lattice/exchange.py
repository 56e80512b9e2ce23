"""Exchange between moments: direct, over a bridging oxygen, induced on oxygen, and terms of fourth order.

Exchange depends on the lengths of moments less than linearly: it couples the saturating vectors

    sigma_i = m_i / (1 + (mu |m_i|^2)^4)

because superexchange is a matter of directions: in PBE+U antiparallel neighbours do not lengthen a moment, they shorten
it slightly, and so |sigma| falls where (mu |m|^2)^4 > 1/7.

    E = sum_ij sigma_i Q_ij(R) sigma_j + 1/2 sum_bb' e_b M_bb' e_b',       e_b = p_b(R) sigma_i . sigma_j / (M_i M_j)

``Q`` holds the direct exchange of metal neighbours (decays fast), the exchange over every bridge metal-O-metal,
w(r) w(r') [K90 (1 - c^2) + K180 c^2 (1 - c) / 2] with c = cos theta, and the coupling of a metal to the moment of its
oxygen. Polynomials in c, because arccos is singular at 180 degrees, where superexchange is strongest. J1 of rocksalt
neighbours is the sum of the ferromagnetic 90-degree part and the antiferromagnetic direct part, which decays faster.

The second sum runs over pairs of bridges of one oxygen, p_b = w(r) w(r') (1 - c) / 2: a bridge with itself gives
(m_i . m_j)^2 (biquadratic), two bridges that share a bond (m_i . m_j)(m_j . m_k) (three sites), two that share none
(m_i . m_j)(m_k . m_l) (four sites).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from datastore.schema import FloatArray
from workflows.engines.spin_lattice.geometry import Bonds, IntArray, couples
from workflows.engines.spin_lattice.parameters import Parameters
from workflows.engines.spin_lattice.radial import decay


@dataclass(frozen=True)
class BridgeFunction:
    """A function of r, r' and cos theta per bridge: values and derivatives."""

    value: FloatArray
    by_r: FloatArray
    by_r2: FloatArray
    by_cos: FloatArray

    def weighted(self, other: BridgeFunction, mine: FloatArray, others: FloatArray) -> BridgeFunction:
        """Sum of the two with one factor per bridge each."""
        names = ("value", "by_r", "by_r2", "by_cos")
        return BridgeFunction(*(getattr(self, name) * mine + getattr(other, name) * others for name in names))


@dataclass(frozen=True)
class Bridges:
    """All bridges metal-oxygen-metal: ``first`` and ``second`` index bonds, ``i`` and ``j`` their metals."""

    bonds: Bonds
    first: IntArray
    second: IntArray
    i: IntArray
    j: IntArray
    cosine: FloatArray
    exchange: BridgeFunction
    """K90 and K180 part, eV / muB^2."""
    overlap: BridgeFunction
    """p_b / (M_i M_j) of the terms of fourth order, 1 / muB^2."""
    coupling: csr_array
    """M (bridges, bridges), eV."""

    @classmethod
    def build(cls, p: Parameters, bonds: Bonds, kind: IntArray) -> Bridges:
        """All bridges of the structure."""
        first, second = couples(bonds.oxygen)
        i, j = bonds.metal[first], bonds.metal[second]
        c = np.sum(bonds.u[first] * bonds.u[second], axis=1) / (bonds.d[first] * bonds.d[second])
        k90, k180 = p.pair("bridge90")[kind[i], kind[j]], p.pair("bridge180")[kind[i], kind[j]]
        reference = p.species("reference_moment", 1.0)[kind]
        scale = 1 / (reference[i] * reference[j])
        weight = decay(bonds.d, p.bond_length, p.bridge_range, p.bond_ends)
        w, slope = weight.value, weight.slope

        def function(angular: FloatArray, derivative: FloatArray) -> BridgeFunction:
            w1, w2 = w[first], w[second]
            return BridgeFunction(
                w1 * w2 * angular, slope[first] * w2 * angular, w1 * slope[second] * angular, w1 * w2 * derivative
            )

        exchange = function(k90 * (1 - c**2) + k180 * c**2 * (1 - c) / 2, -2 * k90 * c + k180 * (c - 1.5 * c**2))
        overlap = function(scale * (1 - c) / 2, -scale / 2)
        return cls(bonds, first, second, i, j, c, exchange, overlap, _coupling(p, bonds.oxygen[first], first, second))

    def products(self, sigma: FloatArray) -> FloatArray:
        """sigma_i . sigma_j per bridge for ``sigma`` (N, k)."""
        products: FloatArray = np.sum(sigma[self.i] * sigma[self.j], axis=1)
        return products

    def energy(self, sigma: FloatArray) -> float:
        """Terms of fourth order, eV."""
        e = self.overlap.value * self.products(sigma)
        return float(e @ (self.coupling @ e)) / 2

    def effective(self, sigma: FloatArray) -> FloatArray:
        """Exchange constant per bridge (eV / muB^2) that the fourth order amounts to at ``sigma``."""
        fields: FloatArray = self.coupling @ (self.overlap.value * self.products(sigma))
        return fields * self.overlap.value

    def curvature(self, sigma: FloatArray) -> FloatArray:
        """(N k, N k) part of the second derivative of the fourth order that is not its effective exchange."""
        n, k = sigma.shape
        rows = np.zeros((len(self.i), n, k))
        index = np.arange(len(self.i))
        np.add.at(rows, (index, self.i), self.overlap.value[:, None] * sigma[self.j])
        np.add.at(rows, (index, self.j), self.overlap.value[:, None] * sigma[self.i])
        flat = rows.reshape(len(index), n * k)
        curvature: FloatArray = flat.T @ (self.coupling @ flat)
        return curvature

    def gradient(self, sigma: FloatArray) -> FloatArray:
        """dE/du (B, 3): derivative of all bridge energies by the vectors of the bonds, at fixed ``sigma``."""
        products = self.products(sigma)
        fields: FloatArray = self.coupling @ (self.overlap.value * products)
        f = self.exchange.weighted(self.overlap, products, products * fields)
        r1, r2 = self.bonds.d[self.first][:, None], self.bonds.d[self.second][:, None]
        e1, e2 = self.bonds.u[self.first] / r1, self.bonds.u[self.second] / r2
        c, by_cos = self.cosine[:, None], f.by_cos[:, None]
        out = np.zeros_like(self.bonds.u)
        np.add.at(out, self.first, f.by_r[:, None] * e1 + by_cos * (e2 - c * e1) / r1)
        np.add.at(out, self.second, f.by_r2[:, None] * e2 + by_cos * (e1 - c * e2) / r2)
        return out


def _coupling(p: Parameters, oxygen: IntArray, first: IntArray, second: IntArray) -> csr_array:
    """The symmetric matrix M: on the diagonal twice the biquadratic constant."""
    a, b = couples(oxygen)
    shared = (first[a] == first[b]) | (first[a] == second[b]) | (second[a] == first[b]) | (second[a] == second[b])
    value = np.where(shared, p.three_site, p.four_site)
    n = len(oxygen)
    diagonal = np.arange(n)
    values = np.concatenate([value, value, np.full(n, 2 * p.two_site)])
    places = (np.concatenate([a, b, diagonal]), np.concatenate([b, a, diagonal]))
    return csr_array((values, places), shape=(n, n))


@dataclass(frozen=True)
class Saturation:
    """sigma = m f(s) with f(s) = 1 / (1 + (mu s)^4) and s = |m|^2, and its derivatives, for moments (N, k)."""

    strength: FloatArray
    """mu (N,), 1 / muB^2."""

    def __call__(self, m: FloatArray) -> FloatArray:
        """(N, k) sigma."""
        return m * self._factors(m)[0][:, None]

    def jacobian(self, m: FloatArray) -> FloatArray:
        """(N, k, k) d sigma / dm, symmetric."""
        f, slope, _ = self._factors(m)
        outer = m[:, :, None] * m[:, None, :]
        return f[:, None, None] * np.eye(m.shape[1]) + 2 * slope[:, None, None] * outer

    def curvature(self, m: FloatArray, g: FloatArray) -> FloatArray:
        """(N, k, k) sum_a g_a d2 sigma_a / dm2 for a gradient ``g`` (N, k) by sigma."""
        _, slope, second = self._factors(m)
        mixed = g[:, :, None] * m[:, None, :]
        dot = np.sum(g * m, axis=1)[:, None, None]
        outer = m[:, :, None] * m[:, None, :]
        first = 2 * slope[:, None, None] * (mixed + mixed.transpose(0, 2, 1) + dot * np.eye(m.shape[1]))
        return first + 4 * second[:, None, None] * dot * outer

    def _factors(self, m: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """f and its two derivatives by s, (N,) each."""
        s, power = np.sum(m**2, axis=1), self.strength**4
        base = 1 + power * s**4
        second = -12 * power * s**2 / base**2 + 32 * power**2 * s**6 / base**3
        return 1 / base, -4 * power * s**3 / base**2, second
