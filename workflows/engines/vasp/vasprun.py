"""vasprun.xml: energies, forces, stress, geometry and settings of a run, by pymatgen's reader."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.io.vasp.outputs import Vasprun

from datastore.schema import FloatArray
from workflows.engines.vasp.levels import centring
from workflows.engines.vasp.output_files import CUT_SHORT, OutputError, read_bytes, truly_named

_NOT_OF_THE_USER = ("KPOINT_BSE",)
"""VASP 5.4.4 writes it among the INCAR tags of every run."""

_NEEDED = ("e_fr_energy", "e_0_energy", "forces", "structure", "electronic_steps")

_EDGE = 0.002
"""eV; pymatgen looks for a gap 0.001 eV above and below the Fermi level."""


def read_vasprun(path: Path) -> Vasprun:
    """Read vasprun.xml, plain or compressed, with eigenvalues and without densities of states.

    It is the reader that emmet's TaskDoc uses, with the options that labels need. Raises OutputError: ``truncated``
    where the file lacks its end or has no ionic step, ``foreign`` where it is not of VASP, else ``unreadable``.
    """
    head = read_bytes(path, 2000)
    if not head.strip():
        raise OutputError("truncated", path, "is empty; copy it again or run the calculation")
    try:
        with warnings.catch_warnings(), truly_named(path) as true:
            warnings.simplefilter("ignore")  # unconverged, asterisks: told by errors here
            vasprun = Vasprun(true, parse_dos=False, parse_potcar_file=False)
    except (SyntaxError, *CUT_SHORT) as error:  # lxml's XMLSyntaxError is a SyntaxError
        if b"<modeling" not in head and not isinstance(error, CUT_SHORT):
            raise OutputError("foreign", path, "is no vasprun.xml of VASP") from error
        raise OutputError("truncated", path, f"lacks its end or is damaged ({error}); run it again") from error
    except OutputError:
        raise
    except Exception as error:  # pymatgen raises whatever an absent tag leads to
        if b"<modeling" not in head:
            raise OutputError("foreign", path, "is no vasprun.xml of VASP") from error
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise OutputError("unreadable", path, f"lacks what a run has, such as an ionic step ({what})") from error
    last = vasprun.ionic_steps[-1] if vasprun.ionic_steps else {}
    if not all(name in last for name in _NEEDED) or not last["electronic_steps"] or last["structure"] is None:
        raise OutputError("truncated", path, "has no ionic step with energy and forces; run the calculation again")
    return vasprun


def started(path: Path) -> str:
    """Date and time at the head of vasprun.xml, as OUTCAR has them; empty where they are not stated."""
    head = read_bytes(path, 2000).decode("latin-1")
    date = re.search(r'name="date"[^>]*>\s*(\d{4}) (\d\d) (\d\d)', head)
    time = re.search(r'name="time"[^>]*>\s*(\d\d:\d\d:\d\d)', head)
    return f"{date[1]}.{date[2]}.{date[3]} {time[1]}" if date and time else ""


def incar_of(vasprun: Vasprun, lorbit: int | None) -> dict[str, Any]:
    """The INCAR tags of the run, each in one form whichever version wrote them.

    VASP 5.2 and 5.3 write LORBIT as a logical that is always false (``lorbit`` of OUTCAR is taken) and LDAUTYPE as a
    list; pymatgen changes the case of GGA. Eight decimals are written: EDIFF below 5e-9 reads 0.
    """
    tags = {key: value for key, value in vasprun.incar.items() if key not in _NOT_OF_THE_USER}
    if isinstance(tags.get("LORBIT"), bool):
        tags |= {"LORBIT": lorbit} if lorbit is not None else {}
    for name in ("LDAUTYPE", "LDAUPRINT"):
        if isinstance(tags.get(name), list) and len(tags[name]) == 1:
            tags[name] = tags[name][0]
    for name in ("GGA", "METAGGA"):
        if isinstance(tags.get(name), str):
            tags[name] = tags[name].upper()
    return tags


def moments_in(vasprun: Vasprun, path: Path) -> FloatArray | None:
    """MAGMOM as stated: (N,), or (N, 3) in the frame of SAXIS; None where the INCAR has none (VASP then takes 1 muB
    on every ion). VASP reads the first N of a longer list. Raises OutputError where there are too few.
    """
    stated = vasprun.incar.get("MAGMOM")
    if stated is None:
        return None
    values = np.array(stated, dtype=float).ravel()
    n = len(vasprun.atomic_symbols)
    shape = (n, 3) if vasprun.parameters.get("LNONCOLLINEAR") else (n,)
    needed = int(np.prod(shape))
    if len(values) < needed:
        raise OutputError("inconsistent", path, f"MAGMOM has {len(values)} numbers and the run needs {needed}")
    return values[:needed].reshape(shape)


def mesh_of(vasprun: Vasprun) -> tuple[list[int] | None, str]:
    """Divisions of a regular mesh and its centring with its shift (:func:`workflows.engines.vasp.levels.centring`).

    None and '' for a list of k points.
    """
    kpoints = vasprun.kpoints
    centre = centring(kpoints.style.name, kpoints.kpts_shift)
    if not centre or len(kpoints.kpts) != 1:
        return None, ""
    return [int(division) for division in kpoints.kpts[0]], centre


def band_gap(vasprun: Vasprun, fermi: float | None) -> float | None:
    """Gap in eV around the Fermi level of OUTCAR, 0 for a metal; None where there are no eigenvalues.

    Over both spins, and the occupations play no part, which smearing blurs. A Fermi level that the tetrahedron method
    puts on a band's edge is moved into the gap by pymatgen.
    """
    spins = vasprun.eigenvalues or {}
    if fermi is None or len({values.shape for values in spins.values()}) != 1:
        return None
    bands = np.concatenate([values[:, :, 0].T for values in spins.values()])
    if not np.all(np.isfinite(bands)) or not bands.min() + _EDGE < fermi < bands.max() - _EDGE:
        return None
    vasprun.efermi = fermi
    level = vasprun.calculate_efermi()
    below = bands <= level
    if np.any(below.any(axis=1) & ~below.all(axis=1)):
        return 0.0
    return float(bands[~below].min() - bands[below].max())
