"""VASP under custodian in a prepared folder: ends with outputs to read, or with a recorded reason.

Handlers are those of atomate2, made anew for each run (they count errors, and atomate2's are shared by all runs of a
process), with explicit limits of time. VASP dies with this process, whatever kills it (:mod:`workflows.processes`). A
run begins without what an earlier one left (:mod:`workflows.engines.vasp.restart`): a killed run is begun again from
its inputs, which the engine has written anew.

How a run may end:

===================================================  =======================================================
what custodian or VASP says                           what is raised
===================================================  =======================================================
converged, perhaps after corrections                  nothing; the label carries the corrections
no convergence in NELM steps, nothing left to try     LabelError ``not-converged``
stopped at ``run.wall_time``                          LabelError ``not-converged``
crash, hang, exit code, no or broken output           LabelError ``crashed``
VASP refuses INCAR or POTCAR; a handler changed       LabelError ``refused``
sites or the start of the moments
disk full; the Slurm job ends, now or before the      OSError, TryLaterError: the job stops and is tried again
start; no such program
===================================================  =======================================================
"""

from __future__ import annotations

import errno
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atomate2.vasp.run import DEFAULT_HANDLERS
from custodian import Custodian
from custodian.custodian import (
    CustodianError,
    ErrorHandler,
    MaxCorrectionsError,
    MaxCorrectionsPerJobError,
    ReturnCodeError,
    ValidationError,
)
from custodian.vasp.handlers import FrozenJobErrorHandler, WalltimeHandler
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator
from pymatgen.io.vasp.inputs import Incar

from datastore.schema import FailureKind
from workflows.engines.interface import LabelError, TryLaterError, full_disk
from workflows.engines.vasp.corrections import HANDLER_FAILED, LENGTH, departure, read_corrections, read_log
from workflows.engines.vasp.output_files import OutputError
from workflows.engines.vasp.restart import FreshJob, LostMomentsHandler, clean
from workflows.engines.vasp.run_options import Limit, RunOptions, command_problem, time_limit
from workflows.processes import supervised

WALLTIME = "Walltime reached"
OUT_OF_TIME = "VASP was stopped before the wall time; give it more with run.wall_time"
JOB_ENDS = "VASP was stopped because the Slurm job ends; the next one begins it again, and has to be long enough for it"
UNCONVERGED = frozenset({"Unconverged", "Non-converging job"})
FROZEN = "Frozen job"
REFUSALS = {
    "set_core_wf": "the POTCAR does not suit this version of VASP; use a newer one",
    "read_error": "VASP cannot read the INCAR; check the tags set in the engine's incar",
    "spin_polarized_harris": "ICHARG of 10 and more does not go with ISPIN 2 and NSW above 0; leave ICHARG out",
}
"""Errors of custodian that are the user's to mend, with the remedy."""

FULL = ("no space left on device", "disk quota exceeded")
ALMOST_FULL = 1 << 20
"""Bytes. Where less is free after a failure, the disk is taken to be full: VASP often says nothing about it."""

KILL_PART = 0.1
"""Share of the buffer before the limit at which VASP is ended where it did not heed the STOPCAR."""


def run_vasp_in(folder: Path, options: RunOptions, wavecar: Path | None = None) -> list[dict[str, Any]]:
    """Run VASP on the inputs in ``folder`` until they converge; returns the history (see ``corrections``).

    ``wavecar``: moved into the folder, for a run that is told to begin from it; without one, all begin from MAGMOM.
    Raises LabelError as the table above says, OSError where the disk is full, TryLaterError where this
    machine, or the time it gives, does not suffice.
    """
    folder = folder.resolve()
    limit, vector = time_limit(options), _vector(folder)
    left = None if limit is None else limit.seconds
    if left is not None and left <= options.buffer:
        raise TryLaterError(f"{left:.0f} s are left of the Slurm job, of which {options.buffer:g} s are run.buffer")
    if problem := command_problem(options, vector):
        raise TryLaterError(problem)
    clean(folder)
    if wavecar is not None:
        shutil.move(wavecar, folder / "WAVECAR")
    until = None if left is None else time.time() + left - options.buffer * KILL_PART
    job = FreshJob(supervised(options.command(vector), until), auto_gamma=False)
    failure = _run(folder, options, job, left)
    late = until is not None and time.time() >= until
    if failure is not None:
        _check_disk(folder, failure)
        if late or _asked_to_stop(read_log(folder)):
            _out_of_time(folder, limit)
        _give_up(folder, failure, job, options)
    _check_finished(folder, limit)
    return read_corrections(folder).history


