"""The installation script against stand-ins for Python, gcc, apt-get and id: nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "install_gpaw.sh"
TOOLS = ("sh", "dirname", "mktemp", "rm", "cat", "tail", "id", "env", "touch")


class Machine:
    """A PATH of a few real tools; ``stand_in`` adds programs of our own."""

    def __init__(self, folder: Path):
        self.bin, self.tmp = folder / "bin", folder / "tmp"
        self.bin.mkdir()
        self.tmp.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.skip(f"no {tool} here"))

    def stand_in(self, name: str, body: str) -> None:
        file = self.bin / name
        file.unlink(missing_ok=True)
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    def install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "TMPDIR": str(self.tmp), "MARK": str(self.tmp)}
        return subprocess.run(
            [str(self.bin / "sh"), str(SCRIPT), *arguments],
            env=environment,
            text=True,
            capture_output=True,
            check=False,
            timeout=30,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    # A Python whose GPAW works once pip has run.
    machine.stand_in("python", 'case "$*" in *pip*) touch $MARK/gpaw;; *"import gpaw"*) test -f $MARK/gpaw;; esac')
    return machine


def test_working_gpaw_needs_nothing(machine):
    machine.stand_in("python", "exit 0")
    done = machine.install("python")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bare_machine_without_apt_is_told_what_to_install(machine):
    done = machine.install("python")
    assert done.returncode == 3
    for part in ("sudo apt-get install", "libxc-dev", "dnf install"):
        assert part in done.stderr
    assert "conda" not in done.stderr, "the environment is isolated from conda's packages"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("python", ["some/venv/bin/python", "python"])
def test_the_alternative_can_be_typed_as_it_is(machine, python):
    if "/" in python:
        python = str(machine.tmp / python)
        Path(python).parent.mkdir(parents=True)
        shutil.copy(machine.bin / "python", python)
    folder = Path(python).parent if "/" in python else machine.bin
    done = machine.install(python)
    command = f"{folder}/spinmultinet run configs/campaigns/quickstart_nio.yaml --engine spin-lattice"
    assert command in [line.strip() for line in done.stderr.splitlines()]
    assert (SCRIPT.parents[1] / "configs/campaigns/quickstart_nio.yaml").exists()


def test_user_without_root_is_told_what_to_install(machine):
    machine.stand_in("apt-get", "touch $MARK/apt")
    machine.stand_in("id", "echo 1000")
    machine.stand_in("sudo", "exit 1")
    assert machine.install("python").returncode == 3
    assert not (machine.tmp / "apt").exists()


def test_root_gets_the_packages_and_the_build(machine):
    machine.stand_in("id", "echo 0")
    machine.stand_in("apt-get", 'echo "$*" >>$MARK/apt')
    machine.stand_in("gcc", "test -f $MARK/apt")
    done = machine.install("python")
    assert done.returncode == 0, done.stderr
    assert "GPAW 26.7.0 is ready" in done.stdout
    update, install = (machine.tmp / "apt").read_text().splitlines()
    assert update == "update"
    assert "--no-install-recommends gcc libc6-dev libxc-dev libopenblas-dev libfftw3-dev" in install
    assert not list(machine.tmp.glob("install_gpaw.*")), "the log of a good installation is removed"


def test_failed_build_shows_its_log(machine):
    machine.stand_in("gcc", "exit 0")
    machine.stand_in("python", 'case "$*" in *pip*) echo "no network"; exit 1;; *"import gpaw"*) exit 1;; esac')
    done = machine.install("python")
    assert done.returncode == 4
    assert "no network" in done.stderr
    assert str(next(machine.tmp.glob("install_gpaw.*"))) in done.stderr
    assert "--engine spin-lattice" in done.stderr


def test_wrong_calls(machine):
    assert machine.install().returncode == 2
    assert machine.install("no-such-python").returncode == 2
