"""Manual decisions on labels: accept against the rules, reject, retract, restore. With author and reason, never erased.

The log (``store.decisions``) is only appended to; the newest entry of a label is in force, also after its job ran again
and after groups were judged anew, because :meth:`~datastore.stores.SpinStore.put_point` applies it. A retracted label
stays queryable but enters no snapshot any more; what was trained on it before is named by :func:`affected`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from datastore.errors import DataError
from datastore.schema import Decision, DecisionAction, SpinPoint
from datastore.stores import SpinStore
from datastore.upgrade import checked, parse
from datastore.verdicts import decided


@dataclass(frozen=True)
class UsedIn:
    """A snapshot or model that has seen a label."""

    kind: str
    """``snapshot`` or ``model``."""
    name: str
    campaign: str
    how: str
    """Splits of the snapshot, or how the model came to know the label and its status."""


def decide(
    store: SpinStore, names: Sequence[str], action: DecisionAction, author: str, reason: str
) -> dict[str, SpinPoint]:
    """Log a decision on labels and apply it: point_id -> the label as it is now.

    ``names``: point_ids, or beginnings that fit one label each. A retraction, and its restoration, also concerns the
    labels salvaged from these: they are the same calculation. Raises DataError (nothing is logged then) for unknown
    labels, an empty author or reason, overrides of retracted labels, and where there is nothing to restore.
    """
    if not author.strip() or not reason.strip():
        raise DataError("a decision needs an author and a reason; give both")
    point_ids = [resolve(store, name) for name in dict.fromkeys(names)]
    if action in ("retract", "restore"):
        point_ids += [d["point_id"] for d in store.points.query({"salvaged_from": {"$in": point_ids}}, ["point_id"])]
    for point_id in point_ids[: len(set(names))]:
        _check(store.decision_on(point_id), point_id, action)
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    changed = {}
    for point_id in dict.fromkeys(point_ids):
        store.log_decision(
            Decision(point_id=point_id, action=action, author=author.strip(), reason=reason.strip(), created=created)
        )
        changed[point_id] = _apply(store, point_id)
    return changed


def apply_decisions(store: SpinStore) -> int:
    """Apply decisions that were logged by a process killed before it applied them; returns how many."""
    late = 0
    for point_id in store.decisions.distinct("point_id"):
        point = store.get_point(point_id)
        if point is not None and decided(point, store.decision_on(point_id)) != point:
            _apply(store, point_id)
            late += 1
    return late


def decisions(store: SpinStore) -> Iterator[Decision]:
    """The whole log, oldest first."""
    for document in store.decisions.query({}, sort={"created": 1}):
        yield parse(Decision, document)


def affected(store: SpinStore, point_ids: Iterable[str]) -> list[UsedIn]:
    """Snapshots that hold any of the labels, models trained on those, and models started from such models."""
    wanted = set(point_ids)
    found: list[UsedIn] = []
    snapshots: dict[str, list[str]] = {}
    for document in store.snapshots.query({}, ["snapshot_id", "campaign", "points"]):
        held = checked(document, snapshot_id=str, campaign=str, points=dict)["points"]
        splits = [split for split, members in held.items() if wanted.intersection(members)]
        if splits:
            snapshots[document["snapshot_id"]] = splits
            found.append(UsedIn("snapshot", document["snapshot_id"], document["campaign"], ", ".join(splits)))
    known: set[str] = set()
    for model in store.get_models():
        heirs = known.intersection(model.parents)
        if model.snapshot_id in snapshots:
            how = f"{', '.join(snapshots[model.snapshot_id])} of snapshot {model.snapshot_id}"
        elif heirs:
            how = f"started from model {min(heirs)}"
        else:
            continue
        known.add(model.model_id)
        found.append(UsedIn("model", model.model_id, model.campaign, f"{model.status}; {how}"))
    return found


def resolve(store: SpinStore, name: str) -> str:
    """The point_id that ``name`` is or begins. Raises DataError where it fits no label, or several."""
    if store.has_label(name):
        return name
    criteria = {"point_id": {"$regex": f"^{re.escape(name)}"}}
    found = [d["point_id"] for d in store.points.query(criteria, ["point_id"], limit=4)] if name else []
    if not found:
        raise DataError(f"no label {name!r} in this store; list labels with: spinmultinet data query PLACE --json")
    if len(found) > 1:
        raise DataError(f"{name!r} fits several labels ({', '.join(found[:3])}...); give more of the id")
    return str(found[0])


def _check(current: Decision | None, point_id: str, action: DecisionAction) -> None:
    in_force = None if current is None or current.action == "restore" else current.action
    if action == "restore" and in_force is None:
        raise DataError(f"nothing was decided on label {point_id}, so there is nothing to restore")
    if action in ("accept", "reject") and in_force == "retract":
        raise DataError(f"label {point_id} is retracted; restore it first with: spinmultinet data restore")


def _apply(store: SpinStore, point_id: str) -> SpinPoint:
    point = store.get_point(point_id)
    if point is None:
        raise DataError(f"label {point_id} vanished meanwhile; its decision is logged")
    store.put_point(point)
    return decided(point, store.decision_on(point_id))
