"""Eigenvalues that go with the number of electrons, the moment and U; nothing else is behind them."""

from dataclasses import dataclass

import numpy as np

from tests.support.vasp_std.inputs import Inputs


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
    electrons = inputs.electrons
    if inputs.spin == 4:
        return [round(electrons)]
    up = round((electrons + (moment if inputs.spin == 2 else 0.0)) / 2)
    return [up, round(electrons) - up][: inputs.spin]


def cell_moment(inputs: Inputs, moments: np.ndarray) -> np.ndarray:
    """(1,) or (3,), muB: of all electrons. Between two channels it is whole; the sites' moments are parts of it."""
    inside = np.atleast_1d(moments.sum(axis=0))
    if inputs.spin != 2:
        return inside
    up, down = _filled(inputs, float(inside[0]))
    return np.array([float(up - down)])


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
