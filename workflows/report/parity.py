"""What parity plots show: calculated and predicted values per ordering, from the result of an evaluation."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from pymatgen.core import Composition

from datastore.schema import FloatArray

PARITY_UNITS = {
    "energy": "meV/atom",
    "forces": "eV/Å",
    "stress": "eV/Å³",
    "moments": "μB",
    "magnetic_forces": "eV/μB",
}


def parity_data(result: dict[str, Any], task: str) -> dict[str, FloatArray]:
    """Per ordering (2, n) arrays of calculated and predicted values in PARITY_UNITS.

    Energies are relative to the lowest calculated one of their composition. Moments: magnetic sites only, along the
    calculated moment, so that a flipped one is negative and a good one does not hide in the distance between up and
    down. Magnetic forces: magnetic sites.
    """
    parts: dict[str, list[FloatArray]] = {}
    lowest = _lowest_energies(result) if task == "energy" else {}
    for item in result.get("structures", []):
        if task in item:
            label, predicted = (np.asarray(item[task][key], dtype=np.float64) for key in ("label", "predicted"))
            if task in ("moments", "magnetic_forces"):
                magnetic = np.asarray(item["magnetic"], dtype=bool)
                label, predicted = label[magnetic], predicted[magnetic]
            if not len(label.ravel()):  # a structure without magnetic sites
                continue
            if task == "moments":
                label, predicted = along(label, predicted)
            pair = np.stack([label.ravel(), predicted.ravel()])
            if task == "energy":
                pair = 1e3 * (pair - lowest[_composition(item)])
            parts.setdefault(item.get("ordering", "unknown"), []).append(pair)
    return {ordering: np.concatenate(pairs, axis=1) for ordering, pairs in sorted(parts.items())}


def along(label: FloatArray, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lengths of the calculated moments and the predicted ones projected on them; (n,) or (n, 3) -> (n,), muB."""
    label, predicted = label.reshape(len(label), -1), predicted.reshape(len(predicted), -1)
    length = np.linalg.norm(label, axis=1)
    return length, (label * predicted).sum(axis=1) / np.maximum(length, 1e-12)


def ends(values: FloatArray) -> tuple[float, float]:
    """Common ends of both axes, a little beyond the values."""
    low, high = float(values.min()), float(values.max())
    margin = 0.07 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _lowest_energies(result: dict[str, Any]) -> dict[str, float]:
    """Lowest calculated energy per composition, eV/atom: different materials lie electronvolts apart."""
    lowest: dict[str, float] = {}
    for item in result.get("structures", []):
        if "energy" in item:
            key, label = _composition(item), float(item["energy"]["label"])
            lowest[key] = min(label, lowest.get(key, label))
    return lowest


def _composition(item: dict[str, Any]) -> str:
    return str(Composition(Counter(item.get("symbols", []))).reduced_formula)
