"""Labelled data of the artificial Hamiltonians at the sizes of the paper, as extended XYZ for ``spinmultinet train``.

python benchmarks/artificial_hamiltonians.py data/artificial                        # 10,000 + 2416 + 3611 labels
python benchmarks/artificial_hamiltonians.py data/small --count 200 --hamiltonian perovskite-high-order

Writes FOLDER/HAMILTONIAN/{train,val,test}.extxyz with 80, 10 and 10 % of the labels (samples are independent of each
other, so consecutive ones are split), and prints a Markdown table: CPU time per label, spread of the energies, rms of
forces and magnetic forces. Stop it at any time; the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from datastore.atoms import read_points, write_points
from datastore.schema import SpinConfig, SpinPoint
from workflows.cli.output import share_bar, whole_file
from workflows.engines import Engine, get_engine
from workflows.engines.spin_lattice.samples import PAPER_COUNTS, delafossite_samples, perovskite_samples

BLOCK = 100
"""Labels that are written at once, and lost at most when the run is stopped."""


def samples(name: str, count: int, seed: int, start: int) -> Iterator[SpinConfig]:
    """Configurations ``start`` to ``count`` - 1 of the protocol of a Hamiltonian."""
    make = delafossite_samples if name == "delafossite" else perovskite_samples
    return make(count, seed, start=start)


def ranges(count: int) -> dict[str, range]:
    """Indices of the samples in each split."""
    train, val = round(0.8 * count), round(0.9 * count)
    return {"train": range(train), "val": range(train, val), "test": range(val, count)}


def block(engine: Engine, configs: Iterator[SpinConfig], path: Path, split: str) -> None:
    """Label and write one block, all or nothing."""
    with whole_file(path) as temporary:
        write_points(temporary, [engine.label(config) for config in configs], split)


def write_split(engine: Engine, name: str, seed: int, chosen: range, path: Path, tell: Callable[[int], None]) -> None:
    """Write one file of labels from blocks; blocks that are there already are kept."""
    if path.exists():
        tell(chosen.stop)
        return
    parts = []
    for start in range(chosen.start, chosen.stop, BLOCK):
        stop = min(start + BLOCK, chosen.stop)
        parts.append(path.with_name(f"{path.stem}-{start:06d}.part"))
        if not parts[-1].exists():
            block(engine, samples(name, stop, seed, start), parts[-1], path.stem)
        tell(stop)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file)
    for part in parts:
        part.unlink()


def generate(folder: Path, name: str, count: int, seed: int) -> None:
    """All labels of one Hamiltonian. Exits where ``folder`` holds those of another run."""
    engine = get_engine({"type": "spin-lattice", "hamiltonian": name})
    settings = {"level_of_theory": engine.level_of_theory(), "count": count, "seed": seed}
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "settings.json"
    if record.exists() and json.loads(record.read_text()) != settings:
        sys.exit(f"{folder} holds labels made with {record.read_text()}; give another folder")
    with whole_file(record) as temporary:
        temporary.write_text(json.dumps(settings))
    with share_bar(name) as show:
        for split, chosen in ranges(count).items():
            if chosen:
                write_split(engine, name, seed, chosen, folder / f"{split}.extxyz", lambda n: show(n / count))


def row(folder: Path, name: str, seconds: float) -> str:
    """A line of the table, from the training labels (the first 1000, so that reading stays short)."""
    points = list(islice(read_points(folder / "train.extxyz"), 1000))
    sites = int(np.sum(np.linalg.norm(points[0].magmoms_out, axis=1) > 0.5))
    energies = np.array([point.energy for point in points]) / sites * 1e3
    cpu = np.median([point.timings["cpu"] for point in points]) * 1e3
    rejected = sum(point.verdict == "rejected" for point in points)
    cells = [name, len(points[0].species), sites, f"{cpu:.1f}", f"{energies.std():.3g}", _rms(points, "forces")]
    return f"| {' | '.join(map(str, [*cells, _rms(points, 'magnetic_forces'), rejected, f'{seconds:.0f}']))} |"


def _rms(points: list[SpinPoint], field: str) -> str:
    return f"{np.sqrt(np.mean([getattr(point, field) ** 2 for point in points])):.3g}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hamiltonian", nargs="+", choices=PAPER_COUNTS, default=list(PAPER_COUNTS))
    parser.add_argument("--count", type=int, help="labels of each; default: as in the paper")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.count is not None and options.count < 2:
        parser.error("--count has to be at least 2")
    lines = []
    for name in options.hamiltonian:
        start = time.perf_counter()
        generate(options.folder / name, name, options.count or PAPER_COUNTS[name], options.seed)
        lines.append(row(options.folder / name, name, time.perf_counter() - start))
    print("| hamiltonian | atoms | spins | CPU ms/label | E std (meV/spin) | force rms | magnetic rms | rejected | s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    print("\n".join(lines))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
