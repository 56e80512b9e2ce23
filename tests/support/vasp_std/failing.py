"""What the faults of a start do to it."""

import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.vasp_std.faults import MESSAGES
from tests.support.vasp_std.inputs import Inputs
from tests.support.vasp_std.physics import Setting, State, held
from tests.support.vasp_std.steps import Electronic


class Failing:
    """Hooks that the run calls; without faults they change nothing."""

    def __init__(self, faults: dict[str, Any]):
        self.faults = faults

    def argument(self, kind: str, default: float) -> float:
        value = self.faults[kind]
        return default if value is None else float(value)

    def at_start(self) -> None:
        """Ends the program where it should not get further."""
        faults = self.faults
        if "warning" in faults:
            print(_text(str(faults["warning"])), flush=True)
        texts = [MESSAGES[kind] for kind in faults if kind in MESSAGES]
        texts += [_text(str(faults["message"]))] if "message" in faults else []
        if texts:
            print(*texts, sep="\n", flush=True)
            sys.exit(1)
        if "crash" in faults:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "hang" in faults:
            time.sleep(self.argument("hang", 86400.0))
        for kind, status in (("exit", 1), ("silent", 0)):
            if kind in faults:
                sys.exit(status)

    def inputs(self, inputs: Inputs) -> Inputs:
        """What the program calculates in place of its inputs."""
        if "foreign" in self.faults:
            factor = self.argument("foreign", 1.02)
            inputs = replace(inputs, lattice=factor * inputs.lattice, positions=factor * inputs.positions)
        if "wrong_order" in self.faults:
            order = reversed_blocks(inputs.counts)
            incar = {**inputs.incar, "MAGMOM": " ".join(str(x) for x in inputs.guess()[order].ravel())}
            inputs = replace(inputs, positions=inputs.positions[order], incar=incar)
        return inputs

    def start(self, moments: np.ndarray) -> np.ndarray:
        """Moments that the electrons start from."""
        if "flipped" not in self.faults:
            return moments
        changed = moments.copy()
        changed[int(self.argument("flipped", 0))] *= -1
        return changed

    def electrons(self, state: State, setting: Setting, lattice: np.ndarray, positions: np.ndarray) -> State:
        """Where the electrons end."""
        if "other_state" in self.faults:
            moments = state.moments.copy()
            moments[int(np.argmax(np.abs(moments.reshape(len(moments), -1)).max(axis=1) > 0.5))] *= self.argument(
                "other_state", 0.4
            )
            state = held(setting, lattice, positions, moments)
        return replace(state, stuck=state.stuck or "unconverged" in self.faults)

    def before(self, step: Electronic) -> None:
        """Called before each electronic step is written."""
        if "slow" in self.faults:
            time.sleep(self.argument("slow", 1.0))
        if "killed" in self.faults and step.number >= self.argument("killed", 3):
            os.kill(os.getpid(), signal.SIGKILL)
        if "disk_full" in self.faults and step.number >= self.argument("disk_full", 3):
            outcar = Path("OUTCAR")
            _cut(outcar, 1 - 500 / outcar.stat().st_size)
            message = "forrtl: No space left on device\nforrtl: severe (38): error during write, unit 8, file"
            print(message, outcar.resolve(), file=sys.stderr, flush=True)
            os._exit(38)

    def files(self) -> None:
        """Spoils what was written."""
        for kind, names in {
            "truncated_outcar": ["OUTCAR"],
            "truncated_vasprun": ["vasprun.xml"],
            "truncated": ["OUTCAR", "vasprun.xml"],
        }.items():
            for name in names if kind in self.faults else []:
                _cut(Path(name), self.argument(kind, 0.6))
        if "overflow" in self.faults:
            stars = r"\1" + "*" * 14 + " " + "*" * 14 + " " + "*" * 14
            _replace("OUTCAR", r"(TOTAL-FORCE .*\n -+\n(?: +\S+){3}) .*", stars)
            _replace("vasprun.xml", r'(<varray name="forces" >\n +<v>) [^<]*', stars)
        if "nan" in self.faults:
            number = r"\1             NaN"
            _replace("OUTCAR", r"(TOTEN +=|without ?entropy ?=|sigma->0\) =) +-?[0-9.]+", number)
            _replace("vasprun.xml", r'(name="e_(?:fr_energy|wo_entrp|0_energy)">) *-?[0-9.]+', number)
            _replace("OSZICAR", r"( F=| E0=|DAV: +\d+) +\S+", number)


def reversed_blocks(counts: list[int]) -> list[int]:
    """Sites of each species in reversed order."""
    ends = np.cumsum(counts)
    return [site for end, count in zip(ends, counts, strict=True) for site in range(end - 1, end - count - 1, -1)]


def _text(source: str) -> str:
    """A name of MESSAGES, or the content of a file."""
    return MESSAGES[source] if source in MESSAGES else Path(source).read_text(errors="replace")


def _cut(path: Path, share: float) -> None:
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))


def _replace(name: str, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, by, Path(name).read_text())
    if not count:
        raise ValueError(f"nothing in {name} looks like {pattern}")
    Path(name).write_text(text)
