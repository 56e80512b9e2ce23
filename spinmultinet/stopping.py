"""Requests to stop, as signals or at a time set before: noted, and obeyed once the state is safe."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType

from .errors import SpinMultiNetError

OUT_OF_TIME = 1000
"""Stands beside the numbers of signals, and is above them."""

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class OutOfTimeError(SpinMultiNetError):
    """A training that stopped at its deadline, with its state saved."""


class StopRequests(list[int]):
    """Signals that have arrived."""

    def number(self) -> int:
        """What to obey: OUT_OF_TIME after the deadline, else the largest signal; 0 for nothing."""
        deadline = _deadline.get()
        late = deadline is not None and time.time() >= deadline
        return OUT_OF_TIME if late else max(self, default=0)


@contextmanager
def deadline(when: float | None) -> Iterator[None]:
    """A training inside that is not done at ``when`` (Unix time, s; None: never) saves its state at the end of a step.

    It raises OutOfTimeError then; the same call goes on from there.
    """
    token = _deadline.set(when)
    try:
        yield
    finally:
        _deadline.reset(token)


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """While inside, SIGTERM and SIGINT are noted in the list instead of ending the process in the middle of a step."""
    asked = StopRequests()

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
