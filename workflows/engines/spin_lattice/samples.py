"""Sampling protocols of the artificial Hamiltonians: endless variety of spins (and distortions), fixed by a seed.

Each function yields configurations with held unit spins. Configuration ``i`` depends on ``seed`` and ``i`` alone, so a
run can be continued anywhere. Paper: 10,000 spin configurations of 96 magnetic sites on the fixed delafossite lattice;
2416 (equation 11) and 3611 (equation 12) distorted perovskites of 50 atoms with random spins.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from datastore.schema import FloatArray, SpinConfig
from workflows.engines.spin_lattice import delafossite, perovskite

PAPER_COUNTS = {"delafossite": 10_000, "perovskite-heisenberg": 2416, "perovskite-high-order": 3611}
"""Configurations in the paper, by name of the Hamiltonian."""

PEROVSKITE_CELL = ((2, -1, 0), (0, 2, -1), (0, 1, 2))
"""Ten cubic cells; the shortest lattice vector, sqrt(5) a, is the longest there is for ten."""


def delafossite_samples(
    count: int, seed: int = 0, supercell: tuple[int, int, int] = (4, 4, 2), passengers: bool = False, start: int = 0
) -> Iterator[SpinConfig]:
    """Random unit vectors on the fixed lattice: (4, 4, 2) hexagonal cells have 6 layers and 96 magnetic sites.

    ``passengers`` adds Cu and O (without spins; 384 atoms). Yields configurations ``start`` to ``count`` - 1.
    """
    species, lattice, positions = delafossite_crystal(supercell, passengers)
    cell = "delafossite_{}x{}x{}".format(*supercell)
    for index in range(start, count):
        rng = np.random.default_rng((seed, index))
        yield SpinConfig(
            species=species,
            lattice=lattice,
            positions=positions,
            magmoms_in=random_spins(species, delafossite.MAGNETIC, rng),
            moment_role="constraint",
            ordering="random",
            cell=cell,
            deformation_parameters={"seed": seed, "index": index},
        )


def perovskite_samples(
    count: int, seed: int = 0, displacement: float = 0.06, strain: float = 0.005, start: int = 0
) -> Iterator[SpinConfig]:
    """Distorted perovskites of 50 atoms with random unit vectors on the ten magnetic sites.

    Each configuration draws a symmetric strain with components uniform within +-``strain`` and moves every Cartesian
    coordinate by a normal deviate, whose standard deviation is uniform up to ``displacement`` (Angstrom) and cut off at
    two of them. Yields configurations ``start`` to ``count`` - 1.
    """
    species, lattice, positions = perovskite_crystal()
    for index in range(start, count):
        rng = np.random.default_rng((seed, index))
        components = rng.uniform(-strain, strain, size=(3, 3))
        gradient = np.eye(3) + (components + components.T) / 2
        sigma = float(rng.uniform(0, displacement))
        moves = sigma * np.clip(rng.normal(size=positions.shape), -2, 2)
        yield SpinConfig(
            species=species,
            lattice=lattice @ gradient,
            positions=positions @ gradient + moves,
            magmoms_in=random_spins(species, perovskite.MAGNETIC, rng),
            moment_role="constraint",
            ordering="random",
            cell="perovskite50",
            parent_lattice=lattice,
            deformation="displacement",
            deformation_parameters={"seed": seed, "index": index, "displacement": sigma, "strain": strain},
        )


def random_spins(species: list[str], magnetic: str, rng: np.random.Generator) -> FloatArray:
    """(N, 3) unit vectors, uniform on the sphere, at the sites of element ``magnetic``; zero elsewhere."""
    spins = rng.normal(size=(len(species), 3))
    spins /= np.linalg.norm(spins, axis=1, keepdims=True)
    chosen: FloatArray = spins * (np.array(species) == magnetic)[:, None]
    return chosen


def delafossite_crystal(
    supercell: tuple[int, int, int] = (4, 4, 2), passengers: bool = False
) -> tuple[list[str], FloatArray, FloatArray]:
    """Species, lattice (3, 3) and positions (N, 3) in Angstrom; three formula units per hexagonal cell."""
    table = delafossite.Delafossite()
    cell = np.array([[1.0, 0.0, 0.0], [-0.5, np.sqrt(0.75), 0.0], [0.0, 0.0, 0.0]]) * table.a
    cell[2, 2] = table.c
    heights = {delafossite.MAGNETIC: [0.0]}
    if passengers:
        heights |= {"Cu": [0.5], "O": [0.5 + table.oxygen_z, 0.5 - table.oxygen_z]}
    basis = [(symbol, np.array([0.0, 0.0, z])) for symbol, levels in heights.items() for z in levels]
    centring = np.array([[0, 0, 0], [2, 1, 1], [1, 2, 2]]) / 3  # obverse setting of R
    atoms = [(symbol, place + shift) for symbol, place in basis for shift in centring]
    return _repeat(cell, atoms, np.diag(supercell))


def perovskite_crystal(
    cell: tuple[tuple[int, int, int], ...] = PEROVSKITE_CELL,
) -> tuple[list[str], FloatArray, FloatArray]:
    """Species, lattice (3, 3) and positions (N, 3) in Angstrom of ideal cubic SrMnO3; ``cell`` has integer rows."""
    places = [(perovskite.A_SITE, (0.5, 0.5, 0.5)), (perovskite.MAGNETIC, (0.0, 0.0, 0.0))]
    places += [(perovskite.ANION, place) for place in ((0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.5))]
    atoms = [(symbol, np.array(place)) for symbol, place in places]
    return _repeat(perovskite.HEISENBERG.lattice_constant * np.eye(3), atoms, np.array(cell))


def _repeat(
    cell: FloatArray, atoms: list[tuple[str, FloatArray]], matrix: np.ndarray
) -> tuple[list[str], FloatArray, FloatArray]:
    """The crystal in the supercell ``matrix`` @ ``cell``, sorted by atom of the cell."""
    reach = int(np.abs(matrix).sum())
    shifts = np.array(list(product(range(-reach, reach + 1), repeat=3)))
    inside = shifts @ np.linalg.inv(matrix)
    shifts = shifts[np.all((inside > -1e-9) & (inside < 1 - 1e-9), axis=1)]
    species = [symbol for symbol, _ in atoms for _ in shifts]
    fractional = np.concatenate([shifts + place for _, place in atoms])
    return species, matrix @ cell, fractional @ cell
