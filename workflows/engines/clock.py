"""What a calculation costs: wall time, CPU time with that of its child processes, and the cores it had."""

from __future__ import annotations

import resource
import time


class Clock:
    """Runs from when it is made.

    Child processes count once they have ended and were waited for, with all of theirs: an engine that computes in a
    child (GPAW, where this process has several threads) is charged for the child's start as well.
    """

    def __init__(self, cores: int = 1):
        self.cores = cores
        self._wall, self._cpu = time.perf_counter(), _cpu()

    def spent(self) -> dict[str, float]:
        """``wall`` and ``cpu`` in seconds, and ``cores``: the entries of a label's timings that costs follow from."""
        return {"wall": time.perf_counter() - self._wall, "cpu": _cpu() - self._cpu, "cores": float(self.cores)}


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
