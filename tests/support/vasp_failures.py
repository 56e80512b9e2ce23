"""Every way in which VASP fails here, through a label job as a campaign has it, and what must become of it.

Used by tests/integration/test_vasp_failures.py and, as a table, by benchmarks/vasp_failures.py.
"""

import os
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from jobflow import JobStore
from maggma.stores import MemoryStore

from datastore.levels import CHANGED
from datastore.schema import SpinConfig, SpinFailure, SpinPoint
from tests.support.vasp_captures import captures, expected
from tests.support.vasp_std.faults import Fault, plan, starts
from workflows.engines import get_engine
from workflows.jobs.label import label_job
from workflows.structures.generate import StructureOptions, generate

LABEL, OTHER_LEVEL, REJECTED, LATER = "label", "label of another level", "label, rejected", "stopped, to be tried again"
CRASHED, UNCONVERGED, REFUSED = (f"recorded failure: {kind}" for kind in ("crashed", "not-converged", "refused"))
OUTCOMES = {LABEL, OTHER_LEVEL, REJECTED, LATER, CRASHED, UNCONVERGED, REFUSED}

FAST = {"poll_seconds": 0.05, "check_seconds": 0.3, "max_errors": 3}


@dataclass(frozen=True)
class Failure:
    """One way to fail. ``says``: part of what the record, or the label's corrections or verdict, must say."""

    name: str
    faults: list[Fault]
    outcome: str
    says: str
    starts: int = 1
    """How often VASP is started."""
    incar: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    job_ends_in: float | None = None
    """Seconds until the Slurm job ends; None: there is none."""

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


NONE_WRITTEN = "VASP ended without complete output, exit code"
TETRAHEDRA, SYMMETRY, PROJECTED = {"ISMEAR": -5}, {"ISYM": 2}, {"LREAL": "Auto"}
SHORT = {"wall_time": 100.0, "buffer": 98.5}
ENDING = {"buffer": 97.5}
FLIP_THEN_FAIL = [Fault("unconverged", when=1), Fault("flipped", when=1, argument=1)]

FAILURES = [
    Failure("crash at the start", [Fault("crash")], CRASHED, f"{NONE_WRITTEN} 139"),
    Failure("exit status 1 at the start", [Fault("exit")], CRASHED, f"{NONE_WRITTEN} 1"),
    Failure("exit status 0 without output", [Fault("silent")], CRASHED, f"{NONE_WRITTEN} 0"),
    Failure(
        "exit status 0 without output, after an attempt with whole files",
        [Fault("unconverged", when=1), Fault("silent", when=2)],
        CRASHED,
        f"{NONE_WRITTEN} 0",
        starts=2,
    ),
    Failure("killed after three electronic steps", [Fault("killed")], CRASHED, f"{NONE_WRITTEN} 137"),
    Failure("hang", [Fault("hang")], CRASHED, "VASP hung: no output for 4 s", run={"frozen_after": 4.0}),
    Failure("disk full", [Fault("disk_full")], LATER, "No space left on device"),
    Failure("OUTCAR cut off", [Fault("truncated_outcar")], CRASHED, "OUTCAR: lacks its end"),
    Failure("vasprun.xml cut off", [Fault("truncated_vasprun")], CRASHED, f"{NONE_WRITTEN} 0"),
    Failure("both cut off", [Fault("truncated")], CRASHED, f"{NONE_WRITTEN} 0"),
    Failure("asterisks for forces", [Fault("overflow")], CRASHED, "asterisks"),
    Failure("NaN for energies", [Fault("nan")], CRASHED, "NaN"),
    Failure("outputs of another cell", [Fault("foreign")], REFUSED, "a lattice that is off by"),
    Failure("sites in another order", [Fault("wrong_order")], REFUSED, "is its order another one?"),
    Failure("moments flipped", [Fault("flipped", argument=1)], REJECTED, "flipped: site 1"),
    Failure("low-spin state", [Fault("other_state")], REJECTED, "low spin: site 0"),
    Failure("not converged once", [Fault("unconverged")], LABEL, "Unconverged -> INCAR ALGO=All", starts=2),
    Failure(
        "never converges",
        [Fault("unconverged", when="always")],
        UNCONVERGED,
        "did not converge, and nothing is left to try",
        starts=3,
    ),
    Failure(
        "moments flipped, and a restart from the wavefunction",
        FLIP_THEN_FAIL,
        LABEL,
        "moments flipped at POSCAR sites 1 -> WAVECAR deleted",
        starts=2,
        incar={"LWAVE": True},
    ),
    Failure("wall time", [Fault("slow", argument=0.5)], UNCONVERGED, "stopped before the wall time", run=SHORT),
    Failure(
        "end of the Slurm job", [Fault("slow", argument=0.5)], LATER, "Slurm job ends", run=ENDING, job_ends_in=100
    ),
    Failure("no time left", [], LATER, "s are left of the Slurm job", starts=0, job_ends_in=100),
    Failure("no such program", [], LATER, "'no_vasp' of VASP is not found", starts=0, run={"vasp_cmd": "no_vasp"}),
    Failure("tetrahedra fail", [Fault("tet")], OTHER_LEVEL, "tet -> INCAR ISMEAR=0", starts=2, incar=TETRAHEDRA),
    Failure("symmetry fails", [Fault("point_group")], OTHER_LEVEL, "INCAR ISYM=0", starts=2, incar=SYMMETRY),
    Failure("real-space projectors fail", [Fault("real_optlay")], OTHER_LEVEL, "LREAL=False", 2, PROJECTED),
    Failure("too few k points", [Fault("dentet")], OTHER_LEVEL, "KPOINTS", starts=2),
    Failure("mixing fails", [Fault("brmix")], LABEL, "brmix -> INCAR IMIX=1", starts=2),
    Failure("diagonalisation fails", [Fault("edddav")], LABEL, "edddav -> ", starts=2),
    Failure("diagonalisation fails always", [Fault("edddav", when="always")], CRASHED, "run.max_errors", starts=3),
    Failure("two errors one after the other", [Fault("brmix", 1), Fault("edddav", 2)], LABEL, "IMIX=1", starts=3),
    Failure("an error in passing", [Fault("warning", argument="brmix")], LABEL, "brmix -> INCAR ISTART=1", starts=2),
]

