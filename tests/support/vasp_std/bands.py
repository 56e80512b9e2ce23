"""Eigenvalues that go with the number of electrons, the moment and U; nothing else is behind them."""

from dataclasses import dataclass

import numpy as np

from tests.support.vasp_std.inputs import Inputs

SHARED = 1e-3
"""muB. Moments that leave an axis by less lie on it."""


@dataclass(frozen=True)
class Bands:
    """``energies`` in eV and ``occupations``, (spins, K, bands)."""

    energies: np.ndarray
    occupations: np.ndarray
    fermi: float


def band_count(inputs: Inputs) -> int:
    default = int(inputs.electrons / 2 * 1.2) + 2 * inputs.n
    return inputs.integer("NBANDS", default * (2 if inputs.spin == 4 else 1))


def gap(inputs: Inputs) -> float:
    """eV: half an eV, and more with U. The band edges are at the mesh's first point."""
    u = [block[0] for block in inputs.hubbard()] or [0.0]
    return 0.5 + 0.4 * max(u)


def _filled(inputs: Inputs, moment: float) -> list[int]:
    """Number of filled bands of each channel, whole because there is a gap; ``moment`` along z, muB."""
    if inputs.spin == 4:
        return [round(inputs.electrons)]
    return _channels(inputs, moment if inputs.spin == 2 else 0.0)[: inputs.spin]


def _channels(inputs: Inputs, moment: float) -> list[int]:
    """Electrons with spin up and down; ``moment``: muB along their axis."""
    up = round((inputs.electrons + moment) / 2)
    return [up, round(inputs.electrons) - up]


def cell_moment(inputs: Inputs, moments: np.ndarray) -> np.ndarray:
    """(1,) or (3,), muB: of all electrons; the sites' moments are parts of it.

    It is whole where there are two channels: along any axis that all moments share, unless spin-orbit coupling mixes.
    """
    inside = np.atleast_1d(moments.sum(axis=0))
    if inputs.spin == 2:
        up, down = _channels(inputs, float(inside[0]))
        return np.array([float(up - down)])
    length = float(np.linalg.norm(inside))
    if inputs.spin != 4 or inputs.logical("LSORBIT", False) or length < SHARED:
        return inside
    axis = inside / length
    if np.abs(moments - np.outer(moments @ axis, axis)).max() > SHARED:
        return inside
    up, down = _channels(inputs, length)
    return (up - down) * axis


def bands(inputs: Inputs, moment: float) -> Bands:
    """Filled bands end at 0 eV in both channels. ``moment``: of the cell along z, muB."""
    number, filled = band_count(inputs), _filled(inputs, moment)
    k = inputs.mesh.points - inputs.mesh.points[0]
    dispersion = 0.2 * np.sum(1 - np.cos(2 * np.pi * k), axis=1)
    energies = np.empty((len(filled), len(k), number))
    for spin, count in enumerate(filled):
        band = np.arange(number)
        below = -8.0 * (count - 1 - band) / max(count, 1)
        above = gap(inputs) + 0.5 * (band - count)
        centre = np.where(band < count, below, above)
        energies[spin] = centre + np.where(band < count, -1, 1) * dispersion[:, None]
    occupations = np.array([np.tile(np.arange(number) < count, (len(k), 1)) for count in filled], dtype=float)
    return Bands(energies, occupations, gap(inputs) / 2)
