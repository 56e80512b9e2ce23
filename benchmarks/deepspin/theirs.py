"""Trains one DeepSPIN model of DeePMD-kit and predicts. Runs in the environment that has it: `python theirs.py FOLDER`.

FOLDER has `train.npz`, `test.npz` (see frames.py) and `job.json`: settings (an input of `dp --pt train` without data,
seeds and spin), seconds (of processor time, what the training may take), seed, threads. Writes `predicted.npz` and
`result.json`. The number of steps is what fits, by a short training before; schedules that decay over the training get
their length from it. The clock runs over the loop of training alone, not over imports, statistics or the prediction.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from deepmd import __version__
from deepmd.infer import DeepPot
from deepmd.pt.entrypoints.main import get_trainer
from deepmd.utils.argcheck import normalize
from deepmd.utils.compat import update_deepmd_input

VIRTUAL_SCALE = 0.3140  # Angstrom/muB, of DeePMD-kit's example of NiO
DECAYS = 20  # of the learning rate in a training, as in that example: 100,000 steps, one decay each 5,000
WARM_UP, TIMED = 5, 30  # steps


def write_system(frames: dict[str, np.ndarray], folder: Path) -> dict[str, Any]:
    """The data in DeePMD-kit's format; what a model has to know of it: type_map and spin."""
    names = {"cell": "box", "positions": "coord", "moments": "spin"}
    names |= {"energy": "energy", "forces": "force", "magnetic_forces": "force_mag"}
    species = sorted(set(frames["numbers"].tolist()), reverse=True)
    (folder / "set.000").mkdir(parents=True, exist_ok=True)
    (folder / "type.raw").write_text("\n".join(str(species.index(z)) for z in frames["numbers"]))
    for ours, theirs in names.items():
        np.save(folder / "set.000" / f"{theirs}.npy", frames[ours].reshape(len(frames["energy"]), -1))
    moving = (frames["moments"] != 0).any((0, 2))
    magnetic = [bool(moving[frames["numbers"] == z].any()) for z in species]
    scales = [VIRTUAL_SCALE] * sum(magnetic)
    return {
        "type_map": [chemical_symbols[z] for z in species],
        "spin": {"use_spin": magnetic, "virtual_scale": scales},
    }


def config(job: dict[str, Any], model: dict[str, Any], system: Path, steps: int) -> dict[str, Any]:
    """Complete input of a training of so many steps."""
    given = json.loads(json.dumps(job["settings"]))
    given["model"]["type_map"] = model["type_map"]
    given["model"]["spin"] = given["model"].get("spin", {}) | model["spin"]
    for part in ("descriptor", "fitting_net"):
        given["model"][part]["seed"] = job["seed"] + 1
    rate = given["learning_rate"]
    if rate["type"] == "exp":
        rate["decay_steps"] = max(1, steps // DECAYS)
    batch = given["training"].pop("batch_size")
    given["training"] |= {
        "training_data": {"systems": [str(system)], "batch_size": batch},
        "numb_steps": steps,
        "seed": job["seed"] + 1,
        "disp_freq": 10**9,
        "save_freq": 10**9,
    }
    checked: dict[str, Any] = normalize(update_deepmd_input(given, warning=False))
    return checked


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """Processor and wall seconds."""
    processor, wall = time.process_time(), time.perf_counter()
    work()
    return {"processor_s": time.process_time() - processor, "wall_s": time.perf_counter() - wall}


def magnetic_force_and_slope(
    predict: Callable[..., Any], cell: np.ndarray, positions: np.ndarray, moments: np.ndarray, step: float = 0.02
) -> list[float]:
    """What the model calls magnetic force of the first site, and -dE/dm there by differences: both in eV/muB."""
    turn = np.zeros_like(moments)
    turn[0] = step * moments[0][[1, 2, 0]] / np.linalg.norm(moments[0])
    above, below = (predict(cell, positions, moments + sign * turn)[0] for sign in (1, -1))
    along = (predict(cell, positions, moments)[2][0] * turn[0]).sum() / step
    return [float(along), (below - above) / (2 * step)]


def main() -> None:
    """One training and its predictions."""
    folder = Path(sys.argv[1]).resolve()
    os.chdir(folder)  # DeePMD-kit writes its checkpoints where it runs
    job = json.loads((folder / "job.json").read_text())
    torch.set_num_threads(job["threads"])
    logging.disable(logging.INFO)
    train, test = (dict(np.load(folder / f"{name}.npz")) for name in ("train", "test"))
    model = write_system(train, folder / "system")

    def trainer(steps: int) -> Any:
        return get_trainer(config(job, model, folder / "system", steps))

    timed(trainer(WARM_UP).run)
    step = timed(trainer(TIMED).run)["processor_s"] / TIMED
    steps = max(1, int(job["seconds"] / step))
    final = trainer(steps)
    used = timed(final.run)
    network = DeepPot(f"model.ckpt-{steps}.pt", auto_batch_size=False)
    types = [model["type_map"].index(chemical_symbols[z]) for z in test["numbers"]]

    def predict(cell: np.ndarray, positions: np.ndarray, moments: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        energy, forces, _, magnetic, *_ = network.eval(positions[None], cell[None], types, spin=moments[None])
        return energy.item(), forces[0], magnetic[0]

    states = list(zip(test["cell"], test["positions"], test["moments"], strict=True))
    found = [predict(*state) for state in states]
    names = ("energy", "forces", "magnetic_forces")
    np.savez(folder / "predicted.npz", **dict(zip(names, map(np.array, zip(*found, strict=True)), strict=True)))
    result = {"steps": steps, "version": f"deepmd-kit {__version__}, torch {torch.__version__}"} | used
    result["parameters"] = sum(p.numel() for p in final.wrapper.parameters() if p.requires_grad)
    result["magnetic_force_and_slope"] = magnetic_force_and_slope(predict, *states[0])
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
