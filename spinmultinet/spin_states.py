"""Spin states: the branches that lengths of converged moments fall into, and how often a model finds the right one.

A spin state of an element is an interval of |m| of the labels on magnetic sites; two intervals are apart where no label
lies within GAP. Low-spin and high-spin Co, or a collapsed and a full moment, are told apart so without a table of
ions. Sets with a few labels may show gaps by chance, so boundaries can be given instead, such as the lower bounds of
the high-spin windows in `datastore.quality`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from .comparison import NO_MOMENT, Row
from .data import input_moments, name_of
from .errors import SpinMultiNetError

GAP = 0.5
"""muB. Lengths of one state differ by less between neighbours in size; the states of Co are 1.0 muB apart."""


def boundaries_of(lengths: np.ndarray, gap: float = GAP) -> list[float]:
    """Middles (muB) of the gaps in lengths [n] (muB) that are wider than `gap`; none for one branch."""
    ordered = np.sort(lengths)
    steps = np.diff(ordered)
    return [float(x) for x in ((ordered[1:] + ordered[:-1]) / 2)[steps > gap]]


def spin_states(
    rows: Sequence[Row], frames: Sequence[Atoms], boundaries: Mapping[str, Sequence[float]] | None = None
) -> dict[str, Any] | None:
    """Fraction of magnetic sites with the right spin state: right sign, and |m| on the right side of the boundaries.

    Rows as `comparison.compare` gives them. `boundaries` (element -> lengths in muB that part its states) default to
    those in the labels. Elements with one state do not count: there is nothing to get wrong; None if there are no
    others. `commonest` is what a model scores that always names the commonest state, `states` the fraction right of
    each, which tells more where one is rare. Labels below NO_MOMENT have no sign, only a state. Raises
    SpinMultiNetError for boundaries that are no positive numbers.
    """
    _check(boundaries or {})
    sites = _sites(rows, frames)
    if boundaries is None:
        boundaries = {element: boundaries_of(found["label_length"]) for element, found in sites.items()}
    used = {e: sorted(boundaries[e]) for e in sites if boundaries.get(e)}
    if not used:
        return None
    per_element = {element: _element(sites[element], limits) for element, limits in used.items()}
    n = sum(p["n"] for p in per_element.values())
    return {
        "unit": "muB",
        "boundaries": used,
        "n": n,
        "right": sum(p["right"] * p["n"] for p in per_element.values()) / n,
        "commonest": sum(p["commonest"] * p["n"] for p in per_element.values()) / n,
        "per_element": per_element,
    }


def check_boundaries(boundaries: Mapping[str, Sequence[float]], frames: Sequence[Atoms]) -> None:
    """Refuse boundaries that are no positive numbers, or are of elements without magnetic sites (input moments).

    Raises SpinMultiNetError.
    """
    _check(boundaries)
    there = set()
    for k, atoms in enumerate(frames):
        moments = input_moments(atoms, name_of(atoms, k), required=False)
        there |= {s for s, m in zip(atoms.get_chemical_symbols(), moments, strict=True) if np.any(m)}
    absent = sorted(set(boundaries) - there)
    if absent:
        raise SpinMultiNetError(
            f"spin states of {', '.join(absent)}: no such magnetic site in these structures, which have "
            f"{', '.join(sorted(there)) or 'none'}; name these only"
        )


def _check(boundaries: Mapping[str, Sequence[float]]) -> None:
    for element, limits in boundaries.items():
        if not all(0 < x < np.inf for x in limits):
            raise SpinMultiNetError(f"spin states of {element}: {list(limits)} are no positive numbers in muB")


def _sites(rows: Sequence[Row], frames: Sequence[Atoms]) -> dict[str, Row]:
    """Per element: label_length, predicted_length, agrees of its magnetic sites [n]; elements without any left out."""
    names = ("label_length", "predicted_length", "agrees")
    known = [(r, a) for r, a in zip(rows, frames, strict=True) if all(k in r for k in names)]
    if not known:
        return {}
    joined = {k: np.concatenate([r[k] for r, _ in known]) for k in names}
    symbols = np.concatenate([np.array(a.get_chemical_symbols())[r["magnetic"]] for r, a in known])
    return {str(e): {k: v[symbols == e] for k, v in joined.items()} for e in np.unique(symbols)}


def _element(sites: Row, limits: Sequence[float]) -> dict[str, Any]:
    state = np.digitize(sites["label_length"], limits)
    sign = sites["agrees"] | (sites["label_length"] < NO_MOMENT)
    right = sign & (np.digitize(sites["predicted_length"], limits) == state)
    states = []
    for k in range(len(limits) + 1):
        lengths = sites["label_length"][state == k]
        if len(lengths):
            extent = {"from": float(lengths.min()), "to": float(lengths.max()), "n": len(lengths)}
            states.append({**extent, "right": float(right[state == k].mean())})
    return {
        "n": len(state),
        "right": float(right.mean()),
        "commonest": max(s["n"] for s in states) / len(state),
        "states": states,
    }