def _run(folder: Path, options: RunOptions, job: FreshJob, left: float | None) -> Exception | None:
    """Let custodian run the job; returns what it ended with. VASP has ended then, whatever happened."""
    try:
        with _environment(OMP_NUM_THREADS=str(options.threads)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what custodian warns of is in its log
            _custodian(folder, options, job, left).run()
    except Exception as error:
        return error
    finally:
        job.end()
    return None


def _custodian(folder: Path, options: RunOptions, job: FreshJob, left: float | None) -> Custodian:
    every = min([options.check_seconds, options.frozen_after / 2, *([] if left is None else [options.buffer / 2])])
    return Custodian(
        _handlers(options, left),
        [job],
        validators=[VasprunXMLValidator(), VaspFilesValidator()],
        max_errors=options.max_errors,
        polling_time_step=options.poll_seconds,
        skip_over_errors=True,  # a handler that cannot read a file VASP is writing costs no calculation
        monitor_freq=max(1, round(every / options.poll_seconds)),
        directory=str(folder),
    )


def _handlers(options: RunOptions, left: float | None) -> list[ErrorHandler]:
    kinds = [type(handler) for handler in DEFAULT_HANDLERS if type(handler).__name__ not in options.without]
    handlers: list[ErrorHandler] = [
        kind(timeout=options.frozen_after) if kind is FrozenJobErrorHandler else kind() for kind in kinds
    ]
    if left is not None:
        handlers.append(_walltime(left, options.buffer))
    return [*handlers, LostMomentsHandler(handlers)]


def _walltime(left: float, buffer: float) -> WalltimeHandler:
    """Counts from now: custodian's own clock starts with the first run of a process, and is in the environment."""
    with _environment(CUSTODIAN_WALLTIME_START=None):
        return WalltimeHandler(wall_time=left, buffer_time=buffer, electronic_step_stop=True)


def _check_disk(folder: Path, failure: Exception) -> None:
    """Raise OSError where the disk is full: that says nothing about the configuration."""
    if full := full_disk(failure):
        raise full from failure
    said = "".join(_tail(folder / name, 100).casefold() for name in ("vasp.out", "std_err.txt"))
    if any(text in said for text in FULL) or shutil.disk_usage(folder).free < ALMOST_FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _asked_to_stop(log: list[dict[str, Any]]) -> bool:
    return any(WALLTIME in entry["errors"] for entry in log)


def _out_of_time(folder: Path, limit: Limit | None) -> None:
    """Raise LabelError where the configuration had its time; TryLaterError where the Slurm job had no more to give."""
    if limit is not None and limit.of_job:
        raise TryLaterError(f"{JOB_ENDS}; files: {folder}")
    _fail(folder, "not-converged", OUT_OF_TIME)


def _give_up(folder: Path, failure: Exception, job: FreshJob, options: RunOptions) -> None:
    """Raise LabelError for what custodian ended with."""
    found = isinstance(failure, CustodianError) and not isinstance(failure, ValidationError | ReturnCodeError)
    last = _last_errors(read_log(folder)) if found else set()
    _fail(folder, *_reason(failure, last, job.exit_code, options))


def _check_finished(folder: Path, limit: Limit | None) -> None:
    """Raise LabelError, or TryLaterError, for a run that custodian let pass, and that gives no label all the same."""
    log = read_log(folder)
    if _asked_to_stop(log) and not finished(folder, log):
        _out_of_time(folder, limit)
    if said := departure(folder):
        _fail(folder, "refused", f"a correction changed what is computed: {said}")


def finished(folder: Path, log: list[dict[str, Any]]) -> bool:
    """Whether a run that was asked to stop had converged: custodian looks at its clock also after the end."""
    first = next(number for number, entry in enumerate(log) if WALLTIME in entry["errors"])
    if any(entry["errors"] != [WALLTIME] for entry in log[first:]):
        return False
    text = (folder / "OUTCAR").read_text(errors="replace") if (folder / "OUTCAR").exists() else ""
    loops = [line for line in text.splitlines() if "aborting loop" in line]
    relaxed = not Incar.from_file(folder / "INCAR").get("NSW", 0) or "reached required accuracy" in text
    return bool(loops) and "EDIFF is reached" in loops[-1] and relaxed and "General timing and accounting" in text


def _reason(failure: Exception, last: set[str], code: int | None, options: RunOptions) -> tuple[FailureKind, str]:
    """Kind of a failure and what to say about it; ``last``: errors that the handlers found and could not mend."""
    text = _text(failure)
    for error, remedy in REFUSALS.items():
        if error in last:
            return "refused", f"VASP refuses its inputs ({error}): {remedy}"
    if last & UNCONVERGED:
        return "not-converged", f"VASP did not converge, and nothing is left to try ({text})"
    if FROZEN in last:
        return "crashed", f"VASP hung: no output for {options.frozen_after:g} s (run.frozen_after)"
    if last:
        return "crashed", f"VASP ended with {', '.join(sorted(last))} ({text})"
    if isinstance(failure, ValidationError):
        return "crashed", f"VASP ended without complete output, exit code {code}"
    if isinstance(failure, ReturnCodeError):
        return "crashed", f"VASP ended with exit code {code}"
    return "crashed", f"custodian failed: {text}"


def _text(failure: Exception) -> str:
    """The message in one line, without the dumps of objects."""
    if isinstance(failure, MaxCorrectionsError | MaxCorrectionsPerJobError):
        return "as many corrections as run.max_errors allows"
    if isinstance(failure, CustodianError):
        return str(failure).split(" for handler: ")[0]
    return " ".join(f"{type(failure).__name__}: {failure}".split())[:LENGTH]


def _fail(folder: Path, kind: FailureKind, reason: str) -> None:
    """Raise LabelError with what was tried and VASP's last words."""
    try:
        found = read_corrections(folder)
    except OutputError:  # a damaged input, as a full disk leaves it; the log says what was tried
        found = read_corrections(folder, of_final_files=True)
    tried = f"; tried: {' | '.join(found.texts)}" if found.texts else ""
    words = _last_words(folder)
    raise LabelError(f"{reason}{tried}{words}; files: {folder}", kind, history=found.history)


def _last_errors(log: list[dict[str, Any]]) -> set[str]:
    """Errors of the last entry of the log and of those that were found with it and could not be mended."""
    found = [entry for entry in log if entry["errors"] != [HANDLER_FAILED]]
    unmended = [entry for entry in found if not entry["actions"]]
    return {error for entry in [*found[-1:], *unmended] for error in entry["errors"]}


def _last_words(folder: Path) -> str:
    for name in ("std_err.txt", "vasp.out"):
        lines = [line.strip(" |") for line in _tail(folder / name, 20).splitlines()]
        if said := [line for line in lines if any(letter.isalnum() for letter in line)]:
            return f"; {name} ends with: {' '.join(said[-1].split())[:LENGTH]}"
    return ""


def _tail(path: Path, lines: int) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _vector(folder: Path) -> bool:
    incar = Incar.from_file(folder / "INCAR")
    return bool(incar.get("LNONCOLLINEAR") or incar.get("LSORBIT"))


@contextmanager
def _environment(**values: str | None) -> Iterator[None]:
    """Set (or, with None, remove) variables of the environment, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    try:
        _set(values)
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
