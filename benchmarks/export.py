"""How fast labels of 64 atoms are exported, and in how much memory. Prints a Markdown page (docs/results/export.md).

python benchmarks/export.py                                  # 2,000 labels; memory at 1,000 and 5,000
python benchmarks/export.py --labels 10000 --mongo mongodb://127.0.0.1:27017/benchmark > docs/results/export.md

Labels are those of benchmarks/store.py: random numbers with as many digits as real ones. Rates are per second of CPU
time of this process, because other people's work on the machine does not change it, and by the clock beside. "ASE" is
ase.io.write of the same labels, as Atoms in memory: it rounds to 8 digits and reads no store. The database named by
--mongo receives the labels; give an empty one. A server in a process of its own is not in the CPU time.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import ase.io

from benchmarks.store import make_points
from datastore.atoms import point_to_atoms
from datastore.batches import in_batches
from datastore.exports.run import FormatName, export
from datastore.exports.sources import of_snapshot, of_store
from datastore.schema import SpinPoint
from datastore.snapshot import make_snapshot
from datastore.splits import SplitOptions
from datastore.stores import open_store, stamped

HEAD = """# Export: speed and memory

    {command}

Labels per second of CPU time (median, slowest, fastest run), by the clock, and how many times as fast as ASE's writer
in the same run. The clock counts other people's work on the machine too. A server's work is not in the CPU time.
"""
TABLE = [
    "| from, as | labels/s of CPU time | slowest | fastest | by the clock | ratio |",
    "| --- | ---: | ---: | ---: | ---: | ---: |",
]
MEMORY = ["| labels | from a snapshot | from a store |", "| ---: | ---: | ---: |"]

SLICE = 500
BY_ASE = 500
"""Labels that ASE writes: Atoms are kept in memory."""


def fill(uri: str, number: int) -> None:
    """Put labels into a store, a slice at a time."""
    with open_store(uri) as store:
        for batch in in_batches(make_points(number), SLICE):
            store.points.update([stamped(point.to_document()) for point in batch])


class Clock:
    """Seconds of the CPU and by the clock of a piece of work."""

    def __init__(self, work: Callable[[], object]):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        self.cpu, self.wall = time.process_time() - cpu, time.perf_counter() - wall


def row(name: str, number: int, clocks: list[Clock], ase_rate: float) -> str:
    """One line of the table: median of the runs, slowest and fastest."""
    rates = sorted(number / clock.cpu for clock in clocks)
    wall = number / median(clock.wall for clock in clocks)
    ratio = f"{median(rates) / ase_rate:.1f}" if ase_rate else "1"
    return f"| {name} | {median(rates):,.0f} | {rates[0]:,.0f} | {rates[-1]:,.0f} | {wall:,.0f} | {ratio} |"


def by_ase(points: list[SpinPoint], out: Path) -> Clock:
    """ase.io.write of labels as Atoms."""
    frames = [point_to_atoms(point) for point in points]
    return Clock(lambda: ase.io.write(out, frames, format="extxyz"))


def from_store(uri: str, out: Path, kind: FormatName = "extxyz", keys: str = "") -> None:
    """Export all labels of a store."""
    with open_store(uri) as store:
        export(of_store(store, {}), out, kind, keys)


def peak_memory(folder: Path, what: str) -> float:
    """MiB that a process of its own takes at most to export what is in ``folder``; the files are there already."""
    code = f"from benchmarks.export import export_here; export_here({str(folder)!r}, {what!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def export_here(folder: str, what: str) -> None:
    """What :func:`peak_memory` measures; prints the peak of resident memory, MiB."""
    place, out = Path(folder), Path(folder, f"{what}.extxyz")
    if what == "snapshot":
        export(of_snapshot(next((place / "sets").iterdir()), {}), out, keys="mace")
    else:
        from_store(f"local:{place / 'store'}", out, keys="mace")
    # ru_maxrss would begin with the memory of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) / 1024)


def prepared(folder: Path, number: int) -> Path:
    """A folder with a store of labels and a snapshot of it."""
    fill(f"local:{folder / 'store'}", number)
    with open_store(f"local:{folder / 'store'}") as store:
        make_snapshot(store, folder / "sets", options=SplitOptions(twins=0))
    return folder


def rates(folder: Path, number: int, runs: int, mongo: str) -> list[str]:
    """Lines of the table of rates."""
    snapshot = next(path for path in (folder / "sets").iterdir() if path.is_dir())
    local = f"local:{folder / 'store'}"
    few = make_points(min(BY_ASE, number))
    asked: list[tuple[str, Callable[[], object]]] = [
        ("snapshot, `--keys spinmultinet`", lambda: export(of_snapshot(snapshot, {}), folder / "a.extxyz")),
        ("snapshot, `--keys mace`", lambda: export(of_snapshot(snapshot, {}), folder / "a.extxyz", keys="mace")),
        ("snapshot, `--keys nequip`", lambda: export(of_snapshot(snapshot, {}), folder / "a.extxyz", keys="nequip")),
        ("store on disk, `--keys spinmultinet`", lambda: from_store(local, folder / "a.extxyz")),
        ("store on disk, `--keys mace`", lambda: from_store(local, folder / "a.extxyz", keys="mace")),
        ("store on disk, HDF5", lambda: from_store(local, folder / "a.h5", "hdf5")),
        ("store on disk, ASE database", lambda: from_store(local, folder / "a.db", "ase")),
        ("store on disk, pymatgen JSON", lambda: from_store(local, folder / "a.json", "pymatgen")),
        ("store on disk, CSV", lambda: from_store(local, folder / "a.csv", "csv")),
    ]
    if mongo:
        fill(mongo, number)
        asked.append(("MongoDB, `--keys spinmultinet`", lambda: from_store(mongo, folder / "a.extxyz")))
    ase_clocks = [by_ase(few, folder / "ase.extxyz") for _ in range(runs)]
    ase_rate = median(len(few) / clock.cpu for clock in ase_clocks)
    lines = [row("`ase.io.write` of Atoms in memory", len(few), ase_clocks, 0.0)]
    return lines + [row(name, number, [Clock(work) for _ in range(runs)], ase_rate) for name, work in asked]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("rates", "memory"), default=["rates", "memory"])
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--mongo", default="", help="URI of an empty database; default: no MongoDB")
    parser.add_argument("--memory", type=int, nargs=2, default=(1000, 5000), help="labels of the two measurements")
    arguments = parser.parse_args()
    print(HEAD.format(command=" ".join(["python benchmarks/export.py", *sys.argv[1:]])))
    if "rates" in arguments.parts:
        print_rates(arguments.labels, arguments.runs, arguments.mongo)
    if "memory" in arguments.parts:
        print_memory(arguments.memory)


def print_rates(labels: int, runs: int, mongo: str) -> None:
    """Print the table of rates."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        place = prepared(Path(folder), labels)
        table = rates(place, labels, runs, mongo)
        bytes_each = (place / "a.extxyz").stat().st_size / labels
    print(
        f"{labels:,} labels of 64 atoms, {bytes_each / 1e3:.0f} kB each, {runs} runs, one process, "
        f"{os.cpu_count()} cores with a load of {load:.1f} before, Python {platform.python_version()}.\n"
    )
    print("\n".join([*TABLE, *table, ""]))


def print_memory(numbers: list[int]) -> None:
    """Print the table of memory."""
    print("\n".join(["Peak of resident memory of a process that exports with `--keys mace`, MiB:", "", *MEMORY]))
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            place = prepared(Path(folder), number)
            print(f"| {number:,} | {peak_memory(place, 'snapshot'):.0f} | {peak_memory(place, 'store'):.0f} |")


if __name__ == "__main__":
    main()
