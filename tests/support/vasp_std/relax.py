"""A simple optimiser for IBRION 1, 2 and 3: steepest descent whose step follows Barzilai and Borwein."""

import numpy as np

from tests.support.vasp_std.physics import State

FIRST = 0.03
"""Angstrom^2 / eV."""
LONGEST = 0.15
"""Angstrom per step."""


class Optimiser:
    """Moves ions, and with ISIF >= 3 the cell, down the free energy."""

    def __init__(self, cell: bool):
        self.cell = cell
        self.before: tuple[np.ndarray, np.ndarray] | None = None

    def move(self, lattice: np.ndarray, positions: np.ndarray, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Lattice and positions of the next ionic step."""
        slope = self.slope(lattice, state)
        step = FIRST
        if self.before is not None:
            moved, previous = self.before
            change = np.sum((previous - slope) ** 2)
            step = abs(float(np.sum(moved * (previous - slope)) / change)) if change > 0 else FIRST
        shift = slope * min(step, LONGEST / max(float(np.linalg.norm(slope, axis=1).max()), 1e-12))
        self.before = shift, slope
        n = len(positions)
        strain = np.eye(3) + shift[n:] / self._size(n) if self.cell else np.eye(3)
        return lattice @ strain, (positions + shift[:n]) @ strain

    def slope(self, lattice: np.ndarray, state: State) -> np.ndarray:
        """Forces (N, 3) in eV/Angstrom, and below them those on the cell (3, 3), scaled to Angstrom."""
        if not self.cell:
            return state.forces
        volume = abs(float(np.linalg.det(lattice)))
        return np.vstack([state.forces, -volume * state.stress / self._size(len(state.forces))])

    @staticmethod
    def _size(n: int) -> float:
        """Angstrom by which a strain of one moves ions, about: makes strains comparable to displacements."""
        return 2.0 * n**0.5
