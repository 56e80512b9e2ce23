"""Finished folders of the test program, made in this process: inputs in, outputs out."""

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from tests.support.vasp_std.potcars import potcar
from tests.support.vasp_std.program import main
from tests.support.vasp_std.style import VARIABLE

POTCARS = {"Mn": "Mn_pv", "Ni": "Ni_pv", "Co": "Co", "Fe": "Fe_pv", "O": "O"}

TAGS: dict[str, Any] = {
    **{"ENCUT": 520, "ISPIN": 2, "LORBIT": 11, "EDIFF": 1e-6, "ISMEAR": 0, "SIGMA": 0.05, "ISYM": 0, "NSW": 0},
    **{"LDAU": True, "LDAUTYPE": 2, "LASPH": True, "LMAXMIX": 4},
}


def rocksalt(metals: Sequence[str], seed: int = 0) -> Structure:
    """Four metals and four oxygens on a displaced rocksalt lattice, metals first, in the order given."""
    cell = 4.3 * np.eye(3)
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    shaken = np.random.default_rng(seed).normal(scale=0.02, size=(8, 3)) / 4.3
    return Structure(cell, [*metals, *"OOOO"], np.vstack([sites, sites + 0.5]) + shaken)


def vasp_run(folder: Path, structure: Structure, magmoms: Any = None, version: int = 6, **tags: Any) -> Path:
    """Write the inputs of ``structure`` as it is ordered, run the program, return ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    poscar = Poscar(structure)
    moments = {} if magmoms is None else {"MAGMOM": np.ravel(magmoms).tolist()}
    incar = Incar({name: value for name, value in {**TAGS, **moments, **tags}.items() if value is not None})
    incar.write_file(str(folder / "INCAR"))
    poscar.write_file(str(folder / "POSCAR"), significant_figures=10)
    Kpoints.gamma_automatic((2, 2, 2)).write_file(str(folder / "KPOINTS"))
    (folder / "POTCAR").write_text("".join(potcar(POTCARS[symbol]) for symbol in poscar.site_symbols))
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(version)
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
            main()
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before
    return folder


HUBBARD: dict[str, Any] = {"LDAUU": [3.9, 6.2, 3.9, 0], "LDAUJ": [0, 0, 0, 0], "LDAUL": [2, 2, 2, -1]}
"""For the four species blocks Mn Ni Mn O."""

MAGMOMS = [3.0, -2.5, 3.0, -3.0, 0.0, 0.0, 0.0, 0.0]
VECTORS = [[3, 0, 0], [0, -2.5, 0], [0, 3, 0], [0, 0, -3], *[[0, 0, 0]] * 4]


def mixed() -> Structure:
    """Mn Ni Mn Mn O4: Mn has two species blocks."""
    return rocksalt(["Mn", "Ni", "Mn", "Mn"])


RUNS: dict[str, dict[str, Any]] = {
    "static": {},
    "version_5": {"version": 5},
    "vectors": {"magmoms": VECTORS, "LSORBIT": True},
    "turned_axis": {"magmoms": VECTORS, "LSORBIT": True, "SAXIS": [1, 0, 0]},
    "relaxed": {"NSW": 40, "IBRION": 2, "ISIF": 3, "EDIFFG": -0.05},
    "stopped_at_nsw": {"NSW": 2, "IBRION": 2, "version": 5},
    "not_polarised": {"magmoms": None, "ISPIN": 1},
    "no_lorbit": {"LORBIT": None},
    "no_magmom": {"magmoms": None},
    "nelm_reached": {"NELM": 4},
    "nelm_reached_5": {"NELM": 4, "version": 5},
}
"""Name -> what differs from a static collinear calculation of :func:`mixed` in VASP 6."""


def run_named(name: str, folder: Path) -> Path:
    """One of RUNS, in ``folder``, which is returned."""
    return vasp_run(folder, mixed(), **{"magmoms": MAGMOMS, **HUBBARD, **RUNS[name]})
