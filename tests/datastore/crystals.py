"""Random crystals for the tests of twins, and ways to write the same crystal down again."""

from __future__ import annotations

import numpy as np
from scipy.stats import ortho_group

from datastore.fingerprints import Geometry

SPECIES = ("Mn", "Ni", "Ni", "O", "O", "O")


def crystal(rng: np.random.Generator, species: tuple[str, ...] = SPECIES) -> Geometry:
    """Atoms at least 1.5 Angstrom apart in a skewed cell of 11 Angstrom^3 per atom, with moments on the metals."""
    edge = (11.0 * len(species)) ** (1 / 3)
    lattice = edge * (np.eye(3) + rng.uniform(-0.15, 0.15, size=(3, 3)))
    positions: list[np.ndarray] = []
    shifts = np.array(list(np.ndindex(3, 3, 3))) - 1
    while len(positions) < len(species):
        trial = rng.uniform(size=3) @ lattice
        images = np.array([p + shifts @ lattice for p in positions]).reshape(-1, 3)
        if not len(images) or np.linalg.norm(images - trial, axis=1).min() > 1.5:
            positions.append(trial)
    moments = np.array([0.0 if s == "O" else rng.choice([-2.5, 2.5]) for s in species])
    return Geometry("original", species, lattice, np.array(positions), moments)


def rewritten(geometry: Geometry, rng: np.random.Generator, noise: float = 0.0, repeat: int = 1) -> Geometry:
    """The same crystal rotated or reflected, moved, in other cell vectors, with its sites in another order.

    ``noise``: Angstrom rms of random displacements; ``repeat``: a supercell of so many cells.
    """
    positions = geometry.positions + rng.normal(scale=noise / np.sqrt(3), size=geometry.positions.shape)
    species, moments, lattice = np.array(geometry.species), geometry.moments, geometry.lattice
    assert moments is not None
    positions = np.concatenate([positions + k * lattice[0] for k in range(repeat)])
    species, moments = np.tile(species, repeat), np.tile(moments, repeat)
    lattice = np.diag([repeat, 1, 1]) @ lattice
    matrix = np.zeros((3, 3))
    while abs(abs(np.linalg.det(matrix)) - 1) > 0.5:
        matrix = rng.integers(-1, 2, size=(3, 3)).astype(float)
    rotation = ortho_group.rvs(3, random_state=rng)
    order = rng.permutation(len(species))
    return Geometry(
        "rewritten",
        tuple(species[order].tolist()),
        matrix @ lattice @ rotation,
        (positions[order] + rng.normal(scale=4, size=3)) @ rotation,
        moments[order],
    )
