"""Energy, moment gradient and Hessian, forces and stress of the spin-lattice model; all derivatives analytic.

    E(R, m) = E_lattice(R) + sum_ij m_i Q_ij(R) m_j + sum_i b_i m_i^4

``E_lattice``: offsets, Born-Mayer repulsion, screened Coulomb, and a quadratic function of the oxygen density around
each metal (many-body, so that the bulk modulus is not tied to the shear moduli as in pair models). ``Q`` holds on its
diagonal the Landau coefficient a_i + g_i * (density of oxygen around i), and between sites: direct exchange (decays
fast), exchange over a bridging oxygen at 90 and at 180 degrees, and the coupling that induces moments on oxygen.
Vector moments enter by m_i . m_j and |m|^4. Units: eV, Angstrom, muB.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import erfc

from datastore.schema import FloatArray
from workflows.engines.spin_lattice.geometry import Bonds, IntArray, Pairs
from workflows.engines.spin_lattice.parameters import ELEMENTS, Parameters

COULOMB = 14.399645
"""e^2 / (4 pi epsilon_0) in eV Angstrom."""


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


@dataclass(frozen=True)
class Radial:
    """Values and slopes of a function of distance, one per pair."""

    value: FloatArray
    slope: FloatArray

    def scaled(self, factor: FloatArray) -> Radial:
        """Times a constant per pair."""
        return Radial(self.value * factor, self.slope * factor)


class Hamiltonian:
    """The model for one structure. Moments are arrays (N,) or (N, 3) given to each method."""

    def __init__(self, parameters: Parameters, species: list[str], lattice: FloatArray, positions: FloatArray):
        self.p = parameters
        self.n = len(species)
        self.volume = abs(float(np.linalg.det(lattice)))
        self.kind = np.array([ELEMENTS.index(element) for element in species])
        oxygen = self.kind == ELEMENTS.index("O")
        self.pairs = Pairs.build(lattice, positions, parameters.coulomb_ends[1])
        self.bonds = Bonds.build(self.pairs, oxygen, parameters.bond_ends[1])
        near = self.pairs.d < parameters.direct_ends[1]
        self.metal_pairs = np.flatnonzero(near & ~oxygen[self.pairs.i] & ~oxygen[self.pairs.j])
        self.charge = np.where(oxygen, -1.0, 1.0) * parameters.charge
        self.quartic = parameters.species("landau4")[self.kind]

    # -- terms ---------------------------------------------------------------------------------------------------

    @cached_property
    def _lattice_terms(self) -> Radial:
        """Pair energies that do not depend on moments (eV)."""
        i, j, d = self.pairs.i, self.pairs.j, self.pairs.d
        ki, kj, p = self.kind[i], self.kind[j], self.p
        step, slope = switch(d, *p.coulomb_ends)
        screened = erfc(p.screening * d) / d
        derivative = -screened / d - 2 * p.screening / np.sqrt(np.pi) * np.exp(-((p.screening * d) ** 2)) / d
        product = COULOMB * self.charge[i] * self.charge[j]
        repulsion = decay(d, p.bond_length, p.pair("repulsion_range", 1.0)[ki, kj], p.repulsion_ends)
        repulsion = repulsion.scaled(p.pair("repulsion")[ki, kj])
        return Radial(
            product * screened * step + repulsion.value,
            product * (derivative * step + screened * slope) + repulsion.slope,
        )

    @cached_property
    def _direct(self) -> Radial:
        """Exchange of metal neighbours through direct overlap (eV / muB^2)."""
        i, j, d = self.pairs.i[self.metal_pairs], self.pairs.j[self.metal_pairs], self.pairs.d[self.metal_pairs]
        radial = decay(d, self.p.metal_distance, self.p.direct_range, self.p.direct_ends)
        return radial.scaled(self.p.pair("direct")[self.kind[i], self.kind[j]])

    @cached_property
    def _oxygen_density(self) -> Radial:
        """What each oxygen neighbour adds to the density around a metal: 1 at the reference bond length."""
        return decay(self.bonds.d, self.p.bond_length, self.p.crowding_range, self.p.bond_ends)

    @cached_property
    def _density(self) -> FloatArray:
        """Oxygen density around each atom (N,); about 6 in rocksalt, 0 at oxygens."""
        density = np.zeros(self.n)
        np.add.at(density, self.bonds.metal, self._oxygen_density.value)
        return density

    @cached_property
    def _crowding(self) -> Radial:
        """What each oxygen neighbour adds to the Landau coefficient of a metal (eV / muB^2)."""
        return self._oxygen_density.scaled(self.p.species("crowding")[self.kind[self.bonds.metal]])

    @cached_property
    def _induction(self) -> Radial:
        """Coupling of a metal moment to the moment of its oxygen neighbour (eV / muB^2)."""
        radial = decay(self.bonds.d, self.p.bond_length, self.p.induction_range, self.p.bond_ends)
        return radial.scaled(self.p.species("induction")[self.kind[self.bonds.metal]])

    @cached_property
    def _bridges(self) -> Bridges:
        return Bridges.build(self.p, self.bonds, self.kind)

    @cached_property
    def quadratic(self) -> FloatArray:
        """The symmetric matrix Q (N, N), eV / muB^2."""
        q = np.diag(self.p.species("landau2")[self.kind])
        _add(q, self.pairs.i[self.metal_pairs], self.pairs.j[self.metal_pairs], self._direct.value)
        _add(q, self.bonds.metal, self.bonds.metal, self._crowding.value)
        _add(q, self.bonds.metal, self.bonds.oxygen, self._induction.value)
        bridges = self._bridges
        _add(q, self.bonds.metal[bridges.first], self.bonds.metal[bridges.second], bridges.value)
        return q

    # -- energy and derivatives -----------------------------------------------------------------------------------

    def energy(self, m: FloatArray) -> float:
        """eV per cell."""
        columns = m.reshape(self.n, -1)
        linear, square = (self.p.species(name)[self.kind] for name in ("embedding1", "embedding2"))
        embedding = linear @ self._density + square @ self._density**2
        lattice = self.p.species("offset")[self.kind].sum() + self._lattice_terms.value.sum() + embedding
        magnetic = np.sum(columns * (self.quadratic @ columns)) + self.quartic @ np.sum(columns**2, axis=1) ** 2
        return float(lattice + magnetic)

    def moment_gradient(self, m: FloatArray) -> FloatArray:
        """dE/dm in eV / muB, same shape as ``m``."""
        columns = m.reshape(self.n, -1)
        square = np.sum(columns**2, axis=1, keepdims=True)
        return (2 * self.quadratic @ columns + 4 * self.quartic[:, None] * square * columns).reshape(m.shape)

    def moment_hessian(self, m: FloatArray) -> FloatArray:
        """d2E/dm2 (N, N) in eV / muB^2 for collinear moments."""
        return 2 * self.quadratic + np.diag(12 * self.quartic * m**2)

    def forces_and_stress(self, m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Forces (N, 3) in eV/Angstrom and stress (3, 3) in eV/Angstrom^3 at fixed moments (Hellmann-Feynman)."""
        gradient = self._pair_gradient(m.reshape(self.n, -1))
        forces = np.zeros((self.n, 3))
        np.add.at(forces, self.pairs.i, gradient)
        np.add.at(forces, self.pairs.j, -gradient)
        stress = self.pairs.D.T @ gradient / self.volume
        return forces, (stress + stress.T) / 2

    def _pair_gradient(self, m: FloatArray) -> FloatArray:
        """dE/dD (P, 3): derivative by the vector of each pair."""
        slope = self._lattice_terms.slope.copy()
        chosen = self.metal_pairs
        slope[chosen] += self._direct.slope * _dot(m, self.pairs.i[chosen], self.pairs.j[chosen])
        metal, oxygen = self.bonds.metal, self.bonds.oxygen
        linear, square = (self.p.species(name)[self.kind] for name in ("embedding1", "embedding2"))
        embedding = (linear + 2 * square * self._density)[metal]
        slope[self.bonds.pair] += embedding * self._oxygen_density.slope
        slope[self.bonds.pair] += self._crowding.slope * _dot(m, metal, metal)
        slope[self.bonds.pair] += self._induction.slope * _dot(m, metal, oxygen)
        gradient = (slope / self.pairs.d)[:, None] * self.pairs.D
        on_bonds = self._bridges.gradient(self.bonds, m)
        gradient[self.bonds.pair] += self.bonds.sign[:, None] * on_bonds
        return gradient


