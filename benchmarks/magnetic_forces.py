"""How well forces on atoms and on moments are learnt from few constrained calculations. Prints a Markdown table.

python benchmarks/magnetic_forces.py FILE.extxyz                 # three seeds, 30 epochs, one thread
python benchmarks/magnetic_forces.py FILE.extxyz --seeds 1 --epochs 100

FILE has frames with `magmom_in`, `magnetic_forces` (eV/muB), forces and energies of held moments. One frame in five is
kept for testing, chosen at random per seed. "Size" is the mean absolute label (energies: around their mean), what a
model that knows nothing would miss by.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms

from spinmultinet import load_model
from spinmultinet.evaluate import evaluate
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.levels import LevelWarning
from spinmultinet.train import train

MODEL = ModelOptions(layers=2, channels=8, l_max=2, cutoff=4.0, radial_hidden=[16], moments=False)
TASKS = {"energy": "meV/atom", "forces": "meV/Angstrom", "magnetic_forces": "meV/muB"}


def one(frames: list[Atoms], seed: int, options: TrainOptions) -> tuple[dict[str, Any], dict[str, float], float]:
    """Errors on the frames kept, mean absolute labels there, and seconds of training."""
    order = np.random.default_rng(seed).permutation(len(frames))
    kept = len(frames) // 5
    test, rest = [frames[k] for k in order[:kept]], [frames[k] for k in order[kept:]]
    with tempfile.TemporaryDirectory() as folder:
        done = train(options, MODEL, rest, [], Path(folder), seed)
        errors = evaluate(load_model(done.checkpoint), test)["overall"]
    energies = np.array([a.get_potential_energy() / len(a) for a in test])
    magnetic = [a.arrays["magnetic_forces"][np.abs(a.arrays["magmom_in"]).reshape(len(a), -1).any(1)] for a in test]
    sizes = {
        "energy": 1e3 * float(np.abs(energies - energies.mean()).mean()),
        "forces": 1e3 * float(np.mean([np.abs(a.get_forces()).mean() for a in test])),
        "magnetic_forces": 1e3 * float(np.mean([np.abs(m).mean() for m in magnetic])),
    }
    return errors, sizes, done.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", LevelWarning)
    frames = ase.io.read(arguments.file, ":")
    for atoms in frames:
        atoms.info["moment_role"] = "constraint"
    options = TrainOptions(epochs=arguments.epochs, batch_structures=4, learning_rate=0.01, ema_decay=0.95)
    runs = [one(frames, seed, options) for seed in range(arguments.seeds)]
    seconds = ", ".join(f"{s:.0f}" for _, _, s in runs)
    print(f"{len(frames)} frames of {len(frames[0])} atoms, {arguments.epochs} epochs; {seconds} s, one thread\n")
    print("| task | unit | size of labels | MAE, mean over seeds | lowest | highest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for task, unit in TASKS.items():
        found = [errors[task]["mae"] for errors, _, _ in runs]
        size = np.mean([sizes[task] for _, sizes, _ in runs])
        print(f"| {task} | {unit} | {size:.3g} | {np.mean(found):.3g} | {min(found):.3g} | {max(found):.3g} |")


if __name__ == "__main__":
    main()
