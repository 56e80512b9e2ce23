"""What stays of a run's folder: text, packed; nothing large, and nothing licensed."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from monty.shutil import compress_file

from workflows.engines.vasp.readback import read_potcar

POTCARS = "potcars.json"
"""Element, TITEL and hash (:func:`workflows.engines.vasp.potcars.digest`) of each block of POTCAR."""

KEPT = ("INCAR", "POSCAR", "KPOINTS", "CONTCAR", "OUTCAR", "OSZICAR", "vasprun.xml", "vasp.out", "std_err.txt")
ORIGINALS = ("INCAR.orig", "POSCAR.orig", "KPOINTS.orig", "custodian.json")
"""Packed; what an import, or a person, needs to see what was done. Our two JSON files stay as they are."""

REMOVED = (
    *(
        "POTCAR",
        "POTCAR.orig",
        "WAVECAR",
        "CHGCAR",
        "CHG",
        "TMPCAR",
        "AECCAR0",
        "AECCAR1",
        "AECCAR2",
        "LOCPOT",
        "ELFCAR",
    ),
    *("DOSCAR", "EIGENVAL", "PROCAR", "XDATCAR", "PCDAT", "IBZKPT", "REPORT", "PENALTYPOT", "WAVEDER"),
    *("vaspout.h5", "vaspwave.h5"),
)
"""Wavefunctions and densities are a thousand times the size of a label; bands and densities of states are no part."""


def tidy(folder: Path) -> None:
    """Remove REMOVED, put name and hash of the POTCARs in their place, pack the rest.

    A full disk must not hide how the run ended: what cannot be packed stays.
    """
    with suppress(OSError, ValueError):
        _write_spec(folder)
    for name in REMOVED:
        with suppress(OSError):
            (folder / name).unlink()
    for name in (*KEPT, *ORIGINALS):
        if (folder / name).is_file():
            with suppress(OSError):
                compress_file(str(folder / name))


def _write_spec(folder: Path) -> None:
    parts = [{"element": p.element, "titel": p.titel, "sha256": p.sha256} for p in read_potcar(folder)]
    (folder / POTCARS).write_text(json.dumps(parts, indent=1))
