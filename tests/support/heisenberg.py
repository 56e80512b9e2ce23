"""A calculator whose exchange constants are known, to check what is fitted to it or found with it."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from spinmultinet.heisenberg import exchange_shells


class Heisenberg(Calculator):
    """E = E0 - sum over pairs of J e_i.e_j between atoms of ``symbol``, plus K (sum over pairs of shell 1)^2 / n.

    ``constants`` are J1, J2, ... (eV); ``disturbance`` is K (eV), which no pair model can fit. Forces are zero.
    """

    implemented_properties = ("energy", "free_energy", "forces", "magmoms")

    def __init__(self, constants: Sequence[float], symbol="Ni", offset=0.0, disturbance=0.0):
        super().__init__()
        self.constants, self.symbol, self.offset, self.disturbance = constants, symbol, offset, disturbance
        self.count = 0

    def calculate(self, atoms: Atoms | None = None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        self.count += 1
        m = atoms.get_initial_magnetic_moments()
        chosen = [k for k, s in enumerate(atoms.get_chemical_symbols()) if s == self.symbol]
        m = m if m.ndim == 2 else m[:, None]
        e = m[chosen] / np.linalg.norm(m[chosen], axis=1, keepdims=True)
        # Pair by pair over explicit images, so that nothing is shared with the sums of the fit but the distances.
        distances = [s.distance for s in exchange_shells(atoms, chosen, len(self.constants))]
        sums = np.zeros(len(distances))
        reach = np.ceil(distances[-1] / (1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0))) + 1
        for shift in np.ndindex(*(2 * reach + 1).astype(int)):
            step = (np.array(shift) - reach) @ atoms.cell.array
            apart = np.linalg.norm(atoms.positions[chosen][None] + step - atoms.positions[chosen][:, None], axis=-1)
            for k, distance in enumerate(distances):
                sums[k] += 0.5 * ((np.abs(apart - distance) < 0.05) * (e @ e.T)).sum()
        energy = self.offset - float(np.dot(self.constants, sums)) + self.disturbance * sums[0] ** 2 / len(chosen)
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": np.zeros((len(atoms), 3)),
            "magmoms": atoms.get_initial_magnetic_moments(),
        }
