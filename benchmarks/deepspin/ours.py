"""Trains one SpinMultiNet and predicts: `python ours.py FOLDER`, with the files of theirs.py.

The settings are the sections `model` and `training`; the number of epochs is what fits into the processor seconds.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from spinmultinet import load_model
from spinmultinet.evaluate import predict
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.levels import LevelWarning
from spinmultinet.train import TrainResult, train

TIMED = 2  # epochs


def structures(frames: dict[str, np.ndarray]) -> list[Atoms]:
    """ASE Atoms with labels, of held moments."""
    out = []
    for k, energy in enumerate(frames["energy"]):
        atoms = Atoms(frames["numbers"], frames["positions"][k], cell=frames["cell"][k], pbc=True)
        atoms.info["moment_role"] = "constraint"
        atoms.set_array("magmom_in", frames["moments"][k])
        atoms.set_array("magnetic_forces", frames["magnetic_forces"][k])
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=frames["forces"][k])
        out.append(atoms)
    return out


def main() -> None:
    """One training and its predictions."""
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    torch.set_num_threads(job["threads"])
    warnings.simplefilter("ignore", LevelWarning)
    frames, test = (structures(dict(np.load(folder / f"{name}.npz"))) for name in ("train", "test"))
    model = ModelOptions(**job["settings"]["model"], moments=False)

    def fitted(name: str, epochs: int) -> tuple[TrainResult, dict[str, float]]:
        options = TrainOptions(**job["settings"]["training"], epochs=epochs, threads=job["threads"])
        processor, wall = time.process_time(), time.perf_counter()
        done = train(options, model, frames, [], folder / name, job["seed"])
        return done, {"processor_s": time.process_time() - processor, "wall_s": time.perf_counter() - wall}

    fitted("warm_up", 1)
    epoch = fitted("timed", TIMED)[1]["processor_s"] / TIMED
    epochs = max(1, int(job["seconds"] / epoch))
    done, used = fitted(f"training_{epochs}", epochs)
    found = predict(load_model(done.checkpoint), test)
    np.savez(folder / "predicted.npz", **{k: [f[k] for f in found] for k in ("energy", "forces", "magnetic_forces")})
    steps = epochs * -(-len(frames) // job["settings"]["training"]["batch_structures"])
    result: dict[str, Any] = {"steps": steps, "parameters": done.n_parameters} | used
    result["version"] = f"spinmultinet-workflows {version('spinmultinet-workflows')}, torch {torch.__version__}"
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
