"""Energy, moment gradient and Hessian, forces and stress of the spin-lattice model; all derivatives analytic.

    E(R, m) = E_lattice(R) + sum_i L_i(|m_i|^2, rho_i(R)) + E_exchange(R, m)

``E_lattice``: offsets, Born-Mayer repulsion, Ewald's sum of opposite charges (:mod:`.ewald`), and a quadratic function
of the oxygen density around each metal (many-body, so that the bulk modulus is not tied to the shear moduli as in
pair models). ``L``: Landau energy of a moment's length (:mod:`.landau`). ``E_exchange``: :mod:`.exchange`. Only scalar
products of moments enter: collinear moments (N,) are vectors (N, 1). Units: eV, Angstrom, muB.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from datastore.schema import FloatArray
from workflows.engines.spin_lattice import ewald
from workflows.engines.spin_lattice.exchange import Bridges, Saturation
from workflows.engines.spin_lattice.geometry import Bonds, IntArray, Pairs
from workflows.engines.spin_lattice.landau import Landau
from workflows.engines.spin_lattice.parameters import ELEMENTS, Parameters
from workflows.engines.spin_lattice.radial import Radial, decay


class Hamiltonian:
    """The model for one structure. Moments are arrays (N,) or (N, 3) given to each method."""

    def __init__(self, parameters: Parameters, species: list[str], lattice: FloatArray, positions: FloatArray):
        self.p = parameters
        self.n = len(species)
        self.lattice, self.positions = np.asarray(lattice), np.asarray(positions)
        self.volume = abs(float(np.linalg.det(lattice)))
        self.kind = np.array([ELEMENTS.index(element) for element in species])
        oxygen = self.kind == ELEMENTS.index("O")
        self.pairs = Pairs.build(lattice, positions, ewald.CUTOFF)
        self.bonds = Bonds.build(self.pairs, oxygen, parameters.bond_ends[1])
        near = self.pairs.d < parameters.direct_ends[1]
        self.metal_pairs = np.flatnonzero(near & ~oxygen[self.pairs.i] & ~oxygen[self.pairs.j])
        self.charge = np.where(oxygen, -1.0, 1.0) * parameters.charge
        self.saturation = Saturation(self._site("saturation"))

    def _site(self, name: str) -> FloatArray:
        """A parameter of each site's species (N,)."""
        return self.p.species(name)[self.kind]

    # -- terms ---------------------------------------------------------------------------------------------------

    @cached_property
    def _pair_terms(self) -> Radial:
        """Pair energies that do not depend on moments (eV)."""
        i, j, d = self.pairs.i, self.pairs.j, self.pairs.d
        ki, kj, p = self.kind[i], self.kind[j], self.p
        parts = [ewald.near(d, self.charge[i] * self.charge[j])]
        for name, lengths in (("repulsion", p.pair("repulsion_range", 1.0)[ki, kj]), ("soft", p.soft_range)):
            parts.append(decay(d, p.bond_length, lengths, p.repulsion_ends).scaled(p.pair(name)[ki, kj]))
        return Radial(sum(part.value for part in parts), sum(part.slope for part in parts))  # type: ignore[arg-type]

    @cached_property
    def _far(self) -> ewald.Far:
        return ewald.far(self.lattice, self.positions, self.charge)

    @cached_property
    def _direct(self) -> Radial:
        """Exchange of metal neighbours through direct overlap (eV / muB^2)."""
        i, j, d = self.pairs.i[self.metal_pairs], self.pairs.j[self.metal_pairs], self.pairs.d[self.metal_pairs]
        radial = decay(d, self.p.metal_distance, self.p.direct_range, self.p.direct_ends)
        return radial.scaled(self.p.pair("direct")[self.kind[i], self.kind[j]])

    @cached_property
    def _oxygen_density(self) -> Radial:
        """What each oxygen neighbour adds to the density around a metal: 1 at the reference bond length."""
        return decay(self.bonds.d, self.p.bond_length, self.p.embedding_range, self.p.bond_ends)

    @cached_property
    def _crowding(self) -> Radial:
        """What each oxygen neighbour adds to the crowding of a metal: dominated by the shortest bonds."""
        return decay(self.bonds.d, self.p.bond_length, self.p.crowding_range, self.p.bond_ends)

    @cached_property
    def density(self) -> FloatArray:
        """Oxygen density around each atom (N,); about 6 in rocksalt, 0 at oxygens."""
        return self._sum_over_bonds(self._oxygen_density.value)

    @cached_property
    def crowding(self) -> FloatArray:
        """Crowding rho around each atom (N,); 6 in rocksalt with bonds of the reference length, 0 at oxygens."""
        return self._sum_over_bonds(self._crowding.value)

    @cached_property
    def _induction(self) -> Radial:
        """Coupling of a metal moment to the moment of its oxygen neighbour (eV / muB^2)."""
        radial = decay(self.bonds.d, self.p.bond_length, self.p.induction_range, self.p.bond_ends)
        return radial.scaled(self._site("induction")[self.bonds.metal])

    @cached_property
    def _bridges(self) -> Bridges:
        return Bridges.build(self.p, self.bonds, self.kind)

    @cached_property
    def landau(self) -> Landau:
        """Longitudinal energy of every site in its surroundings."""
        first = self._site("landau2") + self._site("crowding") * self.crowding
        return Landau(first, self._site("landau4"), self._site("landau6"), self._site("landau8"))

    @cached_property
    def quadratic(self) -> FloatArray:
        """The symmetric exchange matrix Q (N, N), eV / muB^2; the diagonal holds an atom's own images."""
        q = np.zeros((self.n, self.n))
        _add(q, self.pairs.i[self.metal_pairs], self.pairs.j[self.metal_pairs], self._direct.value)
        _add(q, self.bonds.metal, self.bonds.oxygen, self._induction.value)
        _add(q, self._bridges.i, self._bridges.j, self._bridges.exchange.value)
        return q

    # -- energy and derivatives -----------------------------------------------------------------------------------

    def energy(self, m: FloatArray) -> float:
        """eV per cell."""
        columns = self._columns(m)
        sigma = self.saturation(columns)
        embedding = self._site("embedding1") @ self.density + self._site("embedding2") @ self.density**2
        lattice = self._site("offset").sum() + self._pair_terms.value.sum() + self._far.energy + embedding
        exchange = np.sum(sigma * (self.quadratic @ sigma)) + self._bridges.energy(sigma)
        return float(lattice + self.landau.energy(np.sum(columns**2, axis=1)) + exchange)

    def moment_gradient(self, m: FloatArray) -> FloatArray:
        """dE/dm in eV / muB, same shape as ``m``."""
        columns = self._columns(m)
        sigma = self.saturation(columns)
        by_sigma = self._exchange_matrix(sigma) @ sigma
        chained = np.einsum("nab,nb->na", self.saturation.jacobian(columns), by_sigma)
        return (self.landau.gradient(columns) + chained).reshape(np.shape(m))

    def moment_hessian(self, m: FloatArray) -> FloatArray:
        """d2E/dm2 in eV / muB^2: (N, N), or (3N, 3N) for vectors with the three components of a site together."""
        columns = self._columns(m)
        k = columns.shape[1]
        sigma, jacobian = self.saturation(columns), self.saturation.jacobian(columns)
        matrix = self._exchange_matrix(sigma)
        hessian = np.kron(matrix, np.eye(k)) + self._bridges.curvature(sigma)
        blocks = np.einsum("iab,ibjc->iajc", jacobian, hessian.reshape(self.n, k, self.n, k))
        blocks = np.einsum("iajc,jcd->iajd", blocks, jacobian)
        site = np.arange(self.n)
        blocks[site, :, site] += self.landau.hessian(columns) + self.saturation.curvature(columns, matrix @ sigma)
        return blocks.reshape(self.n * k, self.n * k)

    def forces_and_stress(self, m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Forces (N, 3) in eV/Angstrom and stress (3, 3) in eV/Angstrom^3 at fixed moments (Hellmann-Feynman)."""
        gradient = self._pair_gradient(self._columns(m))
        forces = self._far.forces.copy()
        np.add.at(forces, self.pairs.i, gradient)
        np.add.at(forces, self.pairs.j, -gradient)
        stress = (self.pairs.D.T @ gradient + self._far.strain) / self.volume
        return forces, (stress + stress.T) / 2

    def _sum_over_bonds(self, values: FloatArray) -> FloatArray:
        """(N,) sum of one value per bond over the bonds of each metal."""
        return np.bincount(self.bonds.metal, values, self.n).astype(np.float64)

    def _columns(self, m: FloatArray) -> FloatArray:
        return np.asarray(m, dtype=np.float64).reshape(self.n, -1)

    def _exchange_matrix(self, sigma: FloatArray) -> FloatArray:
        """(N, N) second derivative by sigma of the bilinear part, with the effective exchange of fourth order."""
        matrix = 2 * self.quadratic
        _add(matrix, self._bridges.i, self._bridges.j, 2 * self._bridges.effective(sigma))
        return matrix

    def _pair_gradient(self, m: FloatArray) -> FloatArray:
        """dE/dD (P, 3): derivative by the vector of each pair."""
        sigma, squares = self.saturation(m), np.sum(m**2, axis=1)
        slope = self._pair_terms.slope.copy()
        chosen = self.metal_pairs
        slope[chosen] += self._direct.slope * _dot(sigma, self.pairs.i[chosen], self.pairs.j[chosen])
        metal, oxygen = self.bonds.metal, self.bonds.oxygen
        by_density = self._site("embedding1") + 2 * self._site("embedding2") * self.density
        slope[self.bonds.pair] += by_density[metal] * self._oxygen_density.slope
        slope[self.bonds.pair] += (self._site("crowding") * squares)[metal] * self._crowding.slope
        slope[self.bonds.pair] += self._induction.slope * _dot(sigma, metal, oxygen)
        gradient = (slope / self.pairs.d)[:, None] * self.pairs.D
        gradient[self.bonds.pair] += self.bonds.sign[:, None] * self._bridges.gradient(sigma)
        return gradient


def _dot(m: FloatArray, i: IntArray, j: IntArray) -> FloatArray:
    """m_i . m_j per pair for moments (N, k)."""
    product: FloatArray = np.sum(m[i] * m[j], axis=1)
    return product


def _add(q: FloatArray, i: IntArray, j: IntArray, value: FloatArray) -> None:
    """Add value * m_i m_j to the quadratic form, half on either side of the diagonal."""
    np.add.at(q, (i, j), value / 2)
    np.add.at(q, (j, i), value / 2)
