"""Requests to stop that arrive as signals: noted, and obeyed once the state is safe."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """While inside, SIGTERM and SIGINT are noted in the list instead of ending the process in the middle of a step."""
    asked: list[int] = []

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
    """End as the signal asks: KeyboardInterrupt for Ctrl-C, else SystemExit with the code a shell expects."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt(f"training stopped; the same call goes on from '{workdir}'")
    raise SystemExit(128 + number)
