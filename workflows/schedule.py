"""Timers that retrain a model where it is due, or advance a campaign in the queue of a cluster.

Lines for cron and Slurm's scrontab, units for systemd. Only text is made here; :mod:`workflows.schedule_install` puts
it in place. Nothing needs ``flock``: both commands lock the campaign themselves, on all hosts.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datastore.schema import content_hash

Kind = Literal["cron", "systemd", "scrontab"]
KINDS: tuple[Kind, ...] = ("cron", "systemd", "scrontab")
Task = Literal["retrain", "advance"]

_WORDS: dict[Task, list[str]] = {"retrain": ["--if-due", "--quiet"], "advance": []}
"""What the command of a timer is always called with."""

_TOLD: dict[Task, str] = {
    "retrain": "retrain the model of {} where it is due",
    "advance": "take {} in the queue of a cluster a step on",
}

FIELDS = ("minute", "hour", "day", "month", "weekday")
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_INTERVAL = re.compile(r"(\d+)\s*(min|m|h|d)")
_PART = re.compile(r"(?P<first>\*|\d+)(-(?P<last>\d+))?(/(?P<step>\d+))?")


class ScheduleError(ValueError):
    """A timer that cannot be written or installed; the message names the remedy."""


@dataclass(frozen=True)
class Entry:
    """One timer: which campaign, when, and how the command is called."""

    campaign: str
    """Name of the campaign."""
    file: Path
    """The campaign file, absolute."""
    workdir: Path
    """Folder the command runs in; absolute. Folders in the campaign file are relative to it."""
    log: Path
    """File that what the command says is appended to; absolute."""
    cron: str
    """Five fields of cron."""
    python: str = sys.executable
    python_path: str = ""
    """PYTHONPATH that the command needs; empty where the package is installed."""
    arguments: Sequence[str] = ()
    """Further ones of the command."""
    sbatch: Sequence[str] = field(default_factory=tuple)
    """Options of sbatch, for scrontab."""
    task: Task = "retrain"

    def __post_init__(self) -> None:
        """Refuse what none of the three formats can hold."""
        for text in (str(self.file), str(self.workdir), str(self.log), self.python, *self.arguments, *self.sbatch):
            if re.search(r"[\x00-\x1f\x7f]", text):
                raise ScheduleError(f"{text!r} holds a control character, which no timer can; rename it")

    @property
    def name(self) -> str:
        """Name of units and of the marked block: one per campaign and working folder."""
        return f"spinmultinet-{self.task}-{self.campaign}-{content_hash([str(self.file), str(self.workdir)], 8)}"

    @property
    def command(self) -> list[str]:
        """Program and arguments; the folder it runs in must not give it other packages, hence ``-P``."""
        call = [self.python, "-P", "-m", "workflows.cli", self.task, str(self.file)]
        return [*call, *_WORDS[self.task], *self.arguments]


def entry(
    campaign: str,
    file: Path,
    workdir: Path,
    every: str,
    arguments: Sequence[str] = (),
    sbatch: Sequence[str] = (),
    task: Task = "retrain",
) -> Entry:
    """Timer of a campaign that calls this very interpreter. Raises ScheduleError where ``every`` is not understood."""
    return Entry(
        campaign=campaign,
        file=file.resolve(),
        workdir=workdir.resolve(),
        log=workdir.resolve() / f"{campaign}-{task}.log",
        cron=cron_fields(every),
        python_path=needed_python_path(),
        arguments=tuple(arguments),
        sbatch=tuple(sbatch),
        task=task,
    )


def needed_python_path(python: str = sys.executable) -> str:
    """Folder that has to be on PYTHONPATH for ``python`` to find this package; empty where it is installed."""
    root = Path(__file__).resolve().parents[1]
    asked = "import workflows, pathlib; print(pathlib.Path(workflows.__file__).resolve().parents[1])"
    found = subprocess.run([python, "-P", "-E", "-c", asked], capture_output=True, text=True, check=False)
    return "" if found.stdout.strip() == str(root) else str(root)


def cron_fields(every: str) -> str:
    """Five fields of cron for ``15min``, ``6h``, ``1d``, or for what has five fields already."""
    found = _INTERVAL.fullmatch(every.strip())
    if found is None:
        return _checked(every)
    number, unit = int(found[1]), found[2]
    limit = {"min": 60, "m": 60, "h": 24, "d": 1}[unit]
    if number < 1 or limit % number:
        fitting = [n for n in range(1, limit + 1) if limit % n == 0]
        raise ScheduleError(
            f"every {every!r}: cron counts within the hour and the day, so only "
            f"{', '.join(map(str, fitting))} {unit} come at equal intervals; choose one, or write five fields of cron"
        )
    step = "*" if number == 1 else f"*/{number}"
    return {"h": f"0 {step} * * *", "d": "0 0 * * *"}.get(unit, f"{step} * * * *")


def cron_line(timer: Entry) -> str:
    """Line of a crontab. ``%``, which cron takes for a line break, is escaped."""
    return f"{timer.cron} {shell_command(timer).replace('%', chr(92) + '%')}"


def scrontab_lines(timer: Entry) -> str:
    """Lines of a scrontab: options of sbatch, and the command. Raises ScheduleError for paths with ``%``.

    What Slurm makes of a per cent sign there is not documented.
    """
    command = shell_command(timer)
    if "%" in command:
        raise ScheduleError("a path with % cannot be used in a scrontab; rename it, or use cron or systemd")
    options = [f"#SCRON {option}" for option in (f"--job-name={timer.name}", *timer.sbatch)]
    return "\n".join([*options, f"{timer.cron} {command}"])


def shell_command(timer: Entry) -> str:
    """What a shell runs: the command, in its folder, everything it says appended to the log."""
    path = f"PYTHONPATH={shlex.quote(timer.python_path)} " if timer.python_path else ""
    log = shlex.quote(str(timer.log))
    return f"cd {shlex.quote(str(timer.workdir))} && {path}{shlex.join(timer.command)} >> {log} 2>&1"


def systemd_units(timer: Entry) -> dict[str, str]:
    """File name -> content of a service and its timer, for a user's systemd."""
    path = f"Environment={_quoted(f'PYTHONPATH={timer.python_path}')}\n" if timer.python_path else ""
    service = (
        f"[Unit]\nDescription=Spinmultinet: {_TOLD[timer.task].format(timer.campaign)}\n\n"
        f"[Service]\nType=oneshot\nWorkingDirectory={_specifiers(str(timer.workdir))}\n{path}"
        f"ExecStart=:{' '.join(map(_quoted, timer.command))}\n"  # colon: a $ in a path is no variable
        f"StandardOutput=append:{_specifiers(str(timer.log))}\nStandardError=append:{_specifiers(str(timer.log))}\n"
    )
    when = "".join(f"OnCalendar={calendar}\n" for calendar in on_calendar(timer.cron))
    timing = (
        f"[Unit]\nDescription=When to {_TOLD[timer.task].format(timer.campaign)}\n\n"
        f"[Timer]\n{when}Persistent=true\n\n[Install]\nWantedBy=timers.target\n"
    )
    return {f"{timer.name}.service": service, f"{timer.name}.timer": timing}


