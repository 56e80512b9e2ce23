"""One run of a campaign at a time: a lock that the kernel releases, even after kill -9."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from datastore.locks import BusyError

__all__ = ["BusyError", "holder", "run_lock"]

LOCK_FILE = "run.lock"


TRIES, PAUSE = 3, 0.05
"""The question who holds the lock (:func:`holder`) takes it for a moment; a run that meets it waits so many seconds."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a campaign's folder; raises BusyError where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    # Opened for appending: a process that fails to get the lock must not erase the pid of the one that has it.
    with (folder / LOCK_FILE).open("a+") as file:
        if not _taken(file, fcntl.LOCK_EX, TRIES):
            file.seek(0)
            pid = file.read().strip() or "unknown"
            raise BusyError(
                f"this campaign is running already (process {pid}, folder {folder}); wait for it or stop it with "
                "Ctrl-C, then run the same command again"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def holder(folder: Path) -> tuple[str, float] | None:
    """Id of the process on this machine that runs the campaign, and since when (Unix time); None where none does."""
    try:
        with (folder / LOCK_FILE).open() as file:
            if _taken(file, fcntl.LOCK_SH, 1):
                return None
            return file.read().strip() or "unknown", os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None


def _taken(file: IO[str], how: int, tries: int) -> bool:
    """Whether the lock could be taken in so many tries; it is held until the file is closed."""
    for left in reversed(range(tries)):
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(PAUSE if left else 0)
    return False
