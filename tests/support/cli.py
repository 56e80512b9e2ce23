"""The command line on a campaign that takes seconds: as a real process, or in this one, which saves its start."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import yaml

from workflows import cli

ROOT = Path(__file__).resolve().parents[2]
MODEL = {"layers": 1, "channels": 4, "l_max": 1, "cutoff": 3.5, "radial_hidden": [8]}
TRAINING = {"epochs": 2, "batch_structures": 8}


def tiny_campaign(folder: Path, **changes) -> Path:
    """Write a campaign of 12 spin-lattice labels in a 4-atom cell and its model files; returns its path."""
    (folder / "model.yaml").write_text(yaml.safe_dump({"model": MODEL, "training": TRAINING}))
    (folder / "blind.yaml").write_text(yaml.safe_dump({"model": {**MODEL, "spin": False}, "training": TRAINING}))
    content = {
        "name": "tiny",
        "engine": {"type": "spin-lattice"},
        "structures": {
            "parents": [{"species": "Ni", "lattice_constant": 4.17, "cell": "rhombohedral4"}],
            "orderings": ["FM", "AFM-II"],
            "deformations": [
                {"kind": "none"},
                {"kind": "displacement", "count": 3, "amplitude": [0.02, 0.06]},
                {"kind": "volume", "count": 2, "amplitude": [0.95, 1.05]},
            ],
        },
        "split": {"fractions": [0.6, 0.1, 0.3], "min_test": 2},
        "model": "model.yaml",
        "baseline": "blind.yaml",
        "committee": 1,
        "active_learning": {"rounds": 1, "labels": 2, "candidates": 4, "select": {"rule": "farthest-point"}},
    }
    for key, value in changes.items():
        target = content
        *path, last = key.split("__")
        for part in path:
            target = target[part]
        target[last] = value
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def environment(**extra: str) -> dict[str, str]:
    """Environment of a child process: this project importable, one thread."""
    path = os.pathsep.join([*filter(None, [extra.pop("first_on_path", "")]), str(ROOT)])
    ours = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "SPINMULTINET_TRUSTED_MODULES": "tests,benchmarks"}
    return {**os.environ, **ours, **extra}


def command(*arguments: object) -> list[str]:
    """Command line of a child process."""
    return [sys.executable, "-m", "workflows.cli", *map(str, arguments)]


def spinmultinet(folder: Path, *arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command in ``folder`` and wait for it."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(**extra),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def in_this_process(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """As `spinmultinet`, without a process of its own; workers of a run are processes all the same."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(mock.patch.dict(os.environ, environment()))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        code = cli.run([str(argument) for argument in arguments])
    return subprocess.CompletedProcess(list(arguments), code, out.getvalue(), err.getvalue())


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    """The command ended with ``code`` and one line on stderr that holds ``parts``; no traceback anywhere."""
    assert done.returncode == code, done.stderr + done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]
    assert "Traceback" not in done.stdout + done.stderr


def data(capsys, *arguments: str) -> str:
    """What ``spinmultinet data`` prints with these arguments, in this process; it has to end well."""
    code = cli.run(["data", *arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out
