"""A spin Hamiltonian on the magnetic sites of a fixed delafossite lattice (Yu et al., SpinGNN, equation 10).

    E = sum_<ij>n J_n S_i.S_j + sum_<ij>n K_n (S_i.S_j)^2 + sum_<ijkl> L [(S_i.S_k)(S_j.S_l) + (S_j.S_k)(S_i.S_l)]

Each pair once; J for the shells n = 1..5, K for n = 1, 5, 7. Reconstructed, because the paper leaves it to a
reference: shells count all pairs of magnetic sites by distance, within and between the triangular layers (n = 1, 2, 3
and 7 lie in a layer, 4, 5 and 6 between layers); <ijkl> are the rhombi of nearest neighbours, each once: i-j is the
short diagonal, k and l the far corners, and the two products pair opposite edges. The values of J, K and L are chosen
here: a few meV, J > 0 antiferromagnetic. Positions decide which spins are neighbours and nothing else, so forces and
stress are zero by definition. |S| = 1, in units of muB. Units: eV, Angstrom.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from datastore.schema import FloatArray, SpinConfig, content_hash
from workflows.engines.interface import LabelError
from workflows.engines.spin_lattice.geometry import IntArray, Pairs

MAGNETIC = "Fe"
"""The magnetic ion on the Al sites of CuAlO2."""
PASSENGERS = ("Cu", "O")
"""Allowed in the structure, without spin or energy."""

TOLERANCE = 0.02
"""Angstrom. The structure is fixed: a neighbour farther than this from its shell is a foreign structure."""


@dataclass(frozen=True)
class Delafossite:
    """Lattice (Angstrom, hexagonal axes) and interactions (eV). Lattice constants are those of CuAlO2, rounded."""

    version: str = "delafossite-1"
    a: float = 2.86
    c: float = 16.95
    oxygen_z: float = 0.11
    exchange: dict[int, float] = field(default_factory=lambda: {1: 2.5e-3, 2: 0.4e-3, 3: 0.9e-3, 4: 0.3e-3, 5: -0.2e-3})
    biquadratic: dict[int, float] = field(default_factory=lambda: {1: -0.5e-3, 5: 0.1e-3, 7: -0.08e-3})
    four_spin: float = 0.25e-3

    def shells(self) -> tuple[FloatArray, IntArray]:
        """Distances (Angstrom) of the shells n = 1..7 and how many neighbours each site has there."""
        layer = np.array([1.0, 3.0, 4.0, 7.0]) * self.a**2
        between = np.array([1 / 3, 4 / 3, 7 / 3]) * self.a**2 + (self.c / 3) ** 2
        distance = np.sqrt(np.concatenate([layer, between]))
        order = np.argsort(distance)
        return distance[order], np.array([6, 6, 6, 12, 6, 6, 12])[order]

    def digest(self) -> str:
        """Hash of all values, part of the level of theory."""
        return content_hash(asdict(self), 16)


class DelafossiteHamiltonian:
    """The model for one structure. Moments are arrays (N,) or (N, 3) given to each method."""

    def __init__(self, table: Delafossite, config: SpinConfig):
        """Raises LabelError (refused) where the magnetic sites are not those of the delafossite lattice."""
        self.table = table
        self.n = len(config.species)
        self.sites = np.flatnonzero(np.array(config.species) == MAGNETIC)
        distances, counts = table.shells()
        pairs = Pairs.build(config.lattice, config.positions[self.sites], float(distances[-1]) + 0.2)
        shell = np.argmin(np.abs(pairs.d[:, None] - distances), axis=1)
        near = np.abs(pairs.d - distances[shell]) < TOLERANCE
        self._check(pairs, np.where(near, shell, -1), counts)
        first = near & (shell == 0)
        self.i, self.j = pairs.i, pairs.j
        self.exchange = np.array([table.exchange.get(n + 1, 0.0) for n in shell])
        self.biquadratic = np.array([table.biquadratic.get(n + 1, 0.0) for n in shell])
        self.rhombi = _rhombi(pairs.i[first], pairs.j[first], pairs.D[first], len(self.sites))

    def _check(self, pairs: Pairs, shell: IntArray, counts: IntArray) -> None:
        found = np.zeros((len(self.sites), len(counts)), dtype=np.int64)
        known = shell >= 0
        for end in (pairs.i, pairs.j):
            np.add.at(found, (end[known], shell[known]), 1)
        wrong = np.argwhere(found != counts)
        if len(wrong) or not known.all():
            detail = "a neighbour lies between the shells"
            if len(wrong):
                site, n = wrong[0]
                detail = f"site {self.sites[site]} has {found[site, n]} neighbours in shell {n + 1}, not {counts[n]}"
            raise LabelError(
                f"hamiltonian 'delafossite' is defined on {MAGNETIC} at the Al sites of CuAlO2 (a = {self.table.a}, "
                f"c = {self.table.c} Angstrom): {detail}; make structures with "
                "workflows.engines.spin_lattice.samples.delafossite_samples",
                "refused",
            )

    def energy(self, m: FloatArray) -> float:
        """eV per cell."""
        spins = self._spins(m)
        s = _dot(spins, self.i, self.j)
        four = _dot_products(spins, self.rhombi)
        return float(self.exchange @ s + self.biquadratic @ s**2 + self.table.four_spin * np.sum(four[0] * four[1]))

    def moment_gradient(self, m: FloatArray) -> FloatArray:
        """dE/dm in eV / muB, same shape as ``m``: of the polynomial above, with its part along the spin."""
        spins = self._spins(m)
        gradient = np.zeros_like(spins)
        s = _dot(spins, self.i, self.j)
        _add_dot(gradient, spins, self.i, self.j, self.exchange + 2 * self.biquadratic * s)
        left, right = _dot_products(spins, self.rhombi)
        (a, b), (c, d) = self.rhombi
        _add_dot(gradient, spins, a, b, self.table.four_spin * right)
        _add_dot(gradient, spins, c, d, self.table.four_spin * left)
        full = np.zeros((self.n, spins.shape[1]))
        full[self.sites] = gradient
        return full.reshape(m.shape)

    def forces_and_stress(self, m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Zero (N, 3) and (3, 3): the structure is fixed, and the interactions are constants."""
        return np.zeros((self.n, 3)), np.zeros((3, 3))

    def _spins(self, m: FloatArray) -> FloatArray:
        return m.reshape(self.n, -1)[self.sites]


