"""Ways in which the program fails, as VASP does, and when: chosen from outside by a file.

A test plans them before the runs::

    plan(vasp_on_path.faults, [Fault("brmix", when="first"), Fault("flipped", formula="Ni2O2", argument=0)])

Every start of the program reads the plan in the folder that VASP_STD_FAULTS names. Starts are counted there, so that
"the first start fails, the second is fine" holds across processes and restarts.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from tests.support.vasp_std.inputs import Inputs

VARIABLE = "VASP_STD_FAULTS"
_FILE = "vasp_std.faults.json"

MESSAGES = {
    "tet": " Tetrahedron method fails (number of k-points < 4)",
    "brmix": " BRMIX: very serious problems\n  the old and the new charge density differ",
    "subspacematrix": " WARNING: Sub-Space-Matrix is not hermitian in DAV           1",
    "real_optlay": " REAL_OPTLAY: internal error (1)           0",
    "rot_matrix": " VERY BAD NEWS! internal error in subroutine SGRCON:\n Found some non-integer element in rotation "
    "matrix",
    "zpotrf": " LAPACK: Routine ZPOTRF failed!           4           0           0",
    "edddav": " Error EDDDAV: Call to ZHEGV failed. Returncode =  14 1  16",
    "eddrmm": " WARNING in EDDRMM: call to ZHEGV failed, returncode =   6  3      1",
    "pssyevx": " ERROR in subspace rotation PSSYEVX: not enough eigenvalues found         38         56",
    "zbrent": " ZBRENT: fatal error in bracketing",
    "posmap": " POSMAP internal error: symmetry equivalent atom not found,",
    "point_group": " internal error in VASP: a group operation missing",
    "rhosyg": " internal error in RHOSYG: stars are not distinct",
    "symprec_noise": " determination of the symmetry of your systems shows a strong",
    "too_few_bands": " TOO FEW BANDS",
    "brions": " BRIONS problems: POTIM should be increased",
    "dentet": " WARNING: DENTET: can't reach specified precision",
    "nicht_konv": " ERROR: SBESSELITER : nicht konvergent",
    "coef": " ERROR: while reading WAVECAR, plane wave coefficients changed",
}
"""What VASP writes to stdout, by custodian's name of the error."""

Kind = Literal[
    "message",  # the text of the file ``argument`` (or a name of MESSAGES as kind), then exit status 1
    "warning",  # the same text, and the run goes on
    "crash",  # killed by a segmentation fault at the start
    "exit",  # exit status 1 at the start
    "hang",  # no output, ``argument`` seconds (a day)
    "silent",  # exit status 0, nothing written; files of an earlier run stay
    "killed",  # by SIGKILL before electronic step ``argument`` (3) of the first ionic step
    "disk_full",  # within electronic step ``argument`` (3): files end there
    "slow",  # ``argument`` seconds (1) before each electronic step
    "unconverged",  # the electrons do not converge within NELM
    "truncated_outcar",  # all files but the last part of one, ``argument`` (0.6) of which stays
    "truncated_vasprun",
    "truncated",  # both
    "flipped",  # the moment of site ``argument`` (0) is reversed and relaxes there
    "other_state",  # the first moment has ``argument`` (0.4) of its length, with the energy and forces of that
    "foreign",  # results of a cell ``argument`` (1.02) times as long
    "wrong_order",  # sites of each species come in reversed order
    "overflow",  # asterisks for the forces on the first site
    "nan",  # NaN for all energies
]
KINDS = set(Kind.__args__) | set(MESSAGES)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Fault:
    """One way to fail. ``when``: first, always, or the number of the start (from 1) among those that match."""

    kind: str
    when: Literal["first", "always"] | int = "first"
    argument: float | str | None = None
    formula: str = ""
    """Only for such cells, in the POSCAR's order: Ni2O2."""
    signs: str = ""
    """Only for such MAGMOM: +-00 (collinear; a zero is below 0.1 muB)."""
    each: bool = False
    """Starts are counted for each POSCAR by itself."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind}; there are {', '.join(sorted(KINDS))}")

    def matches(self, inputs: Inputs) -> bool:
        counted = zip(inputs.potcars, inputs.counts, strict=True)
        formula = "".join(f"{potcar.element}{count}" for potcar, count in counted)
        guess = inputs.guess()
        signs = "".join("0" if abs(m) < 0.1 else "+" if m > 0 else "-" for m in guess) if guess.ndim == 1 else ""
        return self.formula in ("", formula) and self.signs in ("", signs)

    def due(self, start: int) -> bool:
        return self.when == "always" or start == (1 if self.when == "first" else self.when)


def plan(folder: Path, faults: list[Fault]) -> None:
    """Replaces the plan in ``folder``; counting starts anew."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("starts*"):
        old.unlink()
    (folder / _FILE).write_text(json.dumps([asdict(fault) for fault in faults]))


def starts(folder: Path) -> int:
    """How often the program was started with inputs it could read since :func:`plan`, whatever became of it."""
    counter = folder / "starts"
    return counter.stat().st_size if counter.exists() else 0


def due(inputs: Inputs) -> dict[str, Any]:
    """Kinds and arguments of the faults of this start, which is counted."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return {}
    _count(Path(folder) / "starts")
    plans = Path(folder) / _FILE
    found: dict[str, Any] = {}
    for index, raw in enumerate(json.loads(plans.read_text()) if plans.exists() else []):
        fault = Fault(**raw)
        key = "-" + sha256(Path("POSCAR").read_bytes()).hexdigest()[:16] if fault.each else ""
        if fault.matches(inputs) and fault.due(_count(Path(folder) / f"starts-{index}{key}")):
            found[fault.kind] = fault.argument
    return found


def _count(path: Path) -> int:
    """One more; the file has one byte per start."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b".")
        file.flush()
        return file.tell()
