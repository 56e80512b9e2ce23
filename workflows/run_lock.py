"""One run of a campaign at a time: a lock that the kernel releases, even after kill -9."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = "run.lock"


class BusyError(RuntimeError):
    """Another process runs the same campaign."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a campaign's folder; raises BusyError where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    # Opened for appending: a process that fails to get the lock must not erase the pid of the one that has it.
    with (folder / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise BusyError(
                f"this campaign is running already (process {holder}, folder {folder}); wait for it or stop it with "
                "Ctrl-C, then run the same command again"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
