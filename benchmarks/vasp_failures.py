"""What becomes of every way in which VASP fails, as the tables of docs/vasp.md.

    python benchmarks/vasp_failures.py [--real]

Each failure goes through a label job: input check, custodian, the test program told to fail, outputs. ``--real`` adds a
table of what real VASP said (SPINMULTINET_TEST_DATA/vasp/custodian_stdout_errors). Exit code 1 where an ending is not
the expected one.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SHOWN = 110
"""Characters of a message in the table."""


def prepare(place: Path) -> Path:
    """The test program and its POTCARs where atomate2 and pymatgen look for VASP's; returns the folder of faults."""
    from tests.support.vasp_std.install import install
    from tests.support.vasp_std.potcars import write_potcars

    faults = place / "faults"
    faults.mkdir()
    os.environ |= {
        "PATH": f"{install(place / 'bin')}{os.pathsep}{os.environ['PATH']}",
        "PMG_VASP_PSP_DIR": str(write_potcars(place / "potcars")),
        "VASP_STD_FAULTS": str(faults),
        "OMP_NUM_THREADS": "1",
        **{f"ATOMATE2_VASP_{name}CMD": f"vasp_{program}" for name, program in {"": "std", "NCL_": "ncl"}.items()},
    }
    return faults


def short(text: str) -> str:
    said = re.sub(r"; files: .*|/\S*/", "", text)
    shown = said if len(said) <= SHOWN else said[:SHOWN].rsplit(" ", 1)[0] + " ..."
    return shown.replace("|", "\\|")


def table(failures: Sequence[object], place: Path, faults: Path) -> int:
    """Print one row per failure; returns how many ended otherwise than expected."""
    from tests.support.vasp_failures import Failure, run_failure

    wrong, began = 0, time.perf_counter()
    print("| VASP | starts | what happened | what is said |\n| --- | --- | --- | --- |")
    for number, failure in enumerate(failures):
        assert isinstance(failure, Failure)
        ending = run_failure(failure, faults, place / f"job_{len(failures)}_{number}")
        right = (ending.outcome, ending.starts) == (failure.outcome, failure.starts) and failure.says in ending.text
        wrong += not right
        outcome = ending.outcome if right else f"**{ending.outcome}, expected {failure.outcome}**"
        print(f"| {failure.name} | {ending.starts} | {outcome} | {short(ending.text)} |", flush=True)
    print(f"\n{len(failures)} failures in {time.perf_counter() - began:.0f} s\n")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--real", action="store_true", help="also what real VASP said")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        faults = prepare(place)  # before atomate2 and pymatgen read their settings
        from tests.support.vasp_failures import FAILURES, captured

        wrong = table(FAILURES, place, faults)
        return min(1, wrong + (table(captured(), place, faults) if arguments.real else 0))


if __name__ == "__main__":
    sys.exit(main())
