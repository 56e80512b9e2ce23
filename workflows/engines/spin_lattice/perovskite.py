"""Spin-lattice Hamiltonians of a magnetic perovskite (Yu et al., SpinGNN, equations 11 and 12): sums over clusters.

    E = sum_clusters W(r) [ sum_n Phi h_n(x)  +  J (sum_e s_e) sum_n h_n(x)  +  K (sum_ee' s_e s_e') sum_n h_n(x) ]

A cluster is a pair or a triangle of neighbouring atoms with edges e. x_e = r_e - d_e is the elongation of an edge
against the ideal cubic crystal, h_n the sum of all monomials of degree n in the elongations, s_e = S_i.S_j on the edges
between magnetic ions, ee' two edges of a triangle, and W the product of one window (1 - y^4)^3 per edge,
y = (r_e - d_e) / width, which takes the cluster out smoothly (two continuous derivatives) before an edge reaches the
cutoff.

Reconstructed, because the paper gives only the form: J and Phi have one index for the bodies and one for displacements
and spins together. It expands in displacements of atoms from ideal sites; here elongations of edges take their place,
so that the energy is invariant under translations, rotations and permutations for any structure. Clusters: PAIRS and
TRIANGLES whose ideal edges are within the cutoff, 7 Angstrom (three shells of magnetic pairs) or 5.71 (two). Orders of
J as in the paper: displacements up to first (equation 11) and second order (12). Assumed, so that terms (those equal by
symmetry count once) are 108 and 274 as in the paper: Phi from second order, to fourth for pairs and third for triangles
(11), to sixth (12); K with displacements up to second order. All spin coefficients are 0.1 eV, all others 1 eV
(per Angstrom^n). |S| = 1, in units of muB. Units: eV, Angstrom.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np

from datastore.schema import FloatArray, SpinConfig, content_hash
from workflows.engines.interface import LabelError
from workflows.engines.spin_lattice.geometry import IntArray, Pairs

A_SITE, MAGNETIC, ANION = "Sr", "Mn", "O"

PAIRS = {
    "BB1": (MAGNETIC, MAGNETIC, 1.0),
    "BB2": (MAGNETIC, MAGNETIC, 2.0),
    "BB3": (MAGNETIC, MAGNETIC, 3.0),
    "BO": (MAGNETIC, ANION, 0.25),
    "AB": (A_SITE, MAGNETIC, 0.75),
    "AO": (A_SITE, ANION, 0.5),
    "OO": (ANION, ANION, 0.5),
}
"""Species and squared distance in units of the lattice constant."""

TRIANGLES = (
    ("BB1", "BB1", "BB2"),
    ("BB1", "BB2", "BB3"),
    ("BB2", "BB2", "BB2"),
    ("BO", "BO", "BB1"),
    ("BO", "BO", "OO"),
    ("OO", "OO", "OO"),
)
"""Edges; the first two meet in the atom from which the triangle is found."""

NEIGHBOURS = {"BB1": 6, "BO": 6}
"""Pairs per magnetic ion that make a structure a perovskite."""


@dataclass(frozen=True)
class Perovskite:
    """One model: cutoff, lattice constant and window (Angstrom), coefficients (eV), orders in elongations."""

    version: str
    cutoff: float
    pair_order: int
    """Of Phi for pairs; it starts at 2, the ideal crystal is at rest."""
    triangle_order: int
    """Of Phi for triangles."""
    exchange_order: int
    four_spin_order: int | None
    """None: no fourth order in spins."""
    lattice_constant: float = 3.80
    window: float = 0.6
    spin_coefficient: float = 0.1
    position_coefficient: float = 1.0

    def distance(self, pair: str) -> float:
        """Ideal length of an edge in Angstrom."""
        return self.lattice_constant * float(np.sqrt(PAIRS[pair][2]))

    def width(self, pair: str) -> float:
        """Half width of the window of an edge in Angstrom; it ends at the cutoff or before."""
        return min(self.window, self.cutoff - self.distance(pair))

    def pairs(self) -> list[str]:
        """Kinds of pairs within the cutoff."""
        return [pair for pair in PAIRS if self.distance(pair) < self.cutoff]

    def triangles(self) -> list[tuple[str, str, str]]:
        """Kinds of triangles with all edges within the cutoff."""
        return [triangle for triangle in TRIANGLES if set(triangle) <= set(self.pairs())]

    def digest(self) -> str:
        """Hash of all values and of the clusters, part of the level of theory."""
        return content_hash({**asdict(self), "pairs": PAIRS, "triangles": TRIANGLES}, 16)


HEISENBERG = Perovskite(
    "perovskite-heisenberg-1", 7.0, pair_order=4, triangle_order=3, exchange_order=1, four_spin_order=None
)
HIGH_ORDER = Perovskite(
    "perovskite-high-order-1", 5.71, pair_order=6, triangle_order=6, exchange_order=2, four_spin_order=2
)


@dataclass(frozen=True)
class Clusters:
    """All clusters of one kind: T of them with E edges (1 or 3)."""

    i: IntArray
    j: IntArray
    """Atoms (T, E) at the ends of each edge."""
    vectors: FloatArray
    """(T, E, 3) from i to j, Angstrom."""
    kinds: tuple[str, ...]
    weight: float
    """1 / how often each cluster is listed."""


class PerovskiteHamiltonian:
    """The model for one structure. Moments are arrays (N,) or (N, 3) given to each method."""

    def __init__(self, table: Perovskite, config: SpinConfig):
        """Raises LabelError (refused) where the structure is no perovskite near the ideal one."""
        self.table = table
        self.n = len(config.species)
        self.volume = abs(float(np.linalg.det(config.lattice)))
        half = Pairs.build(config.lattice, config.positions, table.cutoff)
        bonds = {kind: _bonds(table, kind, half, np.array(config.species)) for kind in table.pairs()}
        _check(config, bonds)
        clusters = [Clusters(b.i[:, None], b.j[:, None], b.D[:, None], (kind,), 1.0) for kind, b in bonds.items()] + [
            _triangles(table, kinds, bonds, np.array(config.species)) for kinds in table.triangles()
        ]
        self.sums = [ClusterSum(table, c) for c in clusters if len(c.i)]

    def energy(self, m: FloatArray) -> float:
        """eV per cell."""
        return sum(s.energy(m.reshape(self.n, -1)) for s in self.sums)

    def moment_gradient(self, m: FloatArray) -> FloatArray:
        """dE/dm in eV / muB, same shape as ``m``: of the polynomial in the spins, with its part along the spin."""
        columns = m.reshape(self.n, -1)
        gradient = np.zeros_like(columns)
        for s in self.sums:
            slope = s.by_product(columns)[:, :, None]
            np.add.at(gradient, s.clusters.i, slope * columns[s.clusters.j])
            np.add.at(gradient, s.clusters.j, slope * columns[s.clusters.i])
        return gradient.reshape(m.shape)

    def forces_and_stress(self, m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Forces (N, 3) in eV/Angstrom and stress (3, 3) in eV/Angstrom^3 at fixed moments."""
        columns = m.reshape(self.n, -1)
        forces, virial = np.zeros((self.n, 3)), np.zeros((3, 3))
        for s in self.sums:
            gradient = s.by_vector(columns)
            np.add.at(forces, s.clusters.i, gradient)
            np.add.at(forces, s.clusters.j, -gradient)
            virial += np.einsum("tea,teb->ab", s.clusters.vectors, gradient)
        return forces, (virial + virial.T) / (2 * self.volume)


