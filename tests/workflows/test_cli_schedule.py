"""``spinmultinet schedule``: what it shows, writes, installs and refuses."""

import json
import os
from pathlib import Path

import pytest

from tests.support.cli import assert_one_line, in_this_process, tiny_campaign
from tests.workflows.test_schedule_install import OTHERS, PROGRAM


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "100% mine"
    place.mkdir()
    tiny_campaign(place)
    return place


def test_lines_are_shown(folder):
    done = in_this_process(folder, "schedule", "tiny.yaml", "--every", "6h")
    assert done.returncode == 0, done.stderr
    begin, line, end = done.stdout.splitlines()
    assert begin.startswith("# >>> spinmultinet-retrain-tiny-")
    assert end.startswith("# <<< spinmultinet-retrain-tiny-")
    assert line.startswith("0 */6 * * * cd ")
    assert "100\\% mine/tiny.yaml' --if-due --quiet >> " in line


def test_a_timer_advances_a_campaign_on_a_cluster(folder):
    done = in_this_process(folder, "schedule", "tiny.yaml", "--remote", "slurm")
    begin, line, _ = done.stdout.splitlines()
    assert begin.startswith("# >>> spinmultinet-advance-tiny-")
    assert "-m workflows.cli advance '" in line
    assert "100\\% mine/tiny.yaml' --remote slurm >> " in line
    assert "tiny-advance.log' 2>&1" in line
    wrong = in_this_process(folder, "schedule", "tiny.yaml", "--remote", "slurm", "--workers", 2)
    assert_one_line(wrong, 2, "--workers is for retrain")


def test_units_are_written(folder):
    done = in_this_process(
        folder, "schedule", "tiny.yaml", "--as", "systemd", "--out", "units", "--workers", 1, "--json"
    )
    content = json.loads(done.stdout)
    assert sorted(Path(path).name for path in content["written"]) == sorted(content["files"])
    for name, text in content["files"].items():
        assert (folder / "units" / name).read_text() == text
    assert '"--workers" "1"' in content["files"][f"{content['name']}.service"]


def test_installed_shown_and_removed(folder, tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "crontab").write_text(PROGRAM)
    (programs / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("TABLE", str(tmp_path / "table"))
    (tmp_path / "table").write_text(OTHERS)
    assert "is in place (cron, */15 * * * *)" in in_this_process(folder, "schedule", "tiny.yaml", "--install").stdout
    shown = json.loads(in_this_process(folder, "schedule", "tiny.yaml", "--show", "--json").stdout)
    assert len(shown["cron"]) == 1
    assert "is taken out" in in_this_process(folder, "schedule", "tiny.yaml", "--remove").stdout
    assert "there is no" in in_this_process(folder, "schedule", "tiny.yaml", "--remove").stdout
    assert (tmp_path / "table").read_text() == OTHERS
    assert "cron: no lines of ours" in in_this_process(folder, "schedule", "tiny.yaml", "--show").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--as", "at"], "choose one of cron, systemd, scrontab"),
        (["--every", "7min"], "come at equal intervals"),
        (["--install", "--show"], "give one of them"),
        (["--as", "scrontab"], "a path with % cannot be used in a scrontab"),
    ],
)
def test_mistakes_are_one_line(folder, arguments, told):
    assert_one_line(in_this_process(folder, "schedule", "tiny.yaml", *arguments), 2, told)
