"""A flipped label is a good label of another configuration: the one whose input moments have the signs found.

The rejected original stays under its own id, so that nothing is computed twice; the salvaged copy has the magnitudes
asked for and the signs found, up to one global reversal (time reversal, which changes no energy). An accepted real
label of that configuration takes its place; where the two energies then differ the original says so. A rejected real
label leaves it be: the copy moves to the reversed configuration where the two ids clash. Decisions on the original hold
for the copy too. Where the copy is lower in energy both stay, and :mod:`datastore.metastable` decides between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datastore.metastable import SAME_ENERGY
from datastore.quality import RULES, magnetic_sites, name_ordering, signs_changed, with_verdict
from datastore.schema import Decision, FloatArray, SpinConfig, SpinPoint, point_id
from datastore.upgrade import parse
from datastore.verdicts import PAST, decided

if TYPE_CHECKING:
    from datastore.stores import SpinStore

PREFIX = "salvage"
"""First word of the reason that tells of a disagreement."""

DISAGREEMENT = 0.005
"""eV/atom between a flipped label and a real one of the state it ended in: they are different electronic states."""

REPLACED = f"{PREFIX}: replaced by label"
"""Begins the reason on a salvaged label that stays only because training sets may hold it."""


def is_salvageable(point: SpinPoint) -> bool:
    """Whether flipped signs are all that is wrong: collinear moments that were free, and no other rule objects."""
    if point.moment_role != "guess" or point.magmoms_in.ndim != 1 or point.salvaged_from or point.decision:
        return False
    reason = signs_changed(point)
    if reason is None or not reason.startswith("flipped") or ";" in reason:
        return False
    return all(rule(point) is None for rule in RULES if rule is not signs_changed)


def found_moments(point: SpinPoint) -> FloatArray:
    """(N,) input moments with the magnitudes asked for and the signs found, the first one up, muB."""
    moments = np.array(point.magmoms_in)
    sites = magnetic_sites(point)
    moments[sites] = np.abs(moments[sites]) * np.sign(point.magmoms_out[sites])
    return moments * _first_sign(moments)


def salvaged(point: SpinPoint, ordering: str = "", upwards: float = 1.0) -> SpinPoint:
    """The label of the configuration that a flipped label ended in. Pure.

    ``ordering``: its name, found by :func:`~datastore.quality.name_ordering` where empty. ``upwards``: sign of the
    first moment. Energies, forces and stress are those of ``point``; timings are left with it, as it was paid for once.
    """
    moments = found_moments(point) * upwards
    sites = magnetic_sites(point)
    sign = float(np.sign(np.sum(moments[sites] * point.magmoms_out[sites])))
    name = ordering or name_ordering(point, point.magmoms_out)
    fields = {
        "magmoms_in": moments,
        "magmoms_out": sign * point.magmoms_out,
        "total_moment": sign * point.total_moment,
        "magnetic_forces": None if point.magnetic_forces is None else sign * point.magnetic_forces,
        "ordering": name,
        "ordering_found": name,
        "occupations": "",  # those of the signs asked for say nothing of the signs found
        "excitation": None,
        "ground": "",
        "timings": {},
        "salvaged_from": point.point_id,
        "salvage_reason": f"asked for {point.ordering}, {signs_changed(point)}",
    }
    return with_verdict(point.model_copy(update=fields), [])


def reversed_id(point: SpinPoint) -> str:
    """point_id of the same calculation with all moments reversed."""
    return point_id(reversed_config(point).config_id, point.level_id)


def reversed_config(config: SpinConfig) -> SpinConfig:
    """The configuration with all input moments reversed: the same state by time reversal."""
    return config.model_copy(update={"magmoms_in": -config.magmoms_in})


def reversed_label(point: SpinPoint) -> SpinPoint:
    """The label with all moments reversed, in and out; by time reversal energies, forces and stress stay."""
    names = ("magmoms_in", "magmoms_out", "total_moment", "magnetic_forces")
    return point.model_copy(update={n: -v for n in names if (v := getattr(point, n)) is not None})


def make_way(store: SpinStore, point: SpinPoint) -> None:
    """Before a real label is stored: what was salvaged for its configuration, or for the reversed one, makes way.

    For an accepted label it is rejected, or gone where its id is the same. For a rejected one, or one that is higher in
    energy (a metastable state), it moves to the reversed configuration where its id is the same.
    """
    if point.salvaged_from:
        return
    for identity in (point.point_id, reversed_id(point)):
        old = store.points.query_one({"point_id": identity}, ["salvaged_from"])
        copy = store.get_point(identity) if old is not None and old.get("salvaged_from") else None
        if copy is None:
            continue
        accepted = decided(point, store.decision_on(point.point_id)).verdict == "accepted"
        if accepted:
            _compare(store, store.get_point(copy.salvaged_from), point)
        prevails = accepted and not _is_above(point, copy)
        if identity == point.point_id:
            if not prevails:
                _move(store, copy)
            store.points.remove_docs({"point_id": identity})
        elif prevails:
            _replace(store, copy, point)


def _move(store: SpinStore, copy: SpinPoint) -> None:
    """Put a salvaged label under the id of the reversed configuration, with what was decided on it."""
    moved = reversed_label(copy)
    if store.has_label(moved.point_id):
        return
    for document in list(store.decisions.query({"point_id": copy.point_id, "salvaged_from": copy.salvaged_from})):
        store.log_decision(parse(Decision, document).model_copy(update={"point_id": moved.point_id}))
    store.put_point(moved)


def _replace(store: SpinStore, copy: SpinPoint, real: SpinPoint) -> None:
    reasons = [f"{REPLACED} {real.point_id}"]
    if copy.verdict_reasons != reasons:
        store.put_point(with_verdict(copy, reasons))


def salvage(store: SpinStore, point: SpinPoint) -> SpinPoint | None:
    """After a label was stored: store what it is a label of, where it is flipped; returns what is new.

    Nothing is stored where a label of that configuration, real and accepted or salvaged, is there already. What was
    salvaged from an earlier result of the same calculation goes. Where somebody decided by hand on the label nothing
    changes.
    """
    decision = store.decision_on(point.point_id)
    if decision is not None and decision.action in PAST:
        return None
    new = _named(store, point) if is_salvageable(point) else None
    places = {} if new is None else {place.point_id: place for place in (new, reversed_label(new))}
    for document in list(store.points.query({"salvaged_from": point.point_id}, ["point_id"])):
        if document["point_id"] not in places:
            store.points.remove_docs({"point_id": document["point_id"]})
    chosen = _place(store, point, places)
    if chosen is not None:
        store.put_point(chosen)
    return chosen


def _place(store: SpinStore, point: SpinPoint, places: dict[str, SpinPoint]) -> SpinPoint | None:
    """Under which of two ids (of reversed moments) to store what was salvaged from ``point``; None where not at all."""
    there = {identity: label for identity in places if (label := store.get_point(identity)) is not None}
    others = [label for label in there.values() if label.salvaged_from != point.point_id]
    own = next((label for label in there.values() if label.salvaged_from == point.point_id), None)
    better = next((label for label in others if label.salvaged_from or label.verdict == "accepted"), None)
    if better is not None:
        _compare(store, point, better)
    if better is not None and (better.salvaged_from or not _is_above(better, point)):
        if own is not None:
            _replace(store, own, better)
        return None
    if own is None:
        return next((place for identity, place in places.items() if identity not in there), None)
    replaced = any(reason.startswith(REPLACED) for reason in own.verdict_reasons)
    if own.free_energy == places[own.point_id].free_energy and not replaced:
        return None  # done before; its verdict may have come from its group since
    return places[own.point_id]


def _named(store: SpinStore, point: SpinPoint) -> SpinPoint:
    """The salvaged label under the name, and the sign, that labels of the same parent have for this ordering."""
    moments = found_moments(point)
    parent = {
        "formula": point.formula,
        "cell": point.cell,
        "parent": point.parent,
        "salvaged_from": {"$in": ["", None]},
    }
    for name in sorted(store.points.distinct("ordering")):
        other = store.points.query_one({**parent, "ordering": name}, ["species", "magmoms_in"])
        if other is None or other["species"] != point.species:
            continue
        signs = np.sign(np.array(other["magmoms_in"]))
        if signs.shape == moments.shape and np.array_equal(signs * _first_sign(signs), np.sign(moments)):
            return salvaged(point, name, _first_sign(signs))
    return salvaged(point)


def _is_above(real: SpinPoint, other: SpinPoint) -> bool:
    """Whether ``real`` is in a higher state than ``other``, so that both are kept and :mod:`ingest` compares them."""
    return (real.free_energy - other.free_energy) / len(real.species) > SAME_ENERGY


def _compare(store: SpinStore, flipped: SpinPoint | None, other: SpinPoint) -> None:
    """Note on the flipped label that a label of the state it ended in has another energy."""
    if flipped is None:
        return
    above = (flipped.free_energy - other.free_energy) / len(flipped.species)
    reasons = [reason for reason in flipped.verdict_reasons if not reason.startswith(PREFIX)]
    if abs(above) > DISAGREEMENT:
        reasons.append(f"{PREFIX}: {above:+.3f} eV/atom from label {other.point_id} of the state it ended in")
    if reasons != flipped.verdict_reasons:
        store.put_point(with_verdict(flipped, reasons))


def _first_sign(moments: FloatArray | NDArray[Any]) -> float:
    present = moments[np.flatnonzero(moments)[:1]]
    return float(np.sign(present[0])) if present.size else 1.0
