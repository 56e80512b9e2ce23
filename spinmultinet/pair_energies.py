"""Energy differences between orderings of equal geometry, calculated and predicted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from . import keys
from .comparison import errors_of
from .data import labels, name_of


def pair_energies(frames: Sequence[Atoms], energies: Sequence[float]) -> dict[str, Any] | None:
    """Energy differences (meV/atom) within groups of one pair_id, each structure against the first of its group.

    `energies`: predicted total energies (eV). MAE and RMSE of the differences, the fraction with the right sign, the
    same `per_orderings` (such as 'FM - AFM-II') with mean differences, and all `rows`. None if there is no pair.
    Where an energy is not finite the error is infinite.
    """
    rows = [row for members in _groups(frames) for row in _differences(frames, energies, members)]
    if not rows:
        return None
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        kinds[" - ".join(row["orderings"])].append(row)
    means = {k: {x: float(np.mean([r[x] for r in v])) for x in ("label", "predicted")} for k, v in kinds.items()}
    per_orderings = {name: _scores(found) | means[name] for name, found in sorted(kinds.items())}
    return {"unit": "meV/atom", **_scores(rows), "per_orderings": per_orderings, "rows": rows}


def _groups(frames: Sequence[Atoms]) -> list[list[int]]:
    """Indices of the labelled structures of each pair, by ordering."""
    groups: dict[str, list[int]] = defaultdict(list)
    for k, atoms in enumerate(frames):
        if keys.PAIR_ID in atoms.info and np.isfinite(_label(frames, k)):
            groups[str(atoms.info[keys.PAIR_ID])].append(k)
    return [sorted(members, key=lambda k: (_ordering(frames[k]), k)) for _, members in sorted(groups.items())]


def _differences(frames: Sequence[Atoms], energies: Sequence[float], members: list[int]) -> list[dict[str, Any]]:
    first, *others = members
    return [
        {
            "pair_id": str(frames[k].info[keys.PAIR_ID]),
            "orderings": [_ordering(frames[k]), _ordering(frames[first])],
            "label": 1e3 * (_label(frames, k) - _label(frames, first)),
            "predicted": 1e3 * (energies[k] / len(frames[k]) - energies[first] / len(frames[first])),
        }
        for k in others
    ]


def _ordering(atoms: Atoms) -> str:
    return str(atoms.info.get(keys.ORDERING, "unknown"))


def _label(frames: Sequence[Atoms], k: int) -> float:
    """Calculated energy, eV/atom."""
    return float(labels(frames[k], 3, name_of(frames[k], k))["energy"][0]) / len(frames[k])


def _scores(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    error = errors_of([r["predicted"] for r in rows], np.array([r["label"] for r in rows]))
    order = np.mean([r["predicted"] * r["label"] > 0 for r in rows])
    return {
        "n": len(rows),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "right_order": float(order),
    }
