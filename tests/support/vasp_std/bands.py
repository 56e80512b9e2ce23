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


def bands(inputs: Inputs, moment: float) -> Bands:
    """Filled bands end at 0 eV in both channels. ``moment``: of the cell along z, muB."""
    electrons, number = inputs.electrons, band_count(inputs)
    if inputs.spin == 4:
        filled = [round(electrons)]
    else:
        unpaired = moment if inputs.spin == 2 else 0.0
        up = round((electrons + unpaired) / 2)
        filled = [up, round(electrons) - up][: inputs.spin]
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
