"""What is done about a job that ended in the queue without a result. Pure: text and counts in, a decision out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Action = Literal["again", "resume", "wait", "record", "refuse"]
"""Run again; go on at the step of the queue that failed; leave it until a person looks; record as a failed label;
count it as failed."""

Cause = Literal[
    "time", "memory", "node", "killed", "disk", "later", "lost", "purged", "transfer", "cancelled", "program"
]

ENDED: tuple[Cause, ...] = ("time", "memory", "node", "killed")
"""The scheduler ended the job: only this uses up attempts, and asks for more of everything."""

ON_THE_WAY: tuple[Cause, ...] = ("transfer", "lost", "purged")
"""Files did not arrive: no matter of the job."""

_SIGNS: tuple[tuple[Cause, str], ...] = (
    ("disk", r"no space left on device|disk quota exceeded|file too large"),
    ("later", r"TryLaterError"),
    ("time", r"due to time limit|walltime .*exceeded|job exceeded .*time limit"),
    ("memory", r"out.of.memory|oom[-_ ]kill|memoryerror|exceeded memory limit"),
    ("node", r"due to node failure|node_fail|due to preemption"),
    ("cancelled", r"cancelled at"),
)
"""Cause -> what the scheduler, the program or Python writes then; the first that is found counts."""

_LOST = (
    r"does not exist|JSONDecodeError|exactly one document|was likely killed|ID not known|not present in the download"
)
"""Errors of the queue after which there is nothing to go on with."""

_PURGED = r"UnsafeDeletionError"
_PILOT = r"batch process .*was likely killed"
_KILLED = r"was likely killed|was not present in the download|store file .* is missing"


@dataclass(frozen=True)
class Decision:
    """What to do, and why; ``clean``: begin in an empty folder, which the queue empties."""

    action: Action
    cause: Cause
    clean: bool = False


@dataclass(frozen=True)
class Counts:
    """How often the scheduler ended a job, and how often its files did not arrive."""

    attempts: int = 0
    transfers: int = 0

    def of(self, cause: Cause) -> int:
        """The count that such an end is held against."""
        return self.transfers if cause in ON_THE_WAY else self.attempts

    def after(self, cause: Cause, asked: bool) -> Counts:
        """With one such end more. What a person asks for, or had stopped, is counted anew."""
        if cause in ENDED:
            return Counts(self.attempts + 1, self.transfers)
        if cause in ON_THE_WAY:
            return Counts(self.attempts, 0 if asked else self.transfers + 1)
        return Counts()


def killed_pilot(error: str) -> bool:
    """Whether the pilot job ended that was at work on a job, for instance at its time limit."""
    return re.search(_PILOT, error) is not None


def cause_of(state: str, error: str, output: str) -> Cause:
    """Why a job ended. ``error``: of the queue; ``output``: what the scheduler wrote (both streams)."""
    text = f"{error}\n{output}"
    for cause, sign in _SIGNS:
        if re.search(sign, text, re.IGNORECASE):
            return cause
    if state == "REMOTE_ERROR" and re.search(_PURGED, error):
        return "purged"
    if state == "REMOTE_ERROR":
        return "lost" if re.search(_LOST, error) else "transfer"
    return "killed" if re.search(_KILLED, error) else "program"


def decide(kind: str, state: str, cause: Cause, attempts: int, most: int, asked: bool) -> Decision:
    """What to do with a job of ``kind`` that has been tried again ``attempts`` times for such a cause, of ``most``.

    ``asked``: a person runs the campaign, so that what waits for people is tried, too. What a program itself says is no
    matter of luck: it is tried again only then. Trainings and parents keep their files, and go on from them.
    """
    clean = kind == "label" or cause in ("disk", "lost")
    if state in ("STOPPED", "USER_STOPPED", "COMPLETED"):
        return Decision("again" if asked else "wait", "cancelled", clean)
    if cause in ("disk", "later"):
        return Decision("again" if asked else "wait", cause, clean)
    if cause == "program":
        return Decision("again" if asked else "refuse", cause, clean)
    if cause == "transfer":
        return Decision("resume" if asked or attempts < most else "wait", cause)
    if cause in ("lost", "purged"):  # the queue refuses to empty a folder that is half gone
        return Decision("again" if asked or attempts < most else "wait", cause, cause == "lost")
    if asked or attempts < most:
        return Decision("again", cause, clean)
    return Decision("record" if kind == "label" else "refuse", cause, clean)
