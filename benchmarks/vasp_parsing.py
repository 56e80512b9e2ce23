"""How fast a finished VASP folder is read: emmet's TaskDoc alone, and read_run, which checks both files on each other.

PYTHONPATH=. python benchmarks/vasp_parsing.py                          # folders of the test program
PYTHONPATH=. python benchmarks/vasp_parsing.py --cases ../shared/vasp   # real runs of others as well

Prints a Markdown table: folders per second of CPU time (one thread), the lowest and highest of the repeats in brackets.
Both read the same folders one after the other in every repeat; only folders that both take are counted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

from workflows.engines.vasp.outputs import OutputError, read_run


def generated(number: int, root: Path) -> list[Path]:
    """Cells of 8 atoms: static and relaxed, VASP 5 and 6, collinear and not, in turn."""
    from tests.support.vasp_runs import run_named

    names = ("static", "version_5", "relaxed", "vectors")
    return [run_named(names[i % len(names)], root / f"{names[i % len(names)]}_{i}") for i in range(number)]


def task_doc(folder: Path) -> None:
    from emmet.core.tasks import TaskDoc

    TaskDoc.from_directory(folder)


def own(folder: Path) -> None:
    read_run(folder, moments=False)


def taken_by_both(folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if _takes(own, folder) and _takes(task_doc, folder)]


def _takes(read: Callable[[Path], None], folder: Path) -> bool:
    try:
        read(folder)
    except (OutputError, TypeError, KeyError, ValueError, OSError, SyntaxError):  # TaskDoc: whatever it stumbles on
        return False
    return True


def rate(read: Callable[[Path], None], folders: list[Path]) -> float:
    """Folders per second of CPU time."""
    started = time.process_time()
    for folder in folders:
        read(folder)
    return len(folders) / (time.process_time() - started)


def row(name: str, folders: list[Path], repeats: int) -> str:
    pairs = [(rate(task_doc, folders), rate(own, folders)) for _ in range(repeats)]
    columns = [[a for a, _ in pairs], [b for _, b in pairs], [b / a for a, b in pairs]]
    shown = [f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})" for values in columns]
    return f"| {name} ({len(folders)}) | {' | '.join(shown)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, help="folder of run folders, such as ../shared/vasp")
    parser.add_argument("--number", type=int, default=20, help="folders of the test program")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as root:
        sets = {"test program": generated(options.number, Path(root))}
        if options.cases:
            sets = {"real runs": sorted(path for path in options.cases.iterdir() if path.is_dir()), **sets}
        print("| folders | TaskDoc, 1/s | read_run, 1/s | ratio |\n| --- | --- | --- | --- |")
        for name, folders in sets.items():
            print(row(name, taken_by_both(folders), options.repeats), flush=True)


if __name__ == "__main__":
    main()
