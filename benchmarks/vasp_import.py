"""How many VASP folders per second are imported, with one and two readers, and how many emmet's TaskDoc alone parses.

PYTHONPATH=. python benchmarks/vasp_import.py                          # folders of the test program
PYTHONPATH=. python benchmarks/vasp_import.py --cases ../shared/vasp   # copies of real runs

Prints a Markdown table. TaskDoc is measured on one folder of each kind in this process, which has one thread; the
import reads copies of the same folders into a local store, from finding them to the judged labels, the start of its
readers included. Folders that one of the two refuses are left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from datastore.stores import open_store
from workflows.vasp_import.discover import Run, find_runs
from workflows.vasp_import.folders import read_folder
from workflows.vasp_import.runner import VaspImport, import_vasp

REPEATS = 3


def make_cases(folder: Path) -> list[Path]:
    """Folders of the test program: static and relaxed, collinear and not."""
    from tests.support.vasp_runs import run_named

    return [run_named(name, folder / name) for name in ("static", "relaxed", "vectors", "version_5")]


def usable(cases: Path) -> list[Path]:
    """Folders below ``cases`` with both outputs, which is what TaskDoc wants."""
    found = [run for run in find_runs(cases) if isinstance(run, Run)]
    names = {run.folder: {name.split(".gz")[0] for name, _ in run.files} for run in found}
    return [Path(folder) for folder, files in names.items() if {"OUTCAR", "vasprun.xml"} <= files]


def task_doc(folder: Path) -> None:
    from emmet.core.tasks import TaskDoc

    TaskDoc.from_directory(folder)


def own(folder: Path) -> None:
    (run,) = find_runs(folder)
    assert isinstance(run, Run)
    read_folder(run, str(folder))


def rate(read: Callable[[Path], None], folders: list[Path]) -> float:
    """Folders per CPU second; what is loaded on first use has been loaded."""
    started = time.process_time()
    for _ in range(REPEATS):
        for folder in folders:
            read(folder)
    return REPEATS * len(folders) / (time.process_time() - started)


def takes(read: Callable[[Path], None], folder: Path) -> bool:
    try:
        read(folder)
    except Exception:
        return False
    return True


def copies(folders: list[Path], number: int, target: Path) -> None:
    """``number`` copies, nested as campaigns are; OUTCARs differ in no byte, so labels are there already after one."""
    for i in range(number):
        source = folders[i % len(folders)]
        shutil.copytree(source, target / f"batch{i % 10}" / f"{source.name}_{i}", symlinks=True)


def imported(tree: Path, processes: int, folder: Path) -> list[tuple[float, float]]:
    """Folders per second of an import, and of the same import once more: by the clock, and of CPU time of all."""
    speeds = []
    with open_store(f"local:{folder}") as store:
        for _ in range(2):
            clock, cpu = time.perf_counter(), _cpu()
            report = import_vasp(store, [str(tree)], VaspImport(processes=processes))
            speeds.append((report.frames / (time.perf_counter() - clock), report.frames / (_cpu() - cpu)))
    return speeds


def _cpu() -> float:
    """CPU seconds of this process and of the readers that have ended."""
    return sum(os.times()[:4])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, help="folder with VASP runs; default: runs of the test program")
    parser.add_argument("--folders", type=int, default=400)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        found = make_cases(root / "cases") if options.cases is None else usable(options.cases)
        cases = [folder for folder in found if takes(task_doc, folder) and takes(own, folder)]
        print(f"| {len(cases)} kinds of folders, {options.folders} copies | folders per second | per CPU second |")
        print("| --- | ---: | ---: |")
        for what, read in (("TaskDoc.from_directory alone, one core", task_doc), ("our reader alone, one core", own)):
            print(f"| {what} | | {rate(read, cases):.1f} |", flush=True)
        copies(cases, options.folders, root / "tree")
        for processes in (1, 2):
            first, again = imported(root / "tree", processes, root / f"store{processes}")
            print(f"| import, {processes} reader{'s' if processes > 1 else ''} | {first[0]:.1f} | {first[1]:.1f} |")
            print(f"| the same again | {again[0]:.0f} | {again[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
