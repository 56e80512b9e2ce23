"""Put timers in place, take them out, and show which are there; by the programs that own them, never by hand.

In a crontab or scrontab a campaign has one marked block. Other lines are kept as they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from workflows.schedule import KINDS, Entry, Kind, ScheduleError, cron_line, scrontab_lines, systemd_units

PROGRAMS: dict[Kind, str] = {"cron": "crontab", "systemd": "systemctl", "scrontab": "scrontab"}
PREFIX = "spinmultinet-"
BEGIN, END = "# >>> {name} >>>", "# <<< {name} <<<"


def render(timer: Entry, kind: Kind) -> dict[str, str]:
    """File name -> content of everything that a timer is."""
    if kind == "systemd":
        return systemd_units(timer)
    lines = cron_line(timer) if kind == "cron" else scrontab_lines(timer)
    return {f"{timer.name}.{kind}": _block(timer.name, lines)}


def install(timer: Entry, kind: Kind) -> None:
    """Put a timer in place, in place of an earlier one of the same name. Raises ScheduleError with the remedy."""
    _require(kind)
    if kind == "systemd":
        folder = unit_folder()
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in systemd_units(timer).items():
            (folder / name).write_text(content)
        _systemctl("daemon-reload")
        _systemctl("enable", "--now", f"{timer.name}.timer")
        return
    (block,) = render(timer, kind).values()
    _write_table(kind, without_block(_read_table(kind), timer.name) + block)


def remove(timer: Entry, kind: Kind) -> bool:
    """Take a timer out; False where there was none."""
    _require(kind)
    if kind == "systemd":
        files = [unit_folder() / name for name in systemd_units(timer)]
        present = [file for file in files if file.exists()]
        if present:
            _systemctl("disable", "--now", f"{timer.name}.timer")
        for file in present:
            file.unlink()
        if present:
            _systemctl("daemon-reload")
        return bool(present)
    table = _read_table(kind)
    rest = without_block(table, timer.name)
    if rest != table:
        _write_table(kind, rest)
    return rest != table


def installed() -> dict[str, list[str] | str]:
    """Kind of timer -> lines of ours, or one line why that is not known here."""
    found: dict[str, list[str] | str] = {}
    for kind in KINDS:
        try:
            _require(kind)
            found[kind] = _shown(kind)
        except ScheduleError as error:
            found[kind] = str(error)
    return found


def unit_folder() -> Path:
    """Where a user's systemd units are."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def without_block(table: str, name: str) -> str:
    """A crontab without the block of a timer, every other line as it is. Raises ScheduleError for half a block."""
    begin, end = BEGIN.format(name=name), END.format(name=name)
    kept, inside = [], False
    for line in table.splitlines(keepends=True):
        if line.rstrip("\n") in (begin, end):
            if inside == (line.rstrip("\n") == begin):
                raise ScheduleError(
                    f"the table holds half a block {name}; mend it by hand between '{begin}' and '{end}'"
                )
            inside = not inside
        elif not inside:
            kept.append(line)
    if inside:
        raise ScheduleError(f"the table has no line '{end}'; add it after the lines of {name}")
    return "".join(kept)


def _block(name: str, lines: str) -> str:
    return f"{BEGIN.format(name=name)}\n{lines}\n{END.format(name=name)}\n"


def _shown(kind: Kind) -> list[str]:
    if kind == "systemd":
        listed = _systemctl("list-timers", "--all", "--no-pager", f"{PREFIX}*").splitlines()
        return [line for line in listed if PREFIX in line]
    lines, inside = [], False
    for line in _read_table(kind).splitlines():
        if line.startswith((f"# >>> {PREFIX}", f"# <<< {PREFIX}")):
            inside = line.startswith("# >>>")
        elif inside:
            lines.append(line)
    return lines


def _require(kind: Kind) -> None:
    if shutil.which(PROGRAMS[kind]) is None:
        others = ", ".join(k for k in KINDS if shutil.which(PROGRAMS[k]))
        there = f"here are programs for {others}" if others else "none of crontab, systemctl, scrontab is here"
        raise ScheduleError(f"this machine has no {PROGRAMS[kind]}; {there}")


def _read_table(kind: Kind) -> str:
    """The user's table, empty where there is none."""
    done = _run([PROGRAMS[kind], "-l"])
    if done.returncode == 0:
        text = done.stdout
        return text if not text or text.endswith("\n") else f"{text}\n"
    if "no crontab" in done.stderr.lower():
        return ""
    # Never write over a table that could not be read.
    raise ScheduleError(f"{PROGRAMS[kind]} -l failed: {done.stderr.strip() or done.returncode}; nothing was changed")


def _write_table(kind: Kind, table: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".tab") as file:
        file.write(table)
        file.flush()
        done = _run([PROGRAMS[kind], file.name])
    if done.returncode:
        raise ScheduleError(f"{PROGRAMS[kind]} refused the new table: {done.stderr.strip() or done.returncode}")


def _systemctl(*arguments: str) -> str:
    done = _run(["systemctl", "--user", *arguments])
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ScheduleError(
            f"systemctl --user {arguments[0]} failed: {said[0]}; log in to a session of your own (loginctl "
            "enable-linger keeps it), or use cron"
        )
    return done.stdout


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
