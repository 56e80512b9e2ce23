"""Show how far a run is and how long it will take: bars on a terminal, now and then a line elsewhere.

:class:`Tally` counts events (those of :func:`workflows.submit.run_local`) and estimates; :class:`ProgressView` shows
it. Stages are named by kind of job and round of active learning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any

Event = Mapping[str, Any]
StageKey = tuple[str, int]

EXPLORATION = "exploration"
GROUPS = {"parent": "parents", "explore": EXPLORATION, "label": "labels", "train": "training"}
"""Kind of job -> stage; every other kind is short and counts as ``evaluation``."""

OTHER = "evaluation"
LINE_INTERVAL = 15.0
"""Seconds between two lines where there is no terminal."""

NEXT_ROUND = ("explore", "select")
"""Kinds of jobs that a decision to go on adds."""

_SHORT_JOB = 5.0
"""Seconds a job of the stage ``evaluation`` is expected to take before one was seen."""


@dataclass
class Running:
    """A job at work: when it began, and how far it says it is."""

    started: float
    fraction: float = 0.0
    text: str = ""


@dataclass
class Stage:
    """Counts of one stage. ``planned``: jobs known before their flow exists. ``reused`` is part of ``done``."""

    planned: int = 0
    added: int = 0
    done: int = 0
    reused: int = 0
    failed: int = 0
    running: dict[str, Running] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Jobs of the stage, as far as is known."""
        return max(self.planned, self.added)

    @property
    def progress(self) -> float:
        """Finished jobs with the parts of those at work."""
        return self.done + self.failed + sum(job.fraction for job in self.running.values())

    @property
    def waiting(self) -> int:
        """Jobs that have not begun."""
        return max(0, self.total - self.done - self.failed - len(self.running))


