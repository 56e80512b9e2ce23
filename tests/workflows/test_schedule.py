"""Timers: when they fire, and that paths with anything in them arrive."""

import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from workflows.schedule import Entry, ScheduleError, cron_fields, cron_line, entry, on_calendar, scrontab_lines
from workflows.schedule import systemd_units as units

NASTY = "a b'c\"d $HOME %d `x` \\ é"


def timer(folder=Path("/data/nio"), cron="*/15 * * * *", **fields):
    return Entry("nio", folder / "nio.yaml", folder, folder / "nio-retrain.log", cron, "/venv/bin/python", **fields)


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("15min", "*/15 * * * *"),
        ("1min", "* * * * *"),
        (" 30 m ", "*/30 * * * *"),
        ("6h", "0 */6 * * *"),
        ("1h", "0 * * * *"),
        ("1d", "0 0 * * *"),
        ("0 3 * * 1-5", "0 3 * * 1-5"),
        ("5,35 */2 1-15/2 jan,JUN mon-fri", "5,35 */2 1-15/2 1,6 1-5"),
    ],
)
def test_intervals_and_fields(every, expected):
    assert cron_fields(every) == expected


@pytest.mark.parametrize(
    "every",
    [*("7min", "0min", "90min", "5h", "2d", "soon", "", "@daily", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *"),
     *("* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *", "1/2 * * * *", "a * * * *")],
)  # fmt: skip
def test_what_is_no_time_is_refused(every):
    with pytest.raises(ScheduleError, match="every"):
        cron_fields(every)


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("*/15 * * * *", ["*-*-* *:0/15:00"]),
        ("0 3 * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* 3:0:00"]),
        ("0 0 1 * 0", ["*-*-1 0:0:00", "Sun *-*-* 0:0:00"]),
        ("0 0 */2 * 7", ["Sun *-*-1/2 0:0:00"]),
        ("5,35 8-18/2 * 1,6 *", ["*-1,6-* 8..18/2:5,35:00"]),
    ],
)
def test_cron_in_the_words_of_systemd(cron, expected):
    assert on_calendar(cron) == expected


def allowed(field, lowest, highest):
    values = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = (str(lowest), "-", str(highest)) if span == "*" else span.partition("-")
        values |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return values


def next_of_cron(cron, now):
    """Next minute at which cron fires, by trying each (crontab(5))."""
    minute, hour, day, month, weekday = cron.split()
    days, weekdays = allowed(day, 1, 31), {d % 7 for d in allowed(weekday, 0, 6)}
    both = day.startswith("*") or weekday.startswith("*")
    at = now.replace(second=0, microsecond=0)
    while True:
        at += timedelta(minutes=1)
        of_day, of_week = at.day in days, at.isoweekday() % 7 in weekdays
        if (
            at.minute in allowed(minute, 0, 59)
            and at.hour in allowed(hour, 0, 23)
            and at.month in allowed(month, 1, 12)
            and ((of_day and of_week) if both else (of_day or of_week))
        ):
            return at


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("cron", ["*/15 * * * *", "7 */6 * * *", "0 3 * * 1-5", "0 0 13 * 5", "30 8-18/2 */3 * *"])
def test_systemd_fires_when_cron_does(cron):
    base = datetime(2026, 2, 27, 23, 50, 30)
    found = []
    for calendar in on_calendar(cron):
        command = ["systemd-analyze", "calendar", f"--base-time={base} UTC", calendar]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}
        )
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stdout.splitlines() if "Next elapse:" in line]
        found.append(datetime.strptime(line.split(": ")[1].strip(), "%a %Y-%m-%d %H:%M:%S UTC"))
    assert min(found) == next_of_cron(cron, base)


def as_cron_does(line):
    """What cron hands to the shell: the rest after five fields, up to a % that is not escaped."""
    command = line.split(maxsplit=5)[5]
    assert "%" not in command.replace("\\%", "")
    return command.replace("\\%", "%")


def test_a_line_of_cron_arrives_whatever_the_paths(tmp_path):
    folder = tmp_path / NASTY
    folder.mkdir()
    show = folder / "show.sh"
    show.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$PYTHONPATH" "$@"\necho problem >&2\n')
    show.chmod(0o755)
    made = Entry(
        "nio", folder / "nio.yaml", folder, folder / "nio.log", "* * * * *", str(show), "/a b%", ("--engine", "x y")
    )
    subprocess.run(["sh", "-c", as_cron_does(cron_line(made))], check=True, cwd="/", env={"PATH": "/usr/bin:/bin"})
    assert (folder / "nio.log").read_text().splitlines() == [
        *(str(folder), "/a b%", "-P", "-m", "workflows.cli", "retrain", str(folder / "nio.yaml")),
        *("--if-due", "--quiet", "--engine", "x y", "problem"),
    ]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_takes_the_units_as_they_are(tmp_path):
    folder = tmp_path / "a b %d $HOME"
    folder.mkdir()
    program = folder / "python"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    made = Entry("nio", folder / "n'i\"o.yaml", folder, folder / "nio.log", "0 3 1 * 1", str(program), "/a %b")
    for name, content in units(made).items():
        (tmp_path / name).write_text(content)
    paths = [str(tmp_path / name) for name in units(made)]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", *paths],
        env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    about_ours = [
        line for line in (done.stdout + done.stderr).splitlines() if "spinmultinet" in line or str(tmp_path) in line
    ]
    assert (done.returncode, about_ours) == (0, [])


def test_units_say_what_they_do():
    service, timing = units(timer(Path("/data/50% nio"), python_path="/src")).values()
    assert 'ExecStart=:"/venv/bin/python" "-P" "-m" "workflows.cli" "retrain" "/data/50%% nio/nio.yaml"' in service
    assert 'Environment="PYTHONPATH=/src"' in service
    assert "WorkingDirectory=/data/50%% nio\n" in service
    assert "OnCalendar=*-*-* *:0/15:00\n" in timing


def test_scrontab_has_the_options_of_sbatch_and_refuses_a_per_cent_sign():
    lines = scrontab_lines(timer(sbatch=("--time=4:00:00", "--partition=gpu"))).splitlines()
    assert lines[0].startswith("#SCRON --job-name=spinmultinet-retrain-nio-")
    assert lines[1:3] == ["#SCRON --time=4:00:00", "#SCRON --partition=gpu"]
    assert lines[3].startswith("*/15 * * * * cd /data/nio && /venv/bin/python -P -m workflows.cli retrain ")
    with pytest.raises(ScheduleError, match="%"):
        scrontab_lines(timer(Path("/data/50%")))


def test_names_tell_campaigns_and_folders_apart():
    assert timer().name == timer(cron="* * * * *").name
    assert timer().name != timer(Path("/data/other")).name


def test_a_control_character_is_refused():
    with pytest.raises(ScheduleError, match="control character"):
        timer(Path("/data/a\nb"))


def test_the_entry_calls_this_interpreter(tmp_path):
    made = entry("nio", tmp_path / "nio.yaml", tmp_path, "1h")
    environment = {"PYTHONPATH": made.python_path, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [made.python, *made.command[1:4], "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("spinmultinet "), done.stderr
