"""The one place where errors become a line for the user and an exit code for scripts."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

BAD_INPUT, FAILED, MISSING, INTERNAL, BUSY, INTERRUPTED = 2, 1, 3, 70, 75, 130
"""Exit codes; 0 is success. BUSY (EX_TEMPFAIL of sysexits.h): try again later; of `retrain` only."""

STOPPED = "stopped; nothing finished is lost; the same command continues"
DISK_FULL = (
    "no space left on the disk; nothing acknowledged is lost. Free some space (or choose another folder) and run the "
    "same command again"
)

# By name, because importing the classes would import torch, maggma and pymatgen before they are needed.
_CODES = {
    "DataError": BAD_INPUT,
    "UnfitModelError": FAILED,
    "RefusedError": FAILED,
    "StructureError": BAD_INPUT,
    "EngineError": BAD_INPUT,
    "CampaignError": BAD_INPUT,
    "RelabelError": BAD_INPUT,
    "ScheduleError": BAD_INPUT,
    "ServeError": BAD_INPUT,
    "RemoteSetupError": BAD_INPUT,
    "SpinMultiNetError": BAD_INPUT,
    "InputError": BAD_INPUT,
    "ReportError": BAD_INPUT,
    "BusyError": FAILED,
    "LockLostError": FAILED,
    "NotConvergedError": FAILED,
    "RunError": FAILED,
    "ReaderError": FAILED,
    "MissingRequirementError": MISSING,
}
_FULL_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK_TROUBLE = "disk i/o error"
_FULL_TEXT = ("no space left on device", "disk quota exceeded", "disk is full", "file too large")


class InputError(ValueError):
    """Something given on the command line that cannot be used; the message names the remedy."""


class NotConvergedError(RuntimeError):
    """A relaxation that ended before it converged; its result was shown."""


class MissingRequirementError(RuntimeError):
    """Something this machine lacks; the message says how to get it."""


def need_jobflow_remote() -> None:
    """MissingRequirementError where it is not installed."""
    from importlib.util import find_spec

    if find_spec("jobflow_remote") is None:
        raise MissingRequirementError("jobflow-remote is not installed: pip install 'spinmultinet-workflows[remote]'")


def report(error: BaseException) -> int:
    """Tell the user about ``error`` in one line on stderr; returns the exit code."""
    message, code = explain(error)
    if message:
        print(f"error: {message}", file=sys.stderr, flush=True)
    return code


def explain(error: BaseException) -> tuple[str, int]:
    """One line and exit code for any exception. Unknown ones leave their traceback in a file."""
    if isinstance(error, BrokenPipeError):
        return "", FAILED  # whoever read our output has had enough: not worth a message
    if is_interrupt(error):
        return STOPPED, INTERRUPTED
    if _disk_is_full(error):
        return DISK_FULL, FAILED
    usage = getattr(error, "format_message", None)
    if usage is not None:  # click's and typer's own, whichever copy of click typer brings along
        return _with_hint(one_line(usage()), error), BAD_INPUT
    code = next((_CODES[c.__name__] for c in type(error).__mro__ if c.__name__ in _CODES), None)
    if code is not None:
        text = one_line(str(error))
        return text, FAILED if _DISK_TROUBLE in text.lower() else code
    if isinstance(error, ModuleNotFoundError):
        return f"Python package {error.name!r} is not installed: pip install {error.name}", MISSING
    if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return f"{error.filename}: {error.strerror}; check the path and its permissions", BAD_INPUT
    return f"{type(error).__name__}: {one_line(str(error))} (details: {_crash_log(error)})", INTERNAL


def warn_plainly() -> None:
    """Have warnings about a campaign file or its queue in one line, like errors; others as Python has them."""
    usual = warnings.formatwarning

    def text(message: Warning | str, category: type[Warning], *more: Any, **rest: Any) -> str:
        if category.__name__ not in ("PasswordWarning", "QueueWarning"):
            return usual(message, category, *more, **rest)
        return f"warning: {one_line(str(message))}\n"

    warnings.formatwarning = text


def is_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C is behind it; click wraps it into its own Abort."""
    return type(error).__name__ == "Abort" or any(isinstance(e, KeyboardInterrupt) for e in _chain(error))


def one_line(text: str) -> str:
    """Text without line breaks."""
    return " ".join(text.split())


def _disk_is_full(error: BaseException) -> bool:
    if any(isinstance(e, OSError) and e.errno in _FULL_ERRNO for e in _chain(error)):
        return True
    # Jobs report from other processes, as text; SQLite has no errno.
    return any(hint in str(error).lower() for hint in _FULL_TEXT)


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(10):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def _with_hint(message: str, error: BaseException) -> str:
    path = getattr(getattr(error, "ctx", None), "command_path", None)
    return f"{message.rstrip('.')}; see '{path} --help'" if path else message


def _crash_log(error: BaseException) -> str:
    """Path of a new file with the traceback."""
    try:
        handle, path = tempfile.mkstemp(prefix="spinmultinet-crash-", suffix=".txt")
        with os.fdopen(handle, "w") as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError as problem:
        return f"could not be written, {problem.strerror}"
    return path
