"""vasprun.xml against OUTCAR: two files of one run say the same numbers; those of two runs or damaged ones do not."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from pymatgen.io.vasp.outputs import Vasprun

from datastore.schema import FloatArray
from workflows.engines.vasp.outcar import Outcar
from workflows.engines.vasp.output_files import OutputError

ENERGY = 2e-6
"""eV; both files print eight decimals, of which E0 in vasprun.xml is put together from three."""
FORCE = 2e-6
"""eV/Angstrom; OUTCAR prints six decimals."""
STRESS = 1e-3
"""kB; OUTCAR prints five decimals and one half of a tensor that VASP 6.3 leaves asymmetric by 1e-4 kB."""
LENGTH = 2e-5
"""Angstrom; OUTCAR prints positions with five decimals."""

AT_ONCE = timedelta(seconds=10)
"""VASP opens both files at its start; on a slow file system not within one second."""


def same_run(vasprun: Vasprun, outcar: Outcar, started: str, path: Path) -> None:
    """Raise OutputError (``foreign``) unless both files are of one run: version, start, ions and geometry.

    ``started``: date and time at the head of vasprun.xml, empty where it has none. ``path``: of vasprun.xml.
    """
    titels = [" ".join(titel.split()) for titel in vasprun.potcar_symbols]
    pairs = {
        "VASP version": (_numbers(vasprun.vasp_version), _numbers(outcar.version)),
        "POTCAR": (titels, [" ".join(titel.split()) for titel in outcar.titels[: len(titels)]]),
        "number of ions": (len(vasprun.atomic_symbols), sum(outcar.ions_per_type)),
        "LNONCOLLINEAR": (bool(vasprun.parameters.get("LNONCOLLINEAR")), outcar.noncollinear),
    }
    times = (_time(started), _time(outcar.started))
    if times[0] and times[1] and abs(times[0] - times[1]) > AT_ONCE:
        raise _differs("foreign", path, outcar, "start of the run", started, outcar.started)
    for what, (here, there) in pairs.items():
        if here != there:
            raise _differs("foreign", path, outcar, what, here, there)
    structure = vasprun.ionic_steps[-1]["structure"]
    _close("foreign", path, outcar, "lattice", structure.lattice.matrix, outcar.lattice, LENGTH)
    shifts = np.linalg.solve(structure.lattice.matrix.T, (structure.cart_coords - outcar.positions).T).T
    apart = (shifts - np.round(shifts)) @ structure.lattice.matrix
    _close("foreign", path, outcar, "positions", apart, np.zeros_like(apart), LENGTH)


def same_numbers(vasprun: Vasprun, outcar: Outcar, path: Path) -> None:
    """Raise OutputError (``inconsistent``) unless steps, energies, forces and stress agree; ``overflow`` for NaN."""
    steps = (tuple(len(step["electronic_steps"]) for step in vasprun.ionic_steps), outcar.n_electronic)
    if steps[0] != steps[1]:
        raise _differs("inconsistent", path, outcar, "electronic steps of each ionic step", *steps)
    last = vasprun.ionic_steps[-1]
    for what, here, there, tolerance in (
        ("free energy (eV)", last["e_fr_energy"], outcar.free_energy, ENERGY),
        ("energy at sigma -> 0 (eV)", float(vasprun.final_energy), outcar.energy, ENERGY),
        ("number of electrons", vasprun.parameters.get("NELECT", outcar.nelect), outcar.nelect, 1e-3),
        ("forces (eV/Angstrom)", last["forces"], outcar.forces, FORCE),
    ):
        _close("inconsistent", path, outcar, what, np.asarray(here), np.asarray(there), tolerance)
    if outcar.stress is not None and "stress" in last:
        _close("inconsistent", path, outcar, "stress (kB)", last["stress"], outcar.stress, STRESS)


def _numbers(version: str) -> str:
    """``5.4.4`` of ``5.4.4.18Apr17-6-g9f103f2a35``, which the two files write in different ways."""
    match = re.match(r"\d+(\.\d+){0,2}", version.strip())
    return match[0] if match else version


def _time(text: str) -> datetime | None:
    """The time, None where none is stated, or one that no calendar has."""
    try:
        return datetime.strptime(text, "%Y.%m.%d %H:%M:%S")
    except ValueError:
        return None


def _close(
    reason: str, path: Path, outcar: Outcar, what: str, here: FloatArray, there: FloatArray, tolerance: float
) -> None:
    if not np.all(np.isfinite(here)):
        raise OutputError("overflow", path, f"{what}: asterisks or NaN; the run diverged")
    if here.shape != there.shape:
        raise _differs(reason, path, outcar, what, here.shape, there.shape)
    apart = float(np.abs(here - there).max())
    if apart > tolerance:
        raise OutputError(
            reason, path, f"{what} differ from {outcar.path.name} by {apart:.3g}; put the files of one run together"
        )


def _differs(reason: str, path: Path, outcar: Outcar, what: str, here: object, there: object) -> OutputError:
    return OutputError(
        reason, path, f"{what}: {here} here, {there} in {outcar.path.name}; put the files of one run together"
    )
