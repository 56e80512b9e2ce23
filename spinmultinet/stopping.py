"""Requests to stop, as signals or at a time set before: noted, and obeyed once the state is safe."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from .errors import SpinMultiNetError

OUT_OF_TIME = 1000
"""Stands beside the numbers of signals, and is above them."""


@dataclass
class Deadline:
    """When a training has to have stopped (Unix time, s; None: never), given how long it goes on between two looks."""

    when: float | None
    stretch: float = 0.0
    """Longest time between two looks (s): a step, or the end of an epoch with validation and saving."""
    looked: float | None = None

    def passed(self) -> bool:
        """Whether one more stretch as long as the longest could end after the deadline."""
        now = time.time()
        if self.looked is not None:
            self.stretch = max(self.stretch, now - self.looked)
        self.looked = now
        return self.when is not None and now + self.stretch >= self.when


_deadline: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


class OutOfTimeError(SpinMultiNetError):
    """A training that stopped at its deadline, with its state saved."""


class StopRequests(list[int]):
    """Signals that have arrived."""

    def number(self) -> int:
        """What to obey: OUT_OF_TIME after the deadline, else the largest signal; 0 for nothing."""
        deadline = _deadline.get()
        return OUT_OF_TIME if deadline is not None and deadline.passed() else max(self, default=0)


@contextmanager
def deadline(when: float | None, stretch: float = 0.0) -> Iterator[Deadline]:
    """A training inside that could not end a further step before ``when`` saves its state at the end of a step.

    ``stretch``: the longest that an earlier call went on between two looks (s). It raises OutOfTimeError then; the same
    call goes on from there.
    """
    limit = Deadline(when, stretch)
    token = _deadline.set(limit)
    try:
        yield limit
    finally:
        _deadline.reset(token)


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """While inside, SIGTERM and SIGINT are noted in the list instead of ending the process in the middle of a step."""
    asked = StopRequests()
    if (limit := _deadline.get()) is not None:
        limit.looked = time.time()

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    try:
        old = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not in the main thread: signals are someone else's business
        old = {}
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def leave(number: int, workdir: Path) -> None:
    """End as the signal asks: KeyboardInterrupt for Ctrl-C, else SystemExit with the code a shell expects.

    OutOfTimeError at the deadline.
    """
    if number == OUT_OF_TIME:
        raise OutOfTimeError(f"the time for this training is over; the same call goes on from '{workdir}'")
    if number == signal.SIGINT:
        raise KeyboardInterrupt(f"training stopped; the same call goes on from '{workdir}'")
    raise SystemExit(128 + number)
