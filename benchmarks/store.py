"""How fast a store takes and gives labels of 64 atoms. Prints a Markdown table.

python benchmarks/store.py                                   # local, 5,000 points
python benchmarks/store.py --points 2000 --uri memory: mongodb://127.0.0.1:27017/benchmark

The database named by a mongodb:// URI receives the points; give an empty one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from datastore.atoms import write_points
from datastore.ingest import ingest, rejudge
from datastore.queries import find, stats
from datastore.schema import SpinPoint
from datastore.snapshot import make_snapshot
from datastore.stores import SpinStore, open_store, stamped
from datastore.verify import verify

ATOMS = 64
SINGLE = 500


def make_points(number: int) -> list[SpinPoint]:
    """Random labels; the numbers have as many digits as real ones, which decides their size."""
    rng = np.random.default_rng(0)
    signs = np.where(np.arange(ATOMS) < ATOMS // 2, 1.0, 0.0) * np.where(np.arange(ATOMS) % 2, -1, 1)
    points = []
    for i in range(number):
        forces = rng.normal(scale=0.3, size=(ATOMS, 3))
        points.append(
            SpinPoint(
                species=["Ni"] * (ATOMS // 2) + ["O"] * (ATOMS // 2),
                lattice=np.eye(3) * 8.34 + rng.normal(scale=0.01, size=(3, 3)),
                positions=rng.uniform(0, 8.34, size=(ATOMS, 3)),
                magmoms_in=2.5 * signs,
                ordering=["AFM-II", "FM"][i % 2],
                cell="conventional_2x2x2",
                deformation=["shear", "volume", "tensile", "displacement"][i % 4],
                deformation_parameters={"strain": 0.03, "seed": i},
                pair_id=f"g{i // 2}",
                campaign=f"campaign{i % 10}",
                engine="benchmark",
                engine_version="1",
                level_of_theory={"xc": "PBE", "hubbard": {"Ni": 6.2}},
                energy=-406.0 + rng.normal(scale=0.5),
                free_energy=-406.0 + rng.normal(scale=0.5),
                forces=forces - forces.mean(axis=0),
                stress=np.diag(rng.normal(scale=0.05, size=3)),
                magmoms_out=(1.8 + rng.normal(scale=0.01, size=ATOMS)) * signs,
                total_moment=0.0,
                ordering_found=["AFM-II", "FM"][i % 2],
                verdict="accepted",
            )
        )
    return points


def rate(work: Callable[[], int]) -> float:
    """Items per second."""
    start = time.perf_counter()
    number = work()
    return number / (time.perf_counter() - start)


def measure(store: SpinStore, points: list[SpinPoint], folder: Path) -> dict[str, float]:
    """Rates in items per second, in the order of a label's journey."""
    filled, rest = points[:-SINGLE], points[-SINGLE:]
    documents = [stamped(point.to_document()) for point in filled]
    ids = [document["point_id"] for document in documents[:: max(1, len(documents) // SINGLE)]]
    jobs = [
        {"uuid": f"u{i}", "index": 1, "completed_at": "1", "output": point.to_document()}
        for i, point in enumerate(rest)
    ]

    def bulk() -> int:
        for start in range(0, len(documents), 100):
            store.points.update(documents[start : start + 100])
        return len(documents)

    def single() -> int:
        for point in rest:
            store.put_point(point)
        return len(rest)

    def add_jobs() -> int:
        for job in jobs:
            store.jobs.update(job, key=["uuid", "index"])
        return len(jobs)

    return {
        "bulk upserts (100 at a time)": rate(bulk),
        "single upserts into the full store": rate(single),
        "job documents written": rate(add_jobs),
        "jobs ingested": rate(lambda: ingest(store).jobs),
        "labels looked up by id": rate(lambda: sum(store.get_point(point_id) is not None for point_id in ids)),
        "points by indexed field": rate(lambda: sum(1 for _ in find(store, campaign="campaign3"))),
        "points read, all": rate(lambda: sum(1 for _ in find(store))),
        "points counted by stats": rate(lambda: stats(store).total),
        "points written as extended XYZ": rate(lambda: write_points(folder / "all.extxyz", find(store))),
        "points frozen in a snapshot": rate(lambda: sum(make_snapshot(store, folder).counts.values())),
        "points verified": rate(lambda: verify(store).documents["points"]),
        "points judged again": rate(lambda: rejudge(store) * 0 + store.points.count()),
    }


def main() -> None:
    """Print rates for each store, and the size of a document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=5000, help=f"labels of {ATOMS} atoms, more than {SINGLE}")
    parser.add_argument("--uri", nargs="+", default=["local"], help="local, memory:, or mongodb://HOST/EMPTY_DATABASE")
    options = parser.parse_args()
    points = make_points(options.points)
    columns: dict[str, dict[str, float]] = {}
    for uri in options.uri:
        with tempfile.TemporaryDirectory() as folder:
            with open_store(f"local:{folder}/data" if uri == "local" else uri) as store:
                columns[uri.split(":")[0]] = measure(store, points, Path(folder))
            file = Path(folder) / "data" / "store.sqlite"
            if file.exists():
                print(f"size per point on disk: {file.stat().st_size / (options.points + SINGLE) / 1000:.1f} kB")
    print(f"\n| {options.points} points of {ATOMS} atoms, per second | {' | '.join(columns)} |")
    print("| --- |" + " ---: |" * len(columns))
    for name in next(iter(columns.values())):
        print(f"| {name} | {' | '.join(f'{column[name]:,.0f}' for column in columns.values())} |")


if __name__ == "__main__":
    main()
