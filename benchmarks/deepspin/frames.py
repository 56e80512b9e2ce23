"""Labelled frames and predictions as plain arrays, which both environments read, and their errors."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np

LABELS = {"energy": "meV/atom", "forces": "meV/Angstrom", "magnetic_forces": "meV/muB"}
Arrays = dict[str, np.ndarray]


def read(file: Path) -> Arrays:
    """All frames of an extended XYZ file with held moments, side by side.

    numbers [N]; of each frame: cell [3, 3] and positions [N, 3] (Angstrom), moments [N, 3] (muB), energy (eV), forces
    [N, 3] (eV/Angstrom), magnetic_forces [N, 3] (-dE/dm, eV/muB). Ends the program where frames differ in their atoms.
    """
    frames = ase.io.read(file, ":")
    if any((a.numbers != frames[0].numbers).any() for a in frames):
        raise SystemExit(f"{file}: all frames must have the same atoms in the same order, as DeePMD-kit wants them")
    missing = {"magmom_in", "magnetic_forces"} - set(frames[0].arrays)
    if missing:
        raise SystemExit(f"{file}: the frames have no {' and no '.join(sorted(missing))}")
    return {
        "numbers": frames[0].numbers,
        "cell": np.array([a.cell.array for a in frames]),
        "positions": np.array([a.positions for a in frames]),
        "moments": np.array([a.arrays["magmom_in"] for a in frames]),
        "energy": np.array([a.get_potential_energy() for a in frames]),
        "forces": np.array([a.get_forces() for a in frames]),
        "magnetic_forces": np.array([a.arrays["magnetic_forces"] for a in frames]),
    }


def chosen(frames: Arrays, which: np.ndarray) -> Arrays:
    """Some of the frames."""
    return {name: values if name == "numbers" else values[which] for name, values in frames.items()}


def split(count: int, seed: int, kept: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on, and the `kept` ones to test on: at random."""
    order = np.random.default_rng(seed).permutation(count)
    return order[kept:], order[:kept]


def errors(predicted: Arrays, labelled: Arrays) -> dict[str, dict[str, float]]:
    """MAE and RMSE of each task, in the units of LABELS; "size" is the MAE of a model that knows nothing.

    Energies per atom (their size: around their mean); forces per component; magnetic forces per component on the sites
    that have a moment.
    """
    atoms = len(labelled["numbers"])
    magnetic = (labelled["moments"] != 0).any(-1)
    out = {}
    for task in LABELS:
        label, found = labelled[task], predicted[task]
        if task == "magnetic_forces":
            label, found = label[magnetic], found[magnetic]
        scale = 1e3 / atoms if task == "energy" else 1e3
        wrong, size = scale * (found - label), scale * (label - label.mean() if task == "energy" else label)
        out[task] = {
            "mae": float(np.abs(wrong).mean()),
            "rmse": float(np.sqrt((wrong**2).mean())),
            "size": float(np.abs(size).mean()),
        }
    return out
