"""Between two runs of VASP in one folder: what the next one may find of the one before.

VASP reads a WAVECAR that lies there (ISTART 1), and then MAGMOM only says what symmetry there is: a run that flipped
moments hands the flipped state on. And a run that dies early leaves the outputs of the one before, which look like its
own.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from custodian.custodian import ErrorHandler
from custodian.vasp.interpreter import VaspModder
from custodian.vasp.jobs import VASP_INPUT_FILES, VaspJob
from pymatgen.io.vasp.inputs import Incar

from datastore.quality import COLLAPSED
from datastore.schema import FloatArray

STATES = ("WAVECAR", "CHGCAR", "CHG", "TMPCAR", "vaspwave.h5")
"""What a restart may begin from."""

RESULTS = (
    *("OUTCAR", "vasprun.xml", "OSZICAR", "CONTCAR", "XDATCAR", "EIGENVAL", "DOSCAR", "PROCAR", "IBZKPT", "PCDAT"),
    *(
        "REPORT",
        "PENALTYPOT",
        "HILLSPOT",
        "ELFCAR",
        "LOCPOT",
        "PROOUT",
        "vaspout.h5",
        "STOPCAR",
        "WAVEDER",
        "ICONST.out",
    ),
    *("AECCAR0", "AECCAR1", "AECCAR2"),
)
"""What VASP writes, and the STOPCAR that ends it."""

NOTES = ("vasp.out", "std_err.txt", "custodian.json", "continue.json")
COPIES = ("*.orig", "error.*.tar.gz", "prev_run.*.tar.gz", "custodian.chk.*.tar.gz")
"""What custodian writes."""

_TABLE = re.compile(
    r"^ magnetization \((x|y|z)\)\s*\n\s*\n.*\n-+\n((?:\s*\d+(?:\s+-?\d+\.\d+)+[ \t]*\n)+)", re.MULTILINE
)


def clean(folder: Path) -> None:
    """Remove what earlier runs left in ``folder``; inputs and files that VASP does not know stay.

    A run begins with nothing but its inputs: a label must not be read from what a killed run wrote. Packed inputs of an
    earlier run go as well, because custodian unpacks them over the new ones.
    """
    for name in VASP_INPUT_FILES:
        if (folder / name).is_file():
            (folder / f"{name}.gz").unlink(missing_ok=True)
    for name in (*RESULTS, *STATES, *NOTES):
        for path in (folder / name, folder / f"{name}.gz"):
            path.unlink(missing_ok=True)
    for pattern in COPIES:
        for path in [*folder.glob(pattern), *folder.glob(f"{pattern}.gz")]:
            path.unlink()


class FreshJob(VaspJob):
    """custodian's job, whose every run starts without the results of the one before."""

    def run(self, directory: str = "./") -> Any:
        """Remove results and start VASP; the handlers have read them, and a copy is in ``error.N.tar.gz``."""
        for name in RESULTS:
            Path(directory, name).unlink(missing_ok=True)
        return super().run(directory)

    @property
    def exit_code(self) -> int | None:
        """Of the last run; 128 + N where signal N ended it, None where none ended."""
        process = getattr(self, "_vasp_process", None)
        return None if process is None else process.poll()

    def end(self) -> None:
        """End VASP where it still runs, because custodian itself failed."""
        if hasattr(self, "_vasp_process") and self.exit_code is None:
            self.terminate()

    def as_dict(self) -> dict[str, Any]:
        """As custodian's own, so that ``custodian.json`` can be read where this package is not."""
        return {**super().as_dict(), "@module": VaspJob.__module__, "@class": VaspJob.__name__}


class LostMomentsHandler(ErrorHandler):
    """Before a restart: where moments have flipped, begin again from those asked for.

    It speaks only after one of the ``others`` asked for a restart; a finished run with flipped moments is a label, and
    the verdict is that of :func:`datastore.quality.signs_changed`.
    """

    is_monitor = False

    def __init__(self, others: Sequence[ErrorHandler] = ()):
        self.others: list[ErrorHandler] = list(others)
        self.seen = 0
        self.sites: list[int] = []

    def check(self, directory: str = "./") -> bool:
        """Whether a restart is due, and the last moments written differ in signs from MAGMOM."""
        corrected = sum(handler.n_applied_corrections for handler in self.others)
        due, self.seen = corrected > self.seen, corrected
        self.sites = flipped_sites(Path(directory)) if due else []
        return bool(self.sites)

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """Delete wavefunctions and density, and have VASP begin from MAGMOM."""
        left = [name for name in STATES if Path(directory, name).exists()]
        actions: list[dict[str, Any]] = [
            {"file": name, "action": {"_file_delete": {"mode": "actual"}}} for name in left
        ]
        actions.append({"dict": "INCAR", "action": {"_set": {"ISTART": 0, "ICHARG": 2}}})
        VaspModder(directory=directory).apply_actions(actions)
        return {"errors": [f"moments flipped at POSCAR sites {', '.join(map(str, self.sites))}"], "actions": actions}

    def as_dict(self) -> dict[str, Any]:
        """Without the other handlers."""
        return {"@module": type(self).__module__, "@class": type(self).__name__}


def flipped_sites(folder: Path) -> list[int]:
    """POSCAR sites (from 0) whose last moment in OUTCAR points against MAGMOM, modulo one reversal of all.

    Sites below 0.3 muB on either side have no sign. Empty where OUTCAR has no table of moments yet.
    """
    found = last_moments(folder / "OUTCAR")
    with contextlib.suppress(OSError, ValueError):
        asked = np.asarray(Incar.from_file(folder / "INCAR").get("MAGMOM", []), dtype=float)
        if found is not None and asked.shape == found.shape:
            along = asked * found if asked.ndim == 1 else np.sum(asked * found, axis=1)
            present = (_lengths(asked) >= COLLAPSED) & (_lengths(found) >= COLLAPSED)
            against = {sign: np.flatnonzero(present & (sign * along < 0)) for sign in (1, -1)}
            return [int(site) for site in min(against.values(), key=len)]
    return []


def last_moments(outcar: Path) -> FloatArray | None:
    """(N,) or (N, 3) moments in muB of the last complete table in OUTCAR, also of a run that was cut off."""
    try:
        tables = dict(_TABLE.findall(outcar.read_text(errors="replace")))
    except OSError:
        return None
    columns = [_totals(tables[axis]) for axis in "xyz" if axis in tables]
    if not columns or len({len(column) for column in columns}) > 1:
        return None
    return np.array(columns[0]) if len(columns) == 1 else np.array(columns).T


def _totals(table: str) -> list[float]:
    return [float(line.split()[-1]) for line in table.splitlines() if line.strip()]


def _lengths(moments: FloatArray) -> FloatArray:
    return np.abs(moments) if moments.ndim == 1 else np.linalg.norm(moments, axis=1)
