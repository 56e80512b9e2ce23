"""Candidates per second of every source of exploration, with a committee of two tiny models on spin-lattice labels.

    python benchmarks/exploration.py

One core. Seconds include reading the checkpoints and the check of the candidates; evaluations are counted where the
committee is asked (a batch of n structures, or of n spin states of one, counts n).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from datastore import open_store
from datastore.schema import content_hash
from datastore.snapshot import make_snapshot
from datastore.splits import SplitOptions
from spinmultinet.calculator import SpinMultiNetCalculator
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.train import train
from workflows.campaign import CampaignOptions
from workflows.engines import get_engine
from workflows.exploration import Task, explore, sources
from workflows.jobs.dataset import split_atoms
from workflows.structures.generate import generate

OPTIONS = CampaignOptions(
    name="benchmark",
    engine="spin-lattice",
    structures={
        "parents": [{"species": "Ni", "cell": "all8"}, {"species": {"Mn": 0.5, "Ni": 0.5}, "cell": "all8"}],
        "orderings": ["FM", "AFM-I", "AFM-II"],
        "deformations": [
            {"kind": "none"},
            {"kind": "shear", "count": 3, "amplitude": [-0.04, 0.04], "displacement": 0.05},
            {"kind": "volume", "count": 3, "amplitude": [0.94, 1.06], "displacement": 0.05},
        ],
    },
    active_learning={
        "explore": {
            "relaxations": {"steps": 25},
            "dynamics": {"temperatures": [600.0], "steps": 60, "flips": 1},
            "spin_moves": {"count": 4},
            "decorations": {"count": 4, "compositions": True},
        }
    },
)


class Counted(SpinMultiNetCalculator):
    """The committee, with a count of what it was asked for."""

    asked = 0

    def calculate(self, *args, **kwargs):
        """One more."""
        self.asked += 1
        super().calculate(*args, **kwargs)

    def calculate_many(self, frames):
        """One for each frame."""
        self.asked += len(frames)
        return super().calculate_many(frames)

    def states(self, atoms, moments):
        """One for each state."""
        self.asked += len(moments)
        return super().states(atoms, moments)


def main() -> None:
    """Train a small committee, ask every source once, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        members, snapshot = trained(folder, arguments.epochs)
        print("source        candidates  dropped  evaluations  seconds  candidates/s")
        for source in sources(OPTIONS):
            task = Task(OPTIONS, 1, source, members, content_hash(members), snapshot, folder / source)
            started = time.perf_counter()
            task.calculator = calculator = Counted(members, "guess")
            found, dropped = explore(task)
            seconds = time.perf_counter() - started
            row = f"{source:12s}  {len(found):10d}  {sum(dropped.values()):7d}  {calculator.asked:11d}"
            print(f"{row}  {seconds:7.2f}  {len(found) / seconds:12.1f}", flush=True)


def trained(folder: Path, epochs: int) -> tuple[list[str], str]:
    """Checkpoints of two members, and the folder of their snapshot."""
    engine = get_engine("spin-lattice")
    with open_store(f"local:{folder / 'store'}") as store:
        for config in generate(OPTIONS.structures, campaign=OPTIONS.name):
            store.put_point(engine.label(config))
        snapshot = make_snapshot(store, folder / "snapshot", options=SplitOptions(min_test=6, min_val=3))
    model = ModelOptions(layers=2, channels=16, l_max=2, cutoff=3.5, n_bessel=5)
    training = TrainOptions(epochs=epochs, batch_structures=6, stress_weight=1.0)
    data = [split_atoms(snapshot, split) for split in ("train", "val")]
    results = [train(training, model, *data, folder / f"member_{seed}", seed) for seed in range(2)]
    return [str(result.checkpoint) for result in results], str(snapshot.folder)


if __name__ == "__main__":
    main()
