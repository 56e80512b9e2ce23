"""What a plane-wave cutoff leaves of an equation of state: ``python benchmarks/gpaw_equation_of_state.py``.

FM NiO, two atoms, k mesh 2x2x2, seven volumes; about four minutes on two cores. Columns: volume and bulk modulus at the
minimum, rms distance of the energies from the fit, and the engine's own pressure there: Pulay stress, which a
relaxation would follow although the energy does not fall.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import numpy as np
from ase import Atoms

from datastore.schema import SpinConfig
from workflows import equilibrium
from workflows.engines.calculator import EngineCalculator
from workflows.engines.gpaw import GpawEngine
from workflows.equilibrium import Equilibrium, find_equilibrium
from workflows.structures import apply_ordering, rocksalt
from workflows.structures.lattice import ScanOptions

CUTOFFS = (500.0, 600.0, 700.0, 900.0)
GPA = 160.21766208


def scan(cutoff: float) -> Equilibrium:
    config = SpinConfig.from_structure(apply_ordering(rocksalt("Ni", cell="primitive"), "FM"), "FM")
    atoms = Atoms(config.species, positions=config.positions, cell=config.lattice, pbc=True, magmoms=config.magmoms_in)
    engine = GpawEngine(ecut=cutoff, kpts={"primitive": (2, 2, 2)})
    with mock.patch.object(equilibrium, "MAX_RESIDUAL", np.inf):  # to be seen, not refused
        return find_equilibrium(atoms, EngineCalculator(engine, config), ScanOptions(ratios=(1.0, 1.16), points=7))


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    print("cutoff  volume (A^3/atom)  B (GPa)    B'  rms (meV/atom)  pressure (GPa)")
    with ProcessPoolExecutor(2) as pool:
        for cutoff, found in zip(CUTOFFS, pool.map(scan, CUTOFFS), strict=True):
            eos = found.eos
            assert eos is not None
            pressure = -float(np.trace(found.atoms.get_stress(voigt=False))) / 3 * GPA
            print(
                f"{cutoff:6.0f}  {eos.volume:17.4f}  {eos.bulk_modulus:7.1f}  {eos.derivative:4.1f}"
                f"  {1000 * eos.residual:14.3f}  {pressure:14.2f}"
            )


if __name__ == "__main__":
    main()
