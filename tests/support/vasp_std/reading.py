"""Numbers of the test program's files as pymatgen reads them."""

from pathlib import Path

import numpy as np
from pymatgen.io.vasp.outputs import Oszicar, Outcar


def energy(folder: Path) -> float:
    """Free energy of the last ionic step in OSZICAR, eV."""
    return Oszicar(folder / "OSZICAR").ionic_steps[-1]["F"]


def moments(folder: Path) -> np.ndarray:
    """(N,) or (N, 3) moments of the last table in OUTCAR, muB."""
    table = [site["tot"] for site in Outcar(folder / "OUTCAR").magnetization]
    return np.array([getattr(m, "moment", m) for m in table])