def on_calendar(cron: str) -> list[str]:
    """OnCalendar of systemd that fires when the five fields of cron do.

    Two where day and weekday are both restricted: cron then fires on either. On both where one begins with ``*``.
    """
    fields = cron.split()
    minute, hour, day, month = (
        _systemd_field(text, lowest) for text, (lowest, _) in zip(fields[:4], RANGES, strict=False)
    )
    clock, by_day = f"{hour}:{minute}:00", f"*-{month}-{day}"
    if fields[4] == "*":
        return [f"{by_day} {clock}"]
    weekdays = _weekdays(fields[4])
    if fields[2].startswith("*") or fields[4].startswith("*"):
        return [f"{weekdays} {by_day} {clock}"]
    return [f"{by_day} {clock}", f"{weekdays} *-{month}-* {clock}"]


def _systemd_field(text: str, lowest: int) -> str:
    parts = []
    for part in text.split(","):
        found = _PART.fullmatch(part)
        assert found is not None
        first, last, step = found["first"], found["last"], found["step"]
        if first == "*":
            parts.append("*" if step is None else f"{lowest}/{step}")
        else:
            parts.append(first + (f"..{last}" if last else "") + (f"/{step}" if step else ""))
    return "*" if "*" in parts else ",".join(parts)


def _weekdays(text: str) -> str:
    chosen = set()
    for part in text.split(","):
        found = _PART.fullmatch(part)
        assert found is not None
        first = 0 if found["first"] == "*" else int(found["first"])
        last = int(found["last"] or (6 if found["first"] == "*" else first))
        chosen |= {day % 7 for day in range(first, last + 1, int(found["step"] or 1))}
    return ",".join(DAYS[day] for day in sorted(chosen))


def _checked(every: str) -> str:
    """Five fields of cron with numbers for names. Raises ScheduleError where one is none."""
    parts = every.split()
    if len(parts) != len(FIELDS):
        raise ScheduleError(f"every {every!r} is no interval such as 15min, 6h or 1d, and no five fields of cron")
    numbered = [*parts[:3], _numbered(parts[3], MONTHS, 1), _numbered(parts[4], [d.lower() for d in DAYS[:7]], 0)]
    for name, text, (lowest, highest) in zip(FIELDS, numbered, RANGES, strict=True):
        for part in text.split(","):
            found = _PART.fullmatch(part)
            numbers = [int(n) for n in (found["first"], found["last"]) if n and n != "*"] if found else []
            stepped = found is not None and (found["step"] is None or (int(found["step"]) > 0 and _spans(found)))
            if (
                found is None
                or not stepped
                or numbers != sorted(numbers)
                or not all(lowest <= n <= highest for n in numbers)
            ):
                raise ScheduleError(f"every {every!r}: {text!r} is no {name} of cron ({lowest} to {highest})")
    return " ".join(numbered)


def _spans(part: re.Match[str]) -> bool:
    """Whether a step has something to step over: all, or a range."""
    return part["first"] == "*" or part["last"] is not None


def _numbered(text: str, names: Sequence[str], first: int) -> str:
    def number(found: re.Match[str]) -> str:
        word = found[0].lower()
        return str(names.index(word) + first) if word in names else found[0]

    return re.sub("[A-Za-z]+", number, text)


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """One word of a systemd command line or assignment."""
    return '"' + _specifiers(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
