"""How fast structures of 64 atoms are built, stored, and loaded again from the cache. Prints a Markdown table.

python benchmarks/cache.py                       # 2,000 structures, cutoff 5 Angstrom, one thread
python benchmarks/cache.py --structures 500 --folder /fast/disk

"Load" opens the folder anew and collates all structures into batches of 32, in random order, as an epoch does; the
files are in the page cache of the operating system, for they were just written. "Read" makes no batches. Both sum up
pairs, shifts, positions and forces, so that the numbers are really read.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from spinmultinet.cache import GraphCache, cache_key, cached
from spinmultinet.data import collate, fingerprint, to_graph

BATCH = 32


def structures(number: int) -> list[Atoms]:
    """NiO, 2x2x2 conventional cells, rattled by 0.05 Angstrom, with labels of plausible size."""
    ideal = bulk("NiO", "rocksalt", a=4.17, cubic=True) * (2, 2, 2)
    rng = np.random.default_rng(0)
    out = []
    for _ in range(number):
        atoms = ideal.copy()
        atoms.positions += rng.normal(scale=0.05, size=(64, 3))
        atoms.set_array("magmom_in", np.where(atoms.numbers == 28, rng.choice([-2.5, 2.5], 64), 0.0))
        atoms.set_array("magmom_out", 0.7 * atoms.arrays["magmom_in"])
        atoms.calc = SinglePointCalculator(
            atoms, energy=-380.0, forces=rng.normal(size=(64, 3)), stress=rng.normal(scale=0.01, size=6)
        )
        out.append(atoms)
    return out


def load(folder: Path, batched: bool) -> tuple[int, float]:
    """Structures read, and seconds; the sum touches every number."""
    started = time.perf_counter()
    graphs = GraphCache(folder)
    order = torch.randperm(len(graphs)).tolist()
    size = BATCH if batched else 1
    total = 0.0
    for first in range(0, len(order), size):
        g = collate([graphs[k] for k in order[first : first + size]])
        total += float(g.shift.sum() + g.receiver.sum() + g.sender.sum() + g.positions.sum() + g.forces.sum())
    assert np.isfinite(total)
    return len(graphs), time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, default=2000)
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; default: the temporary folder")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frames = structures(arguments.structures)
    rows: list[tuple[str, int, float]] = []
    started = time.perf_counter()
    key = cache_key(fingerprint(frames), {"cutoff": arguments.cutoff})
    rows.append(("key (hash of the content)", len(frames), time.perf_counter() - started))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        started = time.perf_counter()
        cached(folder, key, lambda: (to_graph(a, ["O", "Ni"], arguments.cutoff) for a in frames))
        rows.append(("build and write", len(frames), time.perf_counter() - started))
        place = Path(folder) / key
        for name, batched in (("read, one by one", False), ("load, in batches of 32", True)):
            rows += [(name, *load(place, batched)) for _ in range(arguments.repeats)]
        size = sum(p.stat().st_size for p in place.iterdir()) / len(frames)
        pairs = GraphCache(place).n_pairs(0)
    print(f"{len(frames)} structures of 64 atoms, {pairs} pairs, {size / 1e3:.0f} kB each, one thread\n")
    print("| step | structures/s: median | slowest | fastest | runs |\n| --- | --- | --- | --- | --- |")
    for name in dict.fromkeys(r[0] for r in rows):
        rates = sorted(n / s for label, n, s in rows if label == name)
        print(f"| {name} | {np.median(rates):,.0f} | {rates[0]:,.0f} | {rates[-1]:,.0f} | {len(rates)} |")


if __name__ == "__main__":
    main()