@dataclass(frozen=True)
class Bridges:
    """Exchange over bridging oxygens: value (eV / muB^2) per bridge and its derivatives by r, r' and cos theta.

    w(r) w(r') [K90 (1 - c^2) + K180 c^2 (1 - c) / 2] with c = cos theta: polynomials, because arccos is singular at
    180 degrees, where superexchange is strongest.
    """

    first: IntArray
    second: IntArray
    value: FloatArray
    by_r: FloatArray
    by_r2: FloatArray
    by_cos: FloatArray
    cosine: FloatArray

    @classmethod
    def build(cls, p: Parameters, bonds: Bonds, kind: IntArray) -> Bridges:
        """All bridges of the structure."""
        first, second = bonds.bridges()
        k1, k2 = kind[bonds.metal[first]], kind[bonds.metal[second]]
        k90, k180 = p.pair("bridge90")[k1, k2], p.pair("bridge180")[k1, k2]
        weight = decay(bonds.d, p.bond_length, p.bridge_range, p.bond_ends)
        c = np.sum(bonds.u[first] * bonds.u[second], axis=1) / (bonds.d[first] * bonds.d[second])
        angular = k90 * (1 - c**2) + k180 * c**2 * (1 - c) / 2
        w1, w2 = weight.value[first], weight.value[second]
        return cls(
            first,
            second,
            w1 * w2 * angular,
            weight.slope[first] * w2 * angular,
            w1 * weight.slope[second] * angular,
            w1 * w2 * (-2 * k90 * c + k180 * (c - 1.5 * c**2)),
            c,
        )

    def gradient(self, bonds: Bonds, m: FloatArray) -> FloatArray:
        """dE/du (B, 3) for moments ``m`` (N, k)."""
        product = _dot(m, bonds.metal[self.first], bonds.metal[self.second])[:, None]
        r1, r2 = bonds.d[self.first][:, None], bonds.d[self.second][:, None]
        e1, e2 = bonds.u[self.first] / r1, bonds.u[self.second] / r2
        c, by_cos = self.cosine[:, None], self.by_cos[:, None]
        out = np.zeros_like(bonds.u)
        np.add.at(out, self.first, product * (self.by_r[:, None] * e1 + by_cos * (e2 - c * e1) / r1))
        np.add.at(out, self.second, product * (self.by_r2[:, None] * e2 + by_cos * (e1 - c * e2) / r2))
        return out


def _dot(m: FloatArray, i: IntArray, j: IntArray) -> FloatArray:
    """m_i . m_j per pair for moments (N, k)."""
    product: FloatArray = np.sum(m[i] * m[j], axis=1)
    return product


def _add(q: FloatArray, i: IntArray, j: IntArray, value: FloatArray) -> None:
    """Add value * m_i m_j to the quadratic form, half on either side of the diagonal."""
    np.add.at(q, (i, j), value / 2)
    np.add.at(q, (j, i), value / 2)
