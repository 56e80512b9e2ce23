"""The command line inside this process: help, exit codes, translation of errors, the page in docs/."""

import errno
import json
import re
import subprocess
import time
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from datastore.errors import DataError
from tests.support.cli import ROOT, command, environment, tiny_campaign
from workflows import cli
from workflows.cli import errors
from workflows.cli.docs import render
from workflows.cli.output import whole_file
from workflows.progress import _silent, set_reporter
from workflows.submit import RunError

runner = CliRunner()


def commands(command=None, path=()):
    command = command or typer.main.get_command(cli.app)
    inner = getattr(command, "commands", None)
    if inner is None:
        return [path]
    return [found for name, sub in inner.items() for found in commands(sub, (*path, name))]


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(path):
    result = runner.invoke(cli.app, [*path, "--help"])
    assert result.exit_code == 0
    assert f"spinmultinet {' '.join(path)} " in result.output.replace("\n", " ") or path == ("doctor",)
    assert "Example" in result.output


def test_help_is_quick():
    def seconds():
        start = time.perf_counter()
        subprocess.run(command("--help"), env=environment(), capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 0.7  # seconds; the fastest, for a busy machine


def test_docs_page_is_current():
    assert (ROOT / "docs/cli.md").read_text() == render(), "run: python -m workflows.cli.docs docs/cli.md"


def test_version():
    assert re.fullmatch(r"spinmultinet \d+\.\d+\.\d+\n", runner.invoke(cli.app, ["--version"]).output)


def chained(cause: BaseException) -> BaseException:
    error = RuntimeError("outer")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (DataError("store broken\nsecond line"), 2, "store broken second line"),
        (RunError("label: it failed"), 1, "label: it failed"),
        (RunError("train: [Errno 28] No space left on device (details: x)"), 1, "Free some space"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "Free some space"),
        (chained(OSError(errno.EDQUOT, "Disk quota exceeded")), 1, "Free some space"),
        (DataError("store x cannot be used: database or disk is full; y"), 1, "Free some space"),
        (KeyboardInterrupt(), 130, "the same command continues"),
        (FileNotFoundError(2, "No such file or directory", "x.yaml"), 2, "x.yaml: No such file"),
        (ModuleNotFoundError("no", name="gpaw"), 3, "pip install gpaw"),
        (errors.MissingRequirementError("get it"), 3, "get it"),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_errors_become_one_line_and_a_code(error, code, part):
    message, found = errors.explain(error)
    assert found == code
    assert part in message
    assert "\n" not in message


def test_unknown_errors_leave_a_log(capsys):
    assert errors.report(ZeroDivisionError("what\nnow")) == 70
    line = capsys.readouterr().err
    log = Path(re.search(r"details: (\S+)\)", line)[1])
    assert "ZeroDivisionError: what now" in line
    assert "ZeroDivisionError" in log.read_text()
    log.unlink()


def test_structures_is_a_dry_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    campaign = tiny_campaign(tmp_path)
    arguments = ["structures", str(campaign), "--out", "out/all.extxyz", "--pictures", "pictures"]
    result = runner.invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert "12 configurations" in result.output
    assert (tmp_path / "out/all.extxyz").read_text().count("Lattice=") == 12
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
    assert not (tmp_path / "runs").exists()


def test_quickstart_plan():
    result = runner.invoke(cli.app, ["structures", str(ROOT / "configs/campaigns/quickstart_nio.yaml"), "--json"])
    assert result.exit_code == 0, result.output
    assert '"engine": "gpaw"' in result.output


def test_structures_shows_how_far_an_enumeration_is_and_how_to_have_less(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("workflows.cli.output.LINE_SECONDS", 0.0)
    cell = [[2, 0, 0], [0, 2, 0], [0, 0, 3]]
    parent = {"species": {"Ni": 0.5, "Mn": 0.5}, "cell": cell, "seed": 2}
    structures = {"parents": [parent], "orderings": [{"kind": "enumerate"}], "deformations": [{"kind": "none"}]}
    content = {"name": "many", "engine": {"type": "spin-lattice"}, "structures": structures}
    campaign = tmp_path / "many.yaml"
    campaign.write_text(yaml.safe_dump({**content, "folder": str(tmp_path / "run")}))
    result = runner.invoke(cli.app, ["structures", str(campaign)])
    assert result.exit_code == 0, result.output
    assert "s left" in result.stderr
    assert "orderings; max_count or net_moment of enumerate choose among them" in result.stdout.replace("\n", " ")
    assert set_reporter(_silent) is _silent


def test_structures_counts_the_twins_it_leaves_out(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    campaign = tmp_path / "twins.yaml"
    entries = ["AFM-II", {"kind": "enumerate"}, {"kind": "spiral", "q": [0, 0, 1]}]
    structures = {"parents": [{"species": "Ni"}], "orderings": entries, "deformations": [{"kind": "none"}]}
    content = {"name": "twins", "engine": {"type": "spin-lattice"}, "structures": structures}
    campaign.write_text(yaml.safe_dump({**content, "folder": str(tmp_path / "run")}))
    result = runner.invoke(cli.app, ["structures", str(campaign)])
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "2 twins left out, the same as others by symmetry or reversal of all moments: 1 AFM-II, 1 spiral" in text
    plan = json.loads(runner.invoke(cli.app, ["structures", str(campaign), "--json"]).output)
    assert plan["configurations"] == 4
    assert [(row["ordering"], row["count"]) for row in plan["twins_removed"]] == [
        ("AFM-II", 1),
        ("spiral[q=0,0,1 axis=0,0,1]", 1),
    ]


def test_whole_file_leaves_the_old_one_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), whole_file(path) as temporary:
        temporary.with_name("nowhere").joinpath("x").write_text("new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
