"""What every child process of ours needs: one thread, and no life of its own.

Run as a program, this file looks after another one (:func:`supervise`). It imports nothing but the standard library, so
that it starts in a few hundredths of a second:

``python -I processes.py PARENT_PID UNTIL COMMAND...``
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SINGLE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Environment a calculation's process must *start* with; the BLAS library reads it when it is loaded."""

OUT_OF_TIME = 124
"""Exit code of :func:`supervise` where the program had to be ended; that of ``timeout``."""

NOT_STARTED = 127
"""Exit code of :func:`supervise` where the program could not be started; that of a shell."""

GRACE = 3.0
"""Seconds between asking a program to end and ending it."""

ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with(parent: int, sign: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to send ``sign`` to this process when its ``parent`` (process id) dies.

    So kill -9 leaves nothing running.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, sign)
    if os.getppid() != parent:  # it died before the line above
        sys.exit("the parent process has ended")


def supervised(command: Sequence[str], until: float | None = None) -> list[str]:
    """The command that runs ``command`` under :func:`supervise` as a child of this process.

    ``until``: seconds since the epoch at which it is ended.
    """
    limit = "inf" if until is None else f"{until:.3f}"
    return [sys.executable, "-I", str(Path(__file__).resolve()), str(os.getpid()), limit, *command]


def supervise(parent: int, until: float, command: Sequence[str]) -> int:
    """Run a program; nothing that it started outlives it, this process, or ``parent``. Returns its exit code.

    It is ended at ``until``, in seconds since the epoch (OUT_OF_TIME). A launcher such as mpirun puts its ranks into
    process groups of their own; here they are found as descendants, wherever they went: Linux hands orphans to this
    process.
    """
    for ending in ENDINGS:
        signal.signal(ending, _stop)
    die_with(parent, signal.SIGTERM)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        code = _run(command, until)
    except _StopError as stop:
        code = 128 + int(stop.args[0])
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        code = NOT_STARTED
    finally:
        for ending in ENDINGS:
            signal.signal(ending, signal.SIG_IGN)
        end_descendants()
    return code if code >= 0 else 128 - code


def _run(command: Sequence[str], until: float) -> int:
    me = os.getpid()
    child = subprocess.Popen(command, preexec_fn=lambda: die_with(me))  # noqa: PLW1509 - there is one thread
    try:
        return child.wait(None if until == float("inf") else max(0.0, until - time.time()))
    except subprocess.TimeoutExpired:
        return OUT_OF_TIME


def end_descendants(grace: float = GRACE) -> None:
    """End every process that this one started, and all that those started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        until, told = time.monotonic() + grace, set[int]()
        while (left := descendants()) and time.monotonic() < until:
            for process in set(left) - told:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, sign)
            told |= set(left)
            _reap()
            time.sleep(0.01)
    _reap()


def descendants() -> list[int]:
    """Process ids of the living children of this process, of their children, and so on; empty where /proc is not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(entry.parent.name))
    found, waiting = [], list(children.get(os.getpid(), []))
    while waiting:
        found.append(process := waiting.pop())
        waiting += children.get(process, [])
    return found


class _StopError(Exception):
    """A signal that ends this process."""


def _stop(number: int, frame: object) -> None:
    raise _StopError(number)


def _reap() -> None:
    """Take the exit codes of children that have ended, so that they are no zombies and their time is counted."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