AS_CAPTURED = {
    **dict.fromkeys(("amin", "brions", "brmix", "edddav", "eddiag", "eddrmm", "zbrent"), LABEL),
    **dict.fromkeys(("ksymm", "posmap", "pricelv", "rhosyg"), LABEL),  # SYMPREC, while symmetry is off
    **dict.fromkeys(("read_error", "set_core_wf", "spin_polarized_harris"), REFUSED),
    "dentet": OTHER_LEVEL,
}
"""custodian's name of an error in a real capture -> what becomes of it; others have nothing that can be changed."""


def captured() -> list[Failure]:
    """Real VASP's own words, said at the first start; none without SPINMULTINET_TEST_DATA."""
    return [_captured(name, errors) for name, errors in expected().items() if not name.endswith(".gz")]


def _captured(name: str, errors: list[str]) -> Failure:
    folder = captures()
    assert folder is not None
    outcome = next((AS_CAPTURED[error] for error in errors if error in AS_CAPTURED), CRASHED)
    says = "VASP refuses its inputs" if outcome == REFUSED else errors[0] if errors else NONE_WRITTEN
    if errors == ["nbands_not_sufficient"]:  # custodian fails: it wants the OUTCAR, which VASP has not begun
        says = NONE_WRITTEN
    faults = [Fault("message", argument=str(folder / name))]
    return Failure(f"real {name}", faults, outcome, says, starts=1 + (outcome in (LABEL, OTHER_LEVEL)))


def configuration() -> SpinConfig:
    """A displaced AFM cell of four atoms."""
    options = StructureOptions(
        parents=[{"species": "Ni", "lattice_constant": 4.17, "cell": "rhombohedral4"}],
        orderings=["AFM-II"],
        deformations=[{"kind": "displacement", "amplitude": [0.05, 0.05], "count": 1}],
    )
    return next(iter(generate(options, campaign="failures")))


@dataclass(frozen=True)
class Ending:
    """What became of a failure."""

    outcome: str
    text: str
    starts: int
    document: SpinPoint | SpinFailure | None


@contextmanager
def _slurm(seconds: float | None) -> Iterator[None]:
    """As in a Slurm job that ends in so many seconds."""
    names = {} if seconds is None else {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": f"{time.time() + seconds:.0f}"}
    with mock.patch.dict(os.environ, names):
        yield


def run_failure(failure: Failure, faults: Path, folder: Path) -> Ending:
    """Run the label job in ``folder``, as a worker does; ``faults``: folder of the plan that the program reads."""
    plan(faults, failure.faults)
    folder.mkdir(parents=True, exist_ok=True)
    engine = get_engine({"type": "vasp", "incar": failure.incar, "run": {**FAST, **failure.run}})
    store = JobStore(MemoryStore())
    store.connect()
    job = label_job(engine, configuration())
    with chdir(folder), _slurm(failure.job_ends_in):
        try:
            job.run(store)
        except Exception as error:
            return Ending(LATER, str(error), starts(faults), None)
        finally:
            os.environ.pop("CUSTODIAN_WALLTIME_START", None)
    document = store.get_output(job.uuid)
    if "error" in document:
        failed = SpinFailure.from_document(document)
        return Ending(f"recorded failure: {failed.error_type}", failed.error, starts(faults), failed)
    point = SpinPoint.from_document(document)
    text = "; ".join([*point.corrections, *point.verdict_reasons])
    changed = CHANGED in point.level_of_theory
    outcome = REJECTED if point.verdict == "rejected" else OTHER_LEVEL if changed else LABEL
    return Ending(outcome, text, starts(faults), point)