class ClusterSum:
    """Energy of the clusters of one kind and its derivatives by edge vectors and by spin products."""

    def __init__(self, table: Perovskite, clusters: Clusters):
        self.table, self.clusters = table, clusters
        self.magnetic = np.array([PAIRS[kind][:2] == (MAGNETIC, MAGNETIC) for kind in clusters.kinds], dtype=float)
        self.length = np.linalg.norm(clusters.vectors, axis=2)
        self.stretch = self.length - np.array([table.distance(kind) for kind in clusters.kinds])

    @cached_property
    def _window(self) -> tuple[FloatArray, FloatArray]:
        """W (T,), weighted, and dW/dr (T, E)."""
        width = np.array([self.table.width(kind) for kind in self.clusters.kinds])
        y = self.stretch / width
        values, slopes = (1 - y**4) ** 3, -12 * y**3 * (1 - y**4) ** 2 / width
        return self.clusters.weight * values.prod(axis=1), self.clusters.weight * _product_rule(values, slopes)

    @cached_property
    def _position(self) -> tuple[FloatArray, FloatArray]:
        single = len(self.clusters.kinds) == 1
        order = self.table.pair_order if single else self.table.triangle_order
        return self._polynomial(self.table.position_coefficient, 2, order)

    @cached_property
    def _exchange(self) -> tuple[FloatArray, FloatArray]:
        return self._polynomial(self.table.spin_coefficient, 0, self.table.exchange_order)

    @cached_property
    def _four_spin(self) -> tuple[FloatArray, FloatArray]:
        order = self.table.four_spin_order
        if order is None:
            return np.zeros(len(self.stretch)), np.zeros_like(self.stretch)
        return self._polynomial(self.table.spin_coefficient, 0, order)

    def _polynomial(self, coefficient: float, low: int, high: int) -> tuple[FloatArray, FloatArray]:
        """Coefficient times all monomials of degree low..high: value (T,) and slopes by the lengths (T, E)."""
        powers = exponents(self.stretch.shape[1], low, high).T[None]  # (1, E, M)
        repeated = np.broadcast_to(self.stretch[:, :, None], (*self.stretch.shape, high))
        table = np.insert(np.cumprod(repeated, axis=2), 0, 1.0, axis=2)  # x^0 .. x^high: faster than ** per monomial
        values = np.take_along_axis(table, powers, axis=2)
        slopes = powers * np.take_along_axis(table, np.maximum(powers - 1, 0), axis=2)
        return coefficient * values.prod(axis=1).sum(axis=1), coefficient * _product_rule(values, slopes).sum(axis=2)

    def _products(self, m: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """s_e (T, E), zero on edges without two spins; the sum over two edges of s_e s_e', and its slopes."""
        s = self.magnetic * np.sum(m[self.clusters.i] * m[self.clusters.j], axis=2)
        total = s.sum(axis=1, keepdims=True)
        return s, (total[:, 0] ** 2 - np.sum(s**2, axis=1)) / 2, self.magnetic * (total - s)

    def _inner(self, m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The bracket of the energy (T,) and its slopes by lengths (T, E)."""
        s, four, _ = self._products(m)
        two = s.sum(axis=1)
        (v, dv), (j, dj), (k, dk) = self._position, self._exchange, self._four_spin
        return v + j * two + k * four, dv + dj * two[:, None] + dk * four[:, None]

    def energy(self, m: FloatArray) -> float:
        """eV; ``m`` (N, 1 or 3)."""
        return float(self._window[0] @ self._inner(m)[0])

    def by_product(self, m: FloatArray) -> FloatArray:
        """dE/ds_e (T, E) in eV."""
        slopes = self._products(m)[2]
        per_edge = self._exchange[0][:, None] * self.magnetic + self._four_spin[0][:, None] * slopes
        return self._window[0][:, None] * per_edge

    def by_vector(self, m: FloatArray) -> FloatArray:
        """dE/dD (T, E, 3) in eV/Angstrom."""
        window, by_window = self._window
        inner, by_inner = self._inner(m)
        slope = by_window * inner[:, None] + window[:, None] * by_inner
        gradient: FloatArray = (slope / self.length)[:, :, None] * self.clusters.vectors
        return gradient


@lru_cache
def exponents(edges: int, low: int, high: int) -> IntArray:
    """Exponents (M, edges) of all monomials of total degree low..high."""
    return np.array([e for e in product(range(high + 1), repeat=edges) if low <= sum(e) <= high], dtype=np.int64)


def _product_rule(values: FloatArray, slopes: FloatArray) -> FloatArray:
    """Slopes of the product over axis 1 of ``values`` (T, E, ...), each factor with its own slope."""
    out = np.empty_like(slopes)
    for edge in range(values.shape[1]):
        out[:, edge] = slopes[:, edge] * np.delete(values, edge, axis=1).prod(axis=1)
    return out


def _bonds(table: Perovskite, kind: str, half: Pairs, species: np.ndarray) -> Pairs:
    """The pairs of one kind, each once."""
    chosen = np.abs(half.d - table.distance(kind)) < table.width(kind)
    chosen &= _ends_are(kind, species[half.i], species[half.j])
    return Pairs(half.i[chosen], half.j[chosen], half.D[chosen], half.d[chosen])


def _ends_are(kind: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    a, b, _ = PAIRS[kind]
    return ((first == a) & (second == b)) | ((first == b) & (second == a))


def _triangles(
    table: Perovskite, kinds: tuple[str, str, str], bonds: dict[str, Pairs], species: np.ndarray
) -> Clusters:
    """Triangles from two edges that meet in an atom, kept where the far ends form the third edge."""
    (apex1, end1, vector1), (apex2, end2, vector2) = (_directed(bonds[kind]) for kind in kinds[:2])
    first, second = np.nonzero(apex1[:, None] == apex2[None, :])
    if kinds[0] == kinds[1]:
        once = first < second
        first, second = first[once], second[once]
    across = vector2[second] - vector1[first]
    length = np.linalg.norm(across, axis=1)
    kept = np.abs(length - table.distance(kinds[2])) < table.width(kinds[2])
    kept &= _ends_are(kinds[2], species[end1[first]], species[end2[second]])
    first, second, across = first[kept], second[kept], across[kept]
    return Clusters(
        np.stack([apex1[first], apex1[first], end1[first]], axis=1),
        np.stack([end1[first], end2[second], end2[second]], axis=1),
        np.stack([vector1[first], vector2[second], across], axis=1),
        kinds,
        1 / 3 if len(set(kinds)) == 1 else 1.0,  # found from each of its three corners
    )


def _directed(bonds: Pairs) -> tuple[IntArray, IntArray, FloatArray]:
    """Each bond from either end: start, end, vector."""
    start, end = np.concatenate([bonds.i, bonds.j]), np.concatenate([bonds.j, bonds.i])
    return start, end, np.concatenate([bonds.D, -bonds.D])


def _check(config: SpinConfig, bonds: dict[str, Pairs]) -> None:
    """Each magnetic ion needs its six magnetic and its six anion neighbours."""
    for kind, wanted in NEIGHBOURS.items():
        found = np.bincount(_directed(bonds[kind])[0], minlength=len(config.species))
        for site, symbol in enumerate(config.species):
            if symbol == MAGNETIC and found[site] != wanted:
                raise LabelError(
                    f"the perovskite Hamiltonians are defined near cubic {A_SITE}{MAGNETIC}{ANION}3: site {site} "
                    f"({MAGNETIC}) has {found[site]} {PAIRS[kind][1]} neighbours, not {wanted}; make structures with "
                    "workflows.engines.spin_lattice.samples.perovskite_samples",
                    "refused",
                )
