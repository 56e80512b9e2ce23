"""Pytest fixtures: the test program and its POTCARs where atomate2, pymatgen and subprocesses look for VASP's.

tests/conftest.py gives them to all tests.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.vasp_std.faults import VARIABLE
from tests.support.vasp_std.install import install
from tests.support.vasp_std.potcars import write_potcars

if TYPE_CHECKING:
    from tests.support.vasp_std.cases import Case

COMMANDS = {"VASP_CMD": "vasp_std", "VASP_NCL_CMD": "vasp_ncl", "VASP_GAMMA_CMD": "vasp_gam"}


@dataclass(frozen=True)
class VaspOnPath:
    binaries: Path
    potcars: Path
    """PMG_VASP_PSP_DIR."""
    faults: Path
    """Folder to hand to ``faults.plan``; empty, so that runs succeed."""


@pytest.fixture
def vasp_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VaspOnPath:
    """Programs on PATH, settings of atomate2 and pymatgen in this process and in the environment."""
    import atomate2
    import pymatgen.core

    root = tmp_path / "vasp_installation"
    place = VaspOnPath(install(root / "bin"), write_potcars(root / "potcars"), root / "faults")
    place.faults.mkdir()
    monkeypatch.setenv("PATH", f"{place.binaries}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(place.potcars))
    monkeypatch.setenv(VARIABLE, str(place.faults))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Both read their settings when they are imported. atomate2 binds the commands as default arguments then: bare
    # names, found on PATH, stay right for the tests that follow.
    monkeypatch.setitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", str(place.potcars))
    for name, command in COMMANDS.items():
        monkeypatch.setenv(f"ATOMATE2_{name}", command)
        monkeypatch.setattr(atomate2.SETTINGS, name, command)
    return place


@pytest.fixture
def run_vasp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Runs the program within this process and returns its folder.

    ``keep``: files of the run before stay, WAVECAR too. Without a case also the inputs stay.
    """
    from tests.support.vasp_std import program  # imports torch by way of vesin: not for tests that do not ask for it

    monkeypatch.setenv(VARIABLE, str(tmp_path / "faults"))
    (tmp_path / "faults").mkdir()

    def go(case: "Case | None" = None, status: int = 0, keep: bool = False, **tags: str) -> Path:
        folder = tmp_path / "run"
        if case is not None:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            replace(case, tags={**case.tags, **tags}).write(folder)
        monkeypatch.chdir(folder)
        assert program.main() == status
        return folder

    return go