class Tally:
    """What the events of a run add up to.

    ``estimates``: seconds per job of a stage, used until jobs have been measured. ``planned``: jobs per (stage, round);
    rounds that a decision to stop leaves out are forgotten when the conclusion is added. ``may_stop``: whether it may
    come before the last planned round, so that what is left is at most what is planned.
    """

    def __init__(
        self,
        workers: int,
        estimates: Mapping[str, float] | None = None,
        planned: Mapping[StageKey, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        may_stop: bool = False,
    ):
        self.may_stop = may_stop
        self.workers, self.clock = max(1, workers), clock
        self.estimates = {OTHER: _SHORT_JOB, EXPLORATION: _SHORT_JOB, **(estimates or {})}
        self.stages = {key: Stage(planned=count) for key, count in (planned or {}).items()}
        self.measured: dict[str, list[float]] = {}
        self.stage_of: dict[str, StageKey] = {}
        self.round = 0
        self.round_ends = False

    def handle(self, event: Event) -> None:
        """Take in one event."""
        handler = getattr(self, f"_{event['kind']}", None)
        if handler is not None:
            handler(event)

    def _added(self, event: Event) -> None:
        # A decision is the last job of its round; what it adds is the next one's, or the conclusion.
        if self.round_ends and event["type"] in NEXT_ROUND:
            self.round, self.round_ends = self.round + 1, False
        self.round_ends = self.round_ends or event["type"] == "decide"
        if event["type"] == "conclude":
            self._forget_later_rounds()
        key = (GROUPS.get(event["type"], OTHER), self.round)
        stage = self.stages.setdefault(key, Stage())
        stage.added += 1
        stage.done += bool(event["done"])
        stage.reused += bool(event["done"])
        self.stage_of[event["uuid"]] = key

    def _forget_later_rounds(self) -> None:
        self.may_stop = False
        self.stages = {key: stage for key, stage in self.stages.items() if key[1] <= self.round}

    def _started(self, event: Event) -> None:
        self._stage(event).running[event["uuid"]] = Running(self.clock())

    def _progress(self, event: Event) -> None:
        job = self._stage(event).running.setdefault(event["uuid"], Running(self.clock()))
        job.fraction, job.text = min(1.0, max(0.0, float(event["fraction"]))), str(event.get("text", ""))

    def _done(self, event: Event) -> None:
        stage = self._stage(event)
        job = stage.running.pop(event["uuid"], None)
        stage.done += 1
        stage.reused += bool(event.get("reused"))
        if job is not None:
            self.measured.setdefault(self.stage_of[event["uuid"]][0], []).append(self.clock() - job.started)

    def _failed(self, event: Event) -> None:
        stage = self._stage(event)
        stage.running.pop(event["uuid"], None)
        stage.failed += 1

    def _stage(self, event: Event) -> Stage:
        key = self.stage_of.setdefault(event["uuid"], (GROUPS.get(str(event.get("type")), OTHER), self.round))
        return self.stages.setdefault(key, Stage())

    def seconds_per_job(self, name: str) -> float | None:
        """Mean of measured jobs of a stage; else what those at work suggest; else the estimate given."""
        measured = self.measured.get(name)
        if measured:
            return sum(measured) / len(measured)
        now = self.clock()
        jobs = [job for key, stage in self.stages.items() if key[0] == name for job in stage.running.values()]
        suggested = [(now - job.started) / job.fraction for job in jobs if job.fraction > 0.02]
        return sum(suggested) / len(suggested) if suggested else self.estimates.get(name)

    def seconds_left(self, key: StageKey) -> float | None:
        """Wall time the stage still needs from its start on; None where nothing is known yet."""
        stage = self.stages[key]
        rest = len(stage.running) + stage.waiting
        if not rest:
            return 0.0
        typical = self.seconds_per_job(key[0])
        if typical is None:
            return None
        at_work = [self._rest_of(job, typical) for job in stage.running.values()]
        side_by_side = 1 if key[0] == OTHER else min(self.workers, rest)
        return max((stage.waiting * typical + sum(at_work)) / side_by_side, *at_work, 0.0)

    def _rest_of(self, job: Running, typical: float) -> float:
        elapsed = self.clock() - job.started
        if job.fraction > 0.02:
            return elapsed * (1 - job.fraction) / job.fraction
        return max(typical - elapsed, 0.1 * typical)

    def total_left(self) -> float | None:
        """Wall time of all stages together; None where one is unknown."""
        parts = [self.seconds_left(key) for key in self.stages]
        return None if any(part is None for part in parts) else sum(part for part in parts if part is not None)

    def name(self, key: StageKey) -> str:
        """Name of a stage for people."""
        return key[0] if key[1] == 0 else f"{key[0]}, round {key[1]}"

    def later_rounds(self) -> int:
        """Rounds after the present one that are planned; a decision to stop may leave them out."""
        return len({key[1] for key in self.stages if key[1] > self.round})

    def concerns(self, key: StageKey) -> bool:
        """Whether to show the stage: of the present round, or of an earlier one and at work or with failed jobs."""
        stage = self.stages[key]
        return key[1] == self.round or (key[1] < self.round and bool(stage.running or stage.failed))

    def ordered(self) -> list[StageKey]:
        """Stages in the order they happen."""
        order = [*GROUPS.values(), OTHER]
        return sorted(self.stages, key=lambda key: (key[1], order.index(key[0])))

    def status(self, key: StageKey) -> str:
        """What the jobs at work say, without repetition."""
        texts = [job.text for job in self.stages[key].running.values() if job.text]
        return ", ".join(dict.fromkeys(texts))


class ProgressView:
    """Shows a :class:`Tally`; call it with events, use it as a context manager.

    ``stream``: where to write; bars if it is a terminal, else at most one line per LINE_INTERVAL.
    """

    def __init__(self, tally: Tally, stream: IO[str]):
        self.tally, self.stream = tally, stream
        self.started = tally.clock()
        self.last_line = float("-inf")
        self.bars = _Bars(tally, stream) if stream.isatty() else None

    def __enter__(self) -> ProgressView:
        if self.bars is not None:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()

    def __call__(self, event: Event) -> None:
        """Take in an event and show the new state."""
        self.tally.handle(event)
        if self.bars is not None:
            self.bars.show()
        elif event["kind"] not in ("added", "started") and self.tally.clock() - self.last_line >= LINE_INTERVAL:
            self.last_line = self.tally.clock()
            print(self.line(), file=self.stream, flush=True)

    def line(self) -> str:
        """The state in one line, such as ``0:45  labels 12/30, 1:10 left | training 0/3 | about 4:00 left in all``.

        Later rounds are only counted.
        """
        parts = [self._part(key) for key in self.tally.ordered() if self.tally.concerns(key)]
        later = self.tally.later_rounds()
        about = "at most" if self.tally.may_stop else "about"
        if later:
            parts.append(_rounds(later, self.tally.may_stop))
        total = self.tally.total_left()
        if total is not None:
            parts.append(f"{about} {duration(total)} left in all")
        return f"{duration(self.tally.clock() - self.started)}  " + " | ".join(parts)

    def _part(self, key: StageKey) -> str:
        stage = self.tally.stages[key]
        left = self.tally.seconds_left(key)
        eta = f", {duration(left)} left" if left and stage.running else ""
        text = f" ({self.tally.status(key)})" if self.tally.status(key) else ""
        failed = f", {stage.failed} failed" if stage.failed else ""
        return f"{self.tally.name(key)} {stage.done}/{stage.total}{eta}{text}{failed}"


class _Bars:
    """One rich bar per stage that concerns the present round: those of all rounds would not fit on a screen."""

    def __init__(self, tally: Tally, stream: IO[str]):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.tally = tally
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", justify="right"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[text]}", style="dim"),
            console=Console(file=stream),
        )
        self.tasks: dict[StageKey, Any] = {}
        self.total = self.progress.add_task("whole run", total=None, count="", left="", text="")

    def start(self) -> None:
        """Begin to draw."""
        self.progress.start()

    def stop(self) -> None:
        """Draw a last time and leave the bars on the screen."""
        self.progress.stop()

    def show(self) -> None:
        """Bring the bars up to date."""
        for key in self.tally.ordered():
            stage = self.tally.stages[key]
            if key not in self.tasks:
                self.tasks[key] = self.progress.add_task(self.tally.name(key), start=False, count="", left="", text="")
            task = self.tasks[key]
            if stage.running:
                self.progress.start_task(task)
            left = self.tally.seconds_left(key)
            self.progress.update(
                task,
                completed=stage.progress,
                total=stage.total,
                count=f"{stage.done}/{stage.total}",
                left=f"{duration(left)} left" if left else "",
                text=self.tally.status(key),
                visible=self.tally.concerns(key),
            )
        self._show_total()

    def _show_total(self) -> None:
        stages = self.tally.stages.values()
        left, later = self.tally.total_left(), self.tally.later_rounds()
        self.progress.update(
            self.total,
            completed=sum(stage.progress for stage in stages),
            total=sum(stage.total for stage in stages) or None,
            left=f"{'at most ' if self.tally.may_stop else ''}{duration(left)} left" if left else "",
            text=_rounds(later, self.tally.may_stop) if later else "",
        )


def _rounds(later: int, may_stop: bool) -> str:
    return f"{'at most ' if may_stop else ''}{later} more round{'' if later == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """``0:42``, ``12:05`` or ``3:05:10``; ``?`` for an unknown time."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
