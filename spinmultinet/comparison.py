"""Predictions against labels: errors of one structure per task, and their summaries by ordering, deformation, element.

Errors are predicted minus label. A *magnetic site* is one with an input moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from . import keys
from .data import input_moments, labels

Row = dict[str, np.ndarray]
# What turns eV, eV/Angstrom, eV/Angstrom^3, muB and eV/muB into the units of the report.
REPORT_UNITS = {
    "energy": "meV/atom",
    "forces": "meV/Angstrom",
    "stress": "meV/Angstrom^3",
    "moments": "muB",
    "moments_all": "muB",
    "magnetic_forces": "meV/muB",
}
FACTORS = {"energy": 1e3, "forces": 1e3, "stress": 1e3, "moments": 1.0, "moments_all": 1.0, "magnetic_forces": 1e3}
NO_MOMENT = 0.1
"""muB. A label shorter than this has no sign that a prediction could get right."""
_ON_MAGNETIC_SITES = ("moments", "magnetic_forces", "agrees", "label_length", "predicted_length")


def compare(atoms: Atoms, p: dict[str, Any], where: str) -> Row:
    """Errors [n, ...] of one structure per task in eV, Angstrom, muB; tasks without prediction or label are left out.

    A prediction that is not finite where the label is has an infinite error: it must not vanish from a mean. A stress
    that is NaN throughout counts as not predicted (see `evaluate.predict`).
    Beside them: `magnetic` [N]; on magnetic sites `agrees` (predicted and calculated moment point the same way),
    `label_length` and `predicted_length` (muB).
    """
    found = labels(atoms, axes_of(p), where)
    magnetic = np.linalg.norm(input_moments(atoms, where, required=False).reshape(len(atoms), -1), axis=1) > 0
    row = {
        "energy": errors_of(p["energy"], found["energy"]) / len(atoms),
        "forces": errors_of(p["forces"], found["forces"]),
        "magnetic": magnetic,
    }
    if not np.all(np.isnan(p["stress"])):
        row["stress"] = errors_of(p["stress"], found["stress"])
    if keys.MAGNETIC_FORCES in p:
        predicted = np.asarray(p[keys.MAGNETIC_FORCES]).reshape(len(atoms), -1)
        row["magnetic_forces"] = errors_of(predicted, found["magnetic_forces"])[magnetic]
    if "magmoms" in p:
        row |= _compare_moments(np.asarray(p["magmoms"]).reshape(len(atoms), -1), found["moments_out"], magnetic)
    return {k: v for k, v in row.items() if v.dtype == bool or (v.size and not np.any(np.isnan(v)))}


def errors_of(predicted: Any, label: np.ndarray) -> np.ndarray:
    """Predicted minus label, in the shape of labels: infinite where a prediction is not finite, NaN without a label."""
    values = np.where(np.isfinite(predicted), predicted, np.inf)
    return np.where(np.isfinite(label), values - np.where(np.isfinite(label), label, 0.0), np.nan)


def _compare_moments(predicted: np.ndarray, label: np.ndarray, magnetic: np.ndarray) -> Row:
    errors = errors_of(predicted, label)
    row = {"moments_all": errors, "moments": errors[magnetic]}
    if np.all(np.isfinite(label)):
        known = np.where(np.isfinite(predicted), predicted, 0.0)  # what is no number has no sign and no length
        row["agrees"] = ((known * label).sum(1) > 0)[magnetic]
        row["label_length"] = np.linalg.norm(label, axis=1)[magnetic]
        row["predicted_length"] = np.linalg.norm(known, axis=1)[magnetic]
    return row


def axes_of(p: dict[str, Any]) -> int:
    """Spin axes of the labels to compare with: those of predictions, else three, which takes either kind."""
    predicted = [p[k] for k in ("magmoms", keys.MAGNETIC_FORCES) if k in p]
    return 1 if predicted and np.ndim(predicted[0]) == 1 else 3


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """MAE, RMSE and number of values per task, in REPORT_UNITS; absent tasks are left out."""
    scores = {task: _scores((r[task] for r in rows if task in r), factor) for task, factor in FACTORS.items()}
    return {task: s for task, s in scores.items() if s is not None}


def _scores(values: Iterable[np.ndarray], factor: float) -> dict[str, float] | None:
    parts = [v.ravel() for v in values]
    if not parts:
        return None
    e = np.concatenate(parts) * factor
    return {"mae": float(np.abs(e).mean()), "rmse": float(np.sqrt((e**2).mean())), "n": int(e.size)}


def right_sign(rows: Sequence[Row]) -> float | None:
    """Fraction of magnetic sites whose moment has the sign (direction within 90 degrees) of the label; None for none.

    Labels below NO_MOMENT have no sign and do not count.
    """
    sites = [r["agrees"][r["label_length"] >= NO_MOMENT] for r in rows if "agrees" in r and "label_length" in r]
    joined = np.concatenate(sites) if sites else np.array([])
    return float(joined.mean()) if len(joined) else None


def grouped(rows: Sequence[Row], frames: Sequence[Atoms], key: str) -> dict[str, Any]:
    """`summary` and `right_sign` of the structures that share a value of an info key."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for atoms, row in zip(frames, rows, strict=True):
        groups[str(atoms.info.get(key, "unknown"))].append(row)
    return {name: {"n_structures": len(members), **_with_sign(members)} for name, members in sorted(groups.items())}


def per_element(rows: Sequence[Row], frames: Sequence[Atoms]) -> dict[str, Any]:
    """`summary` and `right_sign` of the sites of each element: forces, moments, magnetic forces."""
    symbols = [np.array(a.get_chemical_symbols()) for a in frames]
    return {
        element: _with_sign([_of_element(r, s == element) for r, s in zip(rows, symbols, strict=True)])
        for element in sorted({s for names in symbols for s in names.tolist()})
    }


def _of_element(row: Row, chosen: np.ndarray) -> Row:
    """The row of the chosen sites [N] alone; energy and stress belong to no site."""
    on_magnetic = chosen[row["magnetic"]]
    masks = {"forces": chosen, "moments_all": chosen} | dict.fromkeys(_ON_MAGNETIC_SITES, on_magnetic)
    return {k: row[k][mask] for k, mask in masks.items() if k in row and mask.any()}


def _with_sign(rows: Sequence[Row]) -> dict[str, Any]:
    sign = right_sign(rows)
    return summary(rows) | ({} if sign is None else {"right_sign": sign})
