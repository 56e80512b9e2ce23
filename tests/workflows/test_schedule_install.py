"""Timers are put in place, replaced and taken out, and other people's lines stay."""

import os
from pathlib import Path

import pytest

from workflows.schedule import Entry, ScheduleError
from workflows.schedule_install import install, installed, remove, render, without_block

PROGRAM = """#!/bin/sh
# As crontab(1) and scrontab(1): -l shows the table, a file replaces it.
if [ "$1" = -l ]; then
  [ -e "$TABLE" ] && exec cat "$TABLE"
  echo "no crontab for tester" >&2; exit 1
fi
[ -z "$REFUSE" ] && cat "$1" > "$TABLE" || { echo "bad minute" >&2; exit 1; }
"""
SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$TABLE.log"
[ -z "$REFUSE" ] || { echo "Failed to connect to bus" >&2; exit 1; }
"""
OTHERS = "MAILTO=me\n# mine\n0 4 * * * /bin/backup 50\\%\n\n"


@pytest.fixture
def table(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, content in (("crontab", PROGRAM), ("scrontab", PROGRAM), ("systemctl", SYSTEMCTL)):
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("TABLE", str(tmp_path / "table"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("REFUSE", raising=False)
    return tmp_path / "table"


def timer(name="nio", cron="*/15 * * * *"):
    folder = Path("/data") / name
    return Entry(name, folder / "c.yaml", folder, folder / "log", cron)


@pytest.mark.parametrize("kind", ["cron", "scrontab"])
def test_in_and_out_leaves_the_table_as_it_was(table, kind):
    table.write_text(OTHERS)
    install(timer(), kind)
    install(timer("mno"), kind)
    once = table.read_text()
    install(timer(), kind)  # once more: nothing doubles
    assert sorted(table.read_text().splitlines()) == sorted(once.splitlines())
    assert once.startswith(OTHERS)
    assert once.count("workflows.cli retrain /data/nio/c.yaml") == 1
    install(timer(cron="0 * * * *"), kind)
    assert "*/15 * * * * cd /data/nio" not in table.read_text()
    assert len([line for line in installed()[kind] if not line.startswith("#SCRON")]) == 2
    assert remove(timer(), kind)
    assert not remove(timer(), kind)
    assert remove(timer("mno"), kind)
    assert table.read_text() == OTHERS


def test_the_first_table_of_a_user(table):
    install(timer(), "cron")
    assert table.read_text() == next(iter(render(timer(), "cron").values()))


def test_a_last_line_without_an_end_stays_a_line(table):
    table.write_text("0 4 * * * backup")
    install(timer(), "cron")
    assert table.read_text().startswith("0 4 * * * backup\n# >>> ")


def test_a_refused_table_and_an_unreadable_one_change_nothing(table, monkeypatch):
    table.write_text(OTHERS)
    monkeypatch.setenv("REFUSE", "1")
    with pytest.raises(ScheduleError, match="bad minute"):
        install(timer(), "cron")
    table.unlink()
    table.mkdir()  # cat fails
    with pytest.raises(ScheduleError, match="nothing was changed"):
        install(timer(), "cron")


def test_half_a_block_is_not_guessed_at():
    (block,) = render(timer(), "cron").values()
    lines = block.splitlines(keepends=True)
    for part in ("".join(lines[:-1]) + OTHERS, "".join(lines[1:]) + OTHERS):
        with pytest.raises(ScheduleError, match=r"no line|half a block"):
            without_block(part, timer().name)
    assert without_block(block + OTHERS, timer().name) == OTHERS


def test_systemd_units_go_where_a_users_are(table, tmp_path, monkeypatch):
    install(timer(), "systemd")
    folder = tmp_path / "config/systemd/user"
    assert sorted(p.name for p in folder.iterdir()) == sorted(render(timer(), "systemd"))
    calls = Path(f"{table}.log").read_text().splitlines()
    assert calls == ["--user daemon-reload", f"--user enable --now {timer().name}.timer"]
    assert remove(timer(), "systemd")
    assert not list(folder.iterdir())
    assert not remove(timer(), "systemd")
    monkeypatch.setenv("REFUSE", "1")
    with pytest.raises(ScheduleError, match="Failed to connect to bus"):
        install(timer(), "systemd")


def test_what_a_machine_lacks_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed() == {
        kind: f"this machine has no {program}; none of crontab, systemctl, scrontab is here"
        for kind, program in (("cron", "crontab"), ("systemd", "systemctl"), ("scrontab", "scrontab"))
    }
    with pytest.raises(ScheduleError, match="no crontab"):
        install(timer(), "cron")
