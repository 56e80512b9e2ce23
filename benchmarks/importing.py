"""How fast labels of 64 atoms are imported into a local store, and how much memory that takes. Prints a Markdown table.

PYTHONPATH=. python benchmarks/importing.py                  # 1,000 frames
PYTHONPATH=. python benchmarks/importing.py --frames 10000
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.store import ATOMS, make_points
from datastore.atoms import write_points
from datastore.converters import ImportLevel, foreign, own
from datastore.importing import import_labels
from datastore.mapping import ImportMapping
from datastore.schema import SpinPoint
from datastore.stores import open_store
from workflows.structures import apply_ordering, rocksalt
from workflows.structures.naming import recognised_ordering

LEVEL = ImportLevel(
    level_of_theory={"code": "VASP", "functional": "PBE+U", "hubbard_u": {"Ni": 6.2}, "ecut": 600, "kpts": [2, 2, 2]}
)
MAPPING = ImportMapping(layout="spinmultinet", moment_role="guess", pair_id=None)
UNNAMED = MAPPING.model_copy(update={"layout": "ase", "magmoms_in": "magmom_in", "magmoms_out": "magmom_out"})


def rocksalt_points(number: int) -> Iterator[SpinPoint]:
    """Labels of NiO with the random numbers of the benchmark of the store, and positions near a rocksalt lattice."""
    structure = apply_ordering(rocksalt("Ni", cell=[[-2, 2, 2], [2, -2, 2], [2, 2, -2]]), "AFM-II")
    ideal = structure.cart_coords
    moments = structure.site_properties["magmom"]
    for point in make_points(number):
        shifts = 0.01 * point.forces
        fields = {"lattice": structure.lattice.matrix, "positions": ideal + shifts, "magmoms_in": moments}
        species = [site.specie.symbol for site in structure]
        yield SpinPoint(**{**point.model_dump(), **fields, "species": species, "magmoms_out": moments})


def write_json_lines(path: Path, points: Iterator[SpinPoint]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for point in points:
            content = point.to_document()
            file.write(json.dumps({**content, "initial_magmoms": content["magmoms_in"]}) + "\n")


def write_files(xyz: Path, lines: Path, frames: int) -> None:
    write_points(xyz, rocksalt_points(frames))
    write_json_lines(lines, rocksalt_points(frames))


def rate(work: Callable[[], int]) -> float:
    """Items per second."""
    start = time.perf_counter()
    number = work()
    return number / (time.perf_counter() - start)


def measure(folder: Path, frames: int) -> dict[str, float]:
    """Frames per second by way of import, each into a store of its own."""
    xyz, lines = folder / "labels.extxyz", folder / "labels.jsonl"
    # In another process, so that the peak of memory is the import's own.
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        other.submit(write_files, xyz, lines, frames).result()
    table = UNNAMED.model_copy(update={"magmoms_in": "magmoms_in", "magmoms_out": "magmoms_out"})
    ways = {
        "extended XYZ exported here": (xyz, own, "own"),
        "the same again": (xyz, own, "own"),
        "extended XYZ with a mapping": (xyz, foreign(MAPPING, LEVEL), "mapped"),
        "extended XYZ, orderings recognised": (xyz, foreign(UNNAMED, LEVEL, recognised_ordering), "named"),
        "JSON lines with a mapping": (lines, foreign(table, LEVEL), "lines"),
    }
    rates = {}
    for name, (path, convert, place) in ways.items():
        with open_store(f"local:{folder / place}") as store:
            reports = []

            def work(path=path, convert=convert, store=store, reports=reports) -> int:
                reports.append(import_labels(store, [path], convert))
                return reports[0].frames - reports[0].not_in

            rates[name] = rate(work)
    return rates


def main() -> None:
    """Print rates, and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=1000, help=f"labels of {ATOMS} atoms")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(Path(folder), options.frames)
    print(f"| {options.frames} frames of {ATOMS} atoms | frames per second |\n| --- | ---: |")
    for name, value in rates.items():
        print(f"| {name} | {value:,.0f} |")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
