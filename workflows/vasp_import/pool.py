"""Several reader processes, each with one run at a time: a run that kills its reader, or holds it up, costs that run.

Answers come in the order of the tasks, so that an import gives the same labels however the readers race.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from workflows.processes import SINGLE_THREAD

AHEAD = 500
"""Answers that may wait for an earlier one: a few MB."""

MEMORY_SHARE = 0.8
LEAST_MEMORY = 4 * 2**30
"""Bytes. An address space is larger than what is used; below this a reader does not start."""


class ReaderError(RuntimeError):
    """Readers cannot be started on this machine."""


@dataclass
class Task:
    """What a reader is asked (``message``, JSON-able), and what it answers; ``answer`` may be known beforehand."""

    item: Any
    message: dict[str, Any] | None
    answer: dict[str, Any] | None = None

    def forget(self) -> None:
        """Drop what was asked and answered: there may be a hundred thousand tasks, and documents of a megabyte."""
        self.message = self.answer = None


def read_all(tasks: Iterable[Task], processes: int, limit: float) -> Iterator[Task]:
    """The tasks with their answers, in their order. ``limit``: seconds that one may take.

    Raises ReaderError. Readers end with the iterator, however it ends.
    """
    pool = _Pool(processes, limit)
    try:
        yield from pool.run(iter(tasks))
    finally:
        pool.stop()


class _Pool:
    def __init__(self, processes: int, limit: float):
        self.processes = processes
        self.limit = limit
        self.readers: list[_Reader] = []
        self.selector = selectors.DefaultSelector()
        self.queue: list[Task] = []  # given out or known, oldest first

    def run(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """Hand out, collect, and give what is next."""
        left = True
        while left or self.queue:
            left = left and self._fill(tasks)
            done = next((i for i, task in enumerate(self.queue) if task.answer is None), len(self.queue))
            yield from self.queue[:done]
            del self.queue[:done]
            if any(reader.task is not None for reader in self.readers):
                self._wait()

    def _fill(self, tasks: Iterator[Task]) -> bool:
        """Give every free reader a task; False where there are no more."""
        while len(self.queue) < AHEAD:
            free = next((reader for reader in self.readers if reader.task is None), None)
            if free is None and len(self.readers) < self.processes:
                free = self._start()
            if free is None:
                return True
            task = next(tasks, None)
            if task is None:
                return False
            self.queue.append(task)
            if task.answer is None:
                free.give(task)
        return True

    def _start(self) -> _Reader:
        reader = _Reader(_memory(self.processes))
        self.readers.append(reader)
        self.selector.register(reader.stdout, selectors.EVENT_READ, reader)
        return reader

    def _wait(self) -> None:
        """Take what readers have to say; end those that take too long."""
        busy = [reader for reader in self.readers if reader.task is not None and reader.ready]
        soonest = min((reader.given + self.limit - time.monotonic() for reader in busy), default=None)
        for key, _ in self.selector.select(None if soonest is None else max(0.0, soonest)):
            reader: _Reader = key.data
            if not reader.read():
                self._lost(reader, ("reader died", reader.ending()))
        for reader in busy:
            if reader.task is not None and time.monotonic() >= reader.given + self.limit:
                text = f"reading took more than {self.limit:g} s; is a file of it very large? raise --time-limit"
                self._lost(reader, ("too slow", text))

    def _lost(self, reader: _Reader, refusal: tuple[str, str]) -> None:
        """A reader that is gone takes its task with it; another one will be started."""
        self.selector.unregister(reader.stdout)
        self.readers.remove(reader)
        reader.kill()
        if not reader.ready:
            raise ReaderError(f"a reader process cannot be started: {refusal[1]}")
        if reader.task is not None:
            reader.task.answer = {"points": [], "refused": [refusal]}

    def stop(self) -> None:
        """End all readers; what they had is read again next time."""
        for reader in self.readers:
            reader.kill()
        self.selector.close()


class _Reader:
    """One process of :mod:`workflows.vasp_import.worker`, and the task it has."""

    def __init__(self, memory: int):
        self.task: Task | None = None
        self.given = 0.0
        self.ready = False
        self.buffer = b""
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workflows.vasp_import.worker", str(os.getpid()), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **SINGLE_THREAD, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the parent, which ends its readers
        )
        assert self.process.stdout is not None
        self.stdout = self.process.stdout

    def give(self, task: Task) -> None:
        """Hand over a task; its time runs from now, or from when the reader is ready."""
        self.task, self.given = task, time.monotonic()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died just now: the end of file on its stdout tells
            self.process.stdin.write(orjson.dumps(task.message) + b"\n")
            self.process.stdin.flush()

    def read(self) -> bool:
        """Take complete messages; False when the process has closed its end."""
        data = os.read(self.stdout.fileno(), 1 << 20)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            message = orjson.loads(line)
            if not self.ready:
                self.ready, self.given = True, time.monotonic()
            elif self.task is not None:
                self.task.answer, self.task = message, None
        return bool(data)

    def ending(self) -> str:
        """How the process ended, and its last words."""
        code = self.process.wait()
        self.log.seek(0)
        words = self.log.read().decode(errors="replace").strip().splitlines()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"its reader ended with {how}{': ' + words[-1][:150] if words else ''}"

    def kill(self) -> None:
        """End the process and close what belongs to it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]


def _memory(processes: int) -> int:
    """Bytes of address space for each reader, so that one monstrous file does not take the machine down."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(LEAST_MEMORY, int(MEMORY_SHARE * physical / processes))
