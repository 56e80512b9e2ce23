"""An environment of its own for every program, from the package index."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TORCH = "torch==2.13.0"
REQUIREMENTS = {
    "nequip": [TORCH, "nequip==0.19.1"],
    "mace": [TORCH, "mace-torch==0.3.16"],
    "chgnet": [TORCH, "chgnet==0.4.2"],
    # It needs the last three and does not declare them.
    "deepmd": [TORCH, "deepmd-kit==3.2.0", "mpich", "e3nn==0.6.0", "vesin-torch"],
}


def python(folder: Path, program: str) -> Path:
    """The interpreter of a program: this one for ours."""
    return folder / program / "bin" / "python" if program in REQUIREMENTS else Path(sys.executable)


def set_up(folder: Path, programs: Sequence[str]) -> None:
    """Make the environments that are not there yet. Raises subprocess.CalledProcessError where pip fails."""
    folder.mkdir(parents=True, exist_ok=True)
    for program in programs:
        here = folder / program
        done = here / ".complete"
        if done.exists():
            continue
        print(f"{program}: installing {', '.join(REQUIREMENTS[program])} into {here}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(here)], check=True)
        subprocess.run([str(python(folder, program)), "-m", "pip", "install", "-q", *REQUIREMENTS[program]], check=True)
        if program == "deepmd":
            _without_operators(here)
        done.touch()


def _without_operators(folder: Path) -> None:
    """Its wheel holds C++ operators for torch 2.11, which refuse to load; PyTorch alone does without them.

    They serve compressed models and parallel molecular dynamics, neither of which is measured.
    """
    for path in folder.glob("lib/python*/site-packages/deepmd/lib/libdeepmd_op_pt.so"):
        path.rename(path.with_suffix(".unused"))
