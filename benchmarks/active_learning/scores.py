"""Errors of a model on the tests: energy, forces, moments, and differences FM - AFM of equal geometry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms

from spinmultinet.evaluate import evaluate, predict
from spinmultinet.model import SpinMultiNet

TASKS = ("energy", "forces", "moments")
UNITS = {"energy": "meV/atom", "forces": "meV/Angstrom", "moments": "muB", "differences": "meV/atom"}


def errors(model: SpinMultiNet, tests: Mapping[str, Sequence[Atoms]]) -> dict[str, float]:
    """MAE of each task on each test, such as ``seen/energy`` (meV/atom), and ``seen/differences`` (meV/atom)."""
    found = {}
    for name, frames in tests.items():
        overall = evaluate(model, frames)["overall"]
        found |= {f"{name}/{task}": float(overall[task]["mae"]) for task in TASKS}
    energies = [p["energy"] for p in predict(model, tests["seen"])]
    found["seen/differences"] = difference_error(tests["seen"], energies)
    return {key: float(f"{value:.5g}") for key, value in found.items()}


def difference_error(frames: Sequence[Atoms], energies: Sequence[float]) -> float:
    """MAE (meV/atom) of E(FM) - E(other) between structures of one pair_id; ``energies``: predicted, eV."""
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for atoms, energy in zip(frames, energies, strict=True):
        error = (energy - atoms.calc.results["free_energy"]) / len(atoms)
        groups[str(atoms.info["pair_id"])][str(atoms.info["ordering"])] = error
    found = [g["FM"] - error for g in groups.values() if "FM" in g for name, error in g.items() if name != "FM"]
    return 1e3 * float(np.mean(np.abs(found)))
