"""Electrostatic energy of point charges in a crystal by Ewald's sum, with exact forces and strain derivative.

The sum over all images is split at the width 1 / ``ALPHA``: the near part is a pair energy erfc(ALPHA r) / r within
``CUTOFF``, the far part a sum over reciprocal vectors up to ``MAX_K`` (Ewald 1921; Frenkel and Smit, Understanding
Molecular Simulation, chapter 12). Both are cut where a term is below 1e-9 of the nearest pair's energy. The charges of
a cell must add up to zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erfc

from datastore.schema import FloatArray
from workflows.engines.spin_lattice.radial import Radial, switch

COULOMB = 14.399645
"""e^2 / (4 pi epsilon_0) in eV Angstrom."""

ALPHA = 0.55
"""1 / Angstrom."""
CUTOFF = 8.0
"""Angstrom; erfc(ALPHA * CUTOFF) = 5e-10."""
_INNER = 7.0
MAX_K = 5.2
"""1 / Angstrom; exp(-(MAX_K / 2 ALPHA)^2) = 2e-10."""


def near(d: FloatArray, product: FloatArray) -> Radial:
    """Pair energies (eV) and slopes of charge products ``product`` (e^2) at distances ``d`` (Angstrom)."""
    step, step_slope = switch(d, _INNER, CUTOFF)
    value = erfc(ALPHA * d) / d
    slope = -value / d - 2 * ALPHA / np.sqrt(np.pi) * np.exp(-((ALPHA * d) ** 2)) / d
    return Radial(value * step, slope * step + value * step_slope).scaled(COULOMB * product)


@dataclass(frozen=True)
class Far:
    """The sum in reciprocal space and the self-energy of the smeared charges."""

    energy: float
    """eV per cell."""
    forces: FloatArray
    """(N, 3) eV/Angstrom."""
    strain: FloatArray
    """(3, 3) dE/d(strain) in eV."""


def far(lattice: FloatArray, positions: FloatArray, charges: FloatArray) -> Far:
    """Smooth part of the energy of ``charges`` (N,) in e at ``positions`` (N, 3), Angstrom."""
    k = _half_sphere(lattice)
    square = np.sum(k**2, axis=1)
    volume = abs(float(np.linalg.det(lattice)))
    weight = COULOMB * 4 * np.pi / volume * np.exp(-square / (4 * ALPHA**2)) / square
    phase = positions @ k.T
    cosine, sine = np.cos(phase) * charges[:, None], np.sin(phase) * charges[:, None]
    real, imaginary = cosine.sum(axis=0), sine.sum(axis=0)
    energies = weight * (real**2 + imaginary**2)
    own = -COULOMB * ALPHA / np.sqrt(np.pi) * float(np.sum(charges**2))
    forces = 2 * (sine * (weight * real) - cosine * (weight * imaginary)) @ k
    # Under a strain the volume grows and k shrinks.
    along = (k * (2 * energies * (1 / square + 1 / (4 * ALPHA**2)))[:, None]).T @ k
    return Far(float(energies.sum()) + own, forces, along - np.eye(3) * energies.sum())


def _half_sphere(lattice: FloatArray) -> FloatArray:
    """(K, 3) reciprocal vectors up to MAX_K, one of k and -k, without 0."""
    reciprocal = 2 * np.pi * np.linalg.inv(lattice).T
    most = np.floor(MAX_K * np.linalg.norm(lattice, axis=1) / (2 * np.pi)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[len(grid) // 2 + 1 :]  # the grid is symmetric about 0, which stands in its middle
    k: FloatArray = grid @ reciprocal
    return k[np.sum(k**2, axis=1) <= MAX_K**2]