Products = tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]]
"""Sites (a, b), (c, d) of the products (S_a.S_b)(S_c.S_d)."""


def _rhombi(i: IntArray, j: IntArray, vectors: FloatArray, n: int) -> Products:
    """The products of all rhombi: two per nearest-neighbour pair (the short diagonal), which come in once each."""
    centre, other = np.concatenate([i, j]), np.concatenate([j, i])
    order = np.argsort(centre, kind="stable")
    around = other[order].reshape(n, 6)
    steps = np.concatenate([vectors, -vectors])[order].reshape(n, 6, 3)
    bonds = steps[i]  # (P, 6, 3): from i to each of its neighbours
    length = np.linalg.norm(vectors, axis=1)[:, None]
    corner = np.abs(np.linalg.norm(bonds - vectors[:, None], axis=2) - length) < 0.1 * length
    left, right = around[i][corner].reshape(-1, 2).T
    first = np.concatenate([i, j]), np.concatenate([left, left])
    return first, (np.concatenate([j, i]), np.concatenate([right, right]))


def _dot(spins: FloatArray, i: IntArray, j: IntArray) -> FloatArray:
    product: FloatArray = np.sum(spins[i] * spins[j], axis=1)
    return product


def _dot_products(spins: FloatArray, products: Products) -> tuple[FloatArray, FloatArray]:
    (a, b), (c, d) = products
    return _dot(spins, a, b), _dot(spins, c, d)


def _add_dot(gradient: FloatArray, spins: FloatArray, i: IntArray, j: IntArray, factor: FloatArray) -> None:
    """Add the derivative of sum factor * (S_i . S_j) at constant factor."""
    np.add.at(gradient, i, factor[:, None] * spins[j])
    np.add.at(gradient, j, factor[:, None] * spins[i])
