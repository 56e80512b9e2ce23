"""How fast a store of many labels answers its named queries, and whether by an index. Prints a Markdown table.

python -m benchmarks.dataset fill local:/tmp/spinmultinet/dataset64 --points 100000 --atoms 64
python -m benchmarks.dataset ask local:/tmp/spinmultinet/dataset64
python -m benchmarks.dataset page RESULT.json... --out docs/results/dataset.md

The labels are those of tests/data/gpaw_nio_mno.extxyz, repeated to 8 or 64 atoms, with random numbers added to what
was calculated: as many digits as real ones, checksums that are right, and made-up campaigns, parents, pairs and
levels of theory. `fill` goes on where it was stopped. The database that a mongodb:// URI names receives the labels:
give an empty one; in `ask` the URI may be env:NAME.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import numpy as np
from ase import Atoms
from ase.io import read

from datastore.batches import in_batches
from datastore.errors import DataError
from datastore.filters import parse_filter, path_of
from datastore.plans import covering_index, explain, scans_all
from datastore.queries import NAMED, named
from datastore.schema import SpinPoint
from datastore.select import count, count_by, select
from datastore.sqlite_connection import learn
from datastore.sqlite_store import SqliteStore
from datastore.stores import SpinStore, mask, open_store, stamped

LABELS = Path(__file__).parents[1] / "tests" / "data" / "gpaw_nio_mno.extxyz"
REPEATS = {8: (2, 1, 1), 64: (4, 2, 2)}
ORDERINGS = ("AFM-II", "FM", "AFM-I", "AFM-III")
DEFORMATIONS = ("displacement", "shear", "tensile", "volume", "none")
LIMIT = 20
"""Labels per answer, as in `spinmultinet data query`."""
REPETITIONS = 7
BOUND_MS = 50.0


def labels(number: int, atoms: int, start: int = 0) -> Iterator[SpinPoint]:
    """Labels of made-up campaigns, always the same ones. Four of each geometry, in four orderings."""
    frames = read(LABELS, ":")
    assert isinstance(frames, list)
    for i in range(start, number):
        yield _label(frames[i // 4 % len(frames)], i, atoms)


def _label(frame: Atoms, i: int, atoms: int) -> SpinPoint:
    rng, geometry = np.random.default_rng(i), np.random.default_rng(i // 4 + 10**9)
    cell = frame.repeat(REPEATS[atoms])
    alloyed = np.array(cell.symbols)
    cations = np.flatnonzero(alloyed != "O")
    alloyed[geometry.permutation(cations)[: len(cations) * (i // 4 % 5) // 8]] = "Co"
    copies = atoms // len(frame)
    forces = np.tile(frame.get_forces(), (copies, 1)) * geometry.uniform(0.1, 2.0) + rng.normal(
        scale=0.01, size=(atoms, 3)
    )
    signs = _signs(i % 4, alloyed != "O")
    out = np.abs(cell.arrays["magmom_out"]) * signs + rng.normal(scale=0.05, size=atoms)
    energy = copies * frame.get_potential_energy() + (i % 4) * 0.02 * atoms + rng.normal(scale=0.01)
    flipped, rejected = i % 50 == 7, i % 50 in (7, 8, 9)
    return SpinPoint(
        species=alloyed.tolist(),
        lattice=cell.cell.array,
        positions=cell.positions + geometry.normal(scale=0.02, size=(atoms, 3)),
        magmoms_in=np.abs(cell.arrays["magmom_in"]) * signs,
        ordering=ORDERINGS[i % 4],
        ordering_found="FiM" if flipped else ORDERINGS[i % 4],
        cell=f"cell{atoms}",
        parent=f"parent{i // 4 % 500}",
        parent_lattice=cell.cell.array,
        deformation=DEFORMATIONS[i // 4 % 5],
        deformation_parameters={"amplitude": float(geometry.uniform())},
        pair_id=f"{i // 4:016x}",
        campaign=f"campaign{i // 4 % 40}",
        generation=i // 400 % 12,
        engine=("gpaw", "vasp")[i // 8 % 2],
        engine_version="1",
        level_of_theory={"code": ("GPAW", "VASP")[i // 8 % 2], "xc": "PBE", "hubbard_u": {"Ni": 6.2, "Mn": 3.9}},
        energy=energy,
        free_energy=energy - 0.01,
        forces=forces - forces.mean(axis=0),
        stress=np.diag(rng.normal(scale=0.05, size=3)),
        magmoms_out=out,
        total_moment=float(out.sum()),
        band_gap=float(rng.uniform(0, 4)),
        verdict="rejected" if rejected else "accepted",
        verdict_reasons=["flipped: other signs"] if rejected else [],
    )


def _signs(ordering: int, cation: Any) -> Any:
    """Four orders of the cations, with periods of 1, 2, 4 and 3 of them; +1 for the anions."""
    number = np.cumsum(cation) - 1
    down = (np.zeros_like(number), number % 2, number // 2 % 2, number % 3 == 0)[ordering]
    return np.where(cation & (down > 0), -1.0, 1.0)


def fill(store: SpinStore, number: int, atoms: int) -> float:
    """Write the labels that are not there yet, 500 at a time; gives labels per second."""
    there = store.points.count()
    started = time.perf_counter()
    for chunk in in_batches(labels(number, atoms, there), 500):
        documents = [stamped(point.to_document()) for point in chunk]
        store.points.update(documents)
        there += len(chunk)
        seconds = time.perf_counter() - started
        print(f"{there} of {number} labels, {seconds:.0f} s", flush=True)
    if isinstance(store.points, SqliteStore):
        learn(store.points._collection)
    return number / (time.perf_counter() - started)


def questions(store: SpinStore) -> dict[str, dict[str, Any]]:
    """Values for each named query, taken from a label in the middle, so that every answer is one."""
    with_cobalt = {"verdict": "accepted", "search.x.Co": {"$gt": 0}}
    (some,) = store.points.query(with_cobalt, skip=store.points.count() // 3, limit=1)
    date = some["last_updated"].isoformat()
    values = {name: some[name] for name in ("formula", "ordering", "deformation", "parent", "pair_id", "campaign")}
    values |= {name: some[name] for name in ("generation", "engine", "level_id")} | {"date": date}
    values |= {"system": some["search"]["system"], "element": "Co", "fraction": 0.25, "moment": 1.2, "mev": 10}
    rare = {"small-forces": {"force": 0.05}, "large-forces": {"force": 0.5}}
    return {name: values | rare.get(name, {}) for name in NAMED}


def ask(store: SpinStore) -> dict[str, Any]:
    """Time and plan of every named query: median and worst of REPETITIONS, for the first LIMIT labels."""
    rows = {}
    for name, values in questions(store).items():
        times, busy = [], []
        for _ in range(REPETITIONS):
            started, cpu = time.perf_counter(), time.process_time()
            found = list(named(store, name, LIMIT, **values))
            times.append(1e3 * (time.perf_counter() - started))
            busy.append(1e3 * (time.process_time() - cpu))
        rows[name] = {"labels": len(found), "median": statistics.median(times), "worst": max(times)}
        rows[name]["cpu"] = statistics.median(busy)
        rows[name] |= _plan(store, name, values) | {"matching": _matching(store, name, values)}
        print(name, rows[name], flush=True)
    return rows


def _asked(name: str, values: dict[str, Any]) -> tuple[dict[str, Any], str]:
    criteria = parse_filter(NAMED[name].filter.format(**values))
    criteria.pop("$above", None)
    parts = [part for part in criteria.get("$and", []) if "$above" not in part]
    return ({"$and": [{"pair_id": {"$gt": ""}}, *parts]} if name == "above" else criteria), NAMED[name].sort


def _plan(store: SpinStore, name: str, values: dict[str, Any]) -> dict[str, Any]:
    criteria, sort = _asked(name, values)
    order = {path_of(sort[1:]): -1} if sort else None
    index = covering_index(criteria, next(iter(order)) if order else "")
    try:
        stages = explain(store, criteria, order)
    except DataError as error:
        return {"index": index, "stages": [], "by_index": None, "why": str(error)}
    return {"index": index, "stages": stages, "by_index": not scans_all(stages)}


def _matching(store: SpinStore, name: str, values: dict[str, Any]) -> int | None:
    return None if name == "above" else count(store, parse_filter(NAMED[name].filter.format(**values)))


def others(store: SpinStore) -> dict[str, float]:
    """Milliseconds of questions that are no named ones."""

    def timed(work: Any) -> float:
        started = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - started)

    return {
        "labels counted by formula and verdict": timed(lambda: count_by(store, ["formula", "verdict"])),
        "labels counted by campaign and generation": timed(lambda: count_by(store, ["campaign", "generation"])),
        "labels counted that match fmax<0.5 verdict=accepted": timed(lambda: count(store, "fmax<0.5 verdict=accepted")),
        "1,000 labels as documents": timed(lambda: sum(1 for _ in select(store, "verdict=accepted", limit=1000))),
    }


def report(uri: str, store: SpinStore) -> dict[str, Any]:
    """Everything that goes into a file of results."""
    (one,) = store.points.query({}, limit=1)
    file = Path(uri.removeprefix("local:")) / "store.sqlite"
    return {
        "store": uri.split(":")[0],
        "uri": mask(uri),
        "points": store.points.count(),
        "atoms": len(one["species"]),
        "bson": len(bson.encode({key: value for key, value in one.items() if key != "_id"})),
        "disk": file.stat().st_size if file.exists() else None,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "limit": LIMIT,
        "repetitions": REPETITIONS,
        "queries": ask(store),
        "others": others(store),
    }


def main() -> None:
    """Fill a store, or ask one and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    filling = commands.add_parser("fill", help="write labels into a store")
    filling.add_argument("uri")
    filling.add_argument("--points", type=int, default=100_000)
    filling.add_argument("--atoms", type=int, choices=sorted(REPEATS), default=64)
    asking = commands.add_parser("ask", help="time the named queries")
    asking.add_argument("uri")
    asking.add_argument("--out", type=Path, help="JSON file for `page`")
    paging = commands.add_parser("page", help="write the page of results")
    paging.add_argument("results", type=Path, nargs="+")
    paging.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.command == "page":
        from benchmarks.dataset_page import write_page

        write_page([json.loads(path.read_text()) for path in options.results], options.out)
        return
    with open_store(options.uri, create=options.command == "fill") as store:
        if options.command == "fill":
            print(f"{fill(store, options.points, options.atoms):.0f} labels per second")
            return
        found = report(options.uri, store)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
