"""What every child process of ours needs: one thread, and no life of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

SINGLE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Environment a calculation's process must *start* with; the BLAS library reads it when it is loaded."""

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Ask Linux to kill this process when its ``parent`` (process id) dies, so that kill -9 leaves nothing running."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        sys.exit("the parent process has ended")
