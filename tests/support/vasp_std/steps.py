"""Electronic and ionic steps: what the writers of all files are told."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.support.vasp_std.physics import State

RATE = 0.1
"""Of the error of the energy, per electronic step."""


@dataclass(frozen=True)
class Electronic:
    """One electronic step. Energies in eV; ``free`` is that of the electrons and ions with their entropy."""

    ionic: int
    number: int
    free: float
    change: float
    entropy: float
    last: bool
    converged: bool

    @property
    def without_entropy(self) -> float:
        return self.free + self.entropy

    @property
    def sigma_zero(self) -> float:
        return self.free + self.entropy / 2


@dataclass(frozen=True)
class Ionic:
    """One ionic step: the geometry, its electrons, and the energy of the last electronic step."""

    number: int
    lattice: np.ndarray
    positions: np.ndarray
    state: State
    last: Electronic
    change: float
    """Of the free energy since the first ionic step, as OSZICAR's ``d E``; the energy itself in the first."""
    total_moment: np.ndarray
    """(1,) or (3,), muB per cell."""

    @property
    def volume(self) -> float:
        return abs(float(np.linalg.det(self.lattice)))

    @property
    def fractional(self) -> np.ndarray:
        return self.positions @ np.linalg.inv(self.lattice)


def electronic_steps(ionic: int, state: State, entropy: float, limits: tuple[int, int, float]) -> Iterator[Electronic]:
    """Steps up to convergence or NELM; ``limits``: NELMIN, NELM, EDIFF. The error shrinks by RATE in each."""
    fewest, most, tolerance = limits
    error, before = (5.0 if ionic == 1 else 0.1) * len(state.forces), 0.0
    for number in range(1, most + 1):
        small = number > fewest and error * (1 + RATE) < tolerance and not state.stuck
        error = 0.0 if small else max(error * RATE, 3 * tolerance if state.stuck else 0.0)
        free = state.free + error * (-1) ** (number if state.stuck else 0)
        step = Electronic(ionic, number, free, free - before, entropy, small or number == most, small)
        before = free
        yield step
        if small:
            return


def projections(valences: np.ndarray, elements: list[str], moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Charges (N, 3) and moments (N, 3) or (N, 3, 3) within the spheres of all sites, by s, p and d.

    The moments of all sites add up to the cell's: nothing is between the spheres. Charges are a fixed share of the
    valence electrons, moved from d to p where the moment is large.
    """
    light = np.array([e in ("O", "F", "N", "S", "Si", "Mg", "Al", "Li") for e in elements])
    length = np.linalg.norm(moments.reshape(len(moments), -1), axis=1)
    shares = np.where(light[:, None], [0.26, 0.55, 0.0], [0.03, 0.38, 0.48])
    charges = shares * valences[:, None] - 0.01 * length[:, None] * [0.0, -1.0, 1.0] * ~light[:, None]
    parts = np.where(light[:, None], [0.02, 0.98, 0.0], [0.01, 0.01, 0.98])
    return charges, parts.reshape(len(parts), 3, *[1] * (moments.ndim - 1)) * moments[:, None]
