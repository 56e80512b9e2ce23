"""Manual decisions on labels: accept against the rules, reject, retract, restore. With author and reason, never erased.

The log (``store.decisions``) is only appended to; the newest entry of a label is in force, also after its job ran again
and after groups were judged anew, because :meth:`~datastore.stores.SpinStore.put_point` applies it. A retracted label
stays queryable but enters no snapshot any more; what was trained on it before is named by :func:`affected`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from datastore.errors import DataError
from datastore.label_sets import labels_behind
from datastore.outliers import outlier_group
from datastore.salvage import make_way
from datastore.schema import Decision, DecisionAction, SpinPoint
from datastore.stores import SpinStore, stamped
from datastore.upgrade import checked, parse
from datastore.verdicts import PAST, decided, decision_text

_TOLD = re.compile(
    rf"(?P<past>{'|'.join(PAST.values())}) by (?P<author>.+?) on (?P<day>\d{{4}}-\d\d-\d\d): (?P<reason>.+)", re.DOTALL
)
"""What :func:`datastore.verdicts.decision_text` writes onto a label."""

DECIDED = "decision:"
"""How the notes begin that labels are to be judged anew."""


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

    ``names``: point_ids, or beginnings that fit one label each. Labels salvaged from these follow: they are the same
    calculation, so they are rejected or retracted with their originals, and rejected where an original is accepted.
    Raises DataError (nothing is logged then) for unknown labels, an empty author or reason, overrides of retracted
    labels, where there is nothing to restore, and for salvaged labels on whose original was decided.
    """
    if not author.strip() or not reason.strip():
        raise DataError("a decision needs an author and a reason; give both")
    points = [_get(store, point_id) for point_id in dict.fromkeys(resolve(store, name) for name in names)]
    for point in points:
        _check(store, point, action)
    created = _time_after(store, points)
    decision = Decision(point_id="", action=action, author=author.strip(), reason=reason.strip(), created=created)
    changed: dict[str, SpinPoint] = {}
    for point in points:
        of = {"point_id": point.point_id, "salvaged_from": point.salvaged_from}
        store.log_decision(decision.model_copy(update=of))
        changed |= _apply(store, point.point_id)
        _judge_again(store, point, created)
    return changed


def adopt(store: SpinStore, point: SpinPoint) -> SpinPoint:
    """Log the decision that an exported label tells of, and return the label, judged by the rules, with it."""
    found = _TOLD.fullmatch(point.decision)
    if found is None:
        return point.model_copy(update={"decision": ""})
    action = next(action for action, past in PAST.items() if past == found["past"])
    decision = Decision(
        point_id=point.point_id,
        action=action,
        author=found["author"],
        reason=found["reason"],
        created=f"{found['day']}T00:00:00.000000+00:00",
        salvaged_from=point.salvaged_from,
    )
    store.log_decision(decision)
    return decided(point, store.decision_on(point.point_id, point.salvaged_from))


def apply_decisions(store: SpinStore) -> int:
    """Apply decisions that were logged by a process killed before it applied them; returns how many."""
    late = 0
    for point_id in store.decisions.distinct("point_id"):
        found = (store.get_point(identity) for identity in (point_id, *_salvaged_from(store, point_id)))
        if any(p != decided(p, store.decision_on(p.point_id, p.salvaged_from)) for p in found if p is not None):
            _apply(store, point_id)
            late += 1
    return late


def decisions(store: SpinStore, point_id: str = "") -> Iterator[Decision]:
    """The log, oldest first: all of it, or what was decided on one label."""
    for document in store.decisions.query({"point_id": point_id} if point_id else {}, sort={"created": 1}):
        yield parse(Decision, document)


def affected(store: SpinStore, point_ids: Iterable[str]) -> list[UsedIn]:
    """Snapshots that hold any of the labels or differences of them, models trained on those, and their heirs."""
    wanted = set(point_ids)
    found: list[UsedIn] = []
    snapshots: dict[str, list[str]] = {}
    for document in store.snapshots.query({}, ["snapshot_id", "campaign", "points", "kind", "levels"]):
        held = labels_behind(checked(document, snapshot_id=str, campaign=str, points=dict))
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


def _check(store: SpinStore, point: SpinPoint, action: DecisionAction) -> None:
    point_id = point.point_id
    current = store.decision_on(point_id, point.salvaged_from)
    of_original = store.decision_on(point.salvaged_from) if point.salvaged_from else None
    if of_original is not None and of_original.action in PAST:
        raise DataError(
            f"label {point_id} was salvaged from {point.salvaged_from} and follows it "
            f"({decision_text(of_original)}); decide on that one"
        )
    in_force = None if current is None or current.action == "restore" else current.action
    if action == "restore" and in_force is None:
        raise DataError(f"nothing was decided on label {point_id}, so there is nothing to restore")
    if action in ("accept", "reject") and in_force == "retract":
        raise DataError(f"label {point_id} is retracted; restore it first with: spinmultinet data restore")


def _time_after(store: SpinStore, points: Sequence[SpinPoint]) -> str:
    """Now, or just after the newest decision on these labels where the clock of its author was ahead of this one."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    earlier = store.decisions.query({"point_id": {"$in": [point.point_id for point in points]}}, ["created"])
    newest = max((str(document.get("created", "")) for document in earlier), default="")
    if newest < now:
        return now
    try:
        return (datetime.fromisoformat(newest) + timedelta(microseconds=1)).isoformat(timespec="microseconds")
    except ValueError as error:
        raise DataError(
            f"a decision on these labels has no valid time ({newest!r}); restore it from a backup"
        ) from error


def _apply(store: SpinStore, point_id: str) -> dict[str, SpinPoint]:
    """Apply what is logged to a label and to what was salvaged from it."""
    changed = {}
    for identity in (point_id, *_salvaged_from(store, point_id)):
        point = _get(store, identity)
        make_way(store, point)
        store.put_point(point)
        changed[identity] = decided(point, store.decision_on(identity, point.salvaged_from))
    return changed


def _judge_again(store: SpinStore, point: SpinPoint, created: str) -> None:
    """Note that the labels compared with this one are to be judged anew: :func:`datastore.ingest.settle` does it."""
    note = {"source": f"{DECIDED}{point.point_id}", "completed_at": created, "judged": False}
    store.ingested.update([stamped({**note, "groups": [outlier_group(point)]})])


def _salvaged_from(store: SpinStore, point_id: str) -> list[str]:
    return [d["point_id"] for d in store.points.query({"salvaged_from": point_id}, ["point_id"])]


def _get(store: SpinStore, point_id: str) -> SpinPoint:
    point = store.get_point(point_id)
    if point is None:
        raise DataError(f"label {point_id} vanished meanwhile; what was decided before is logged")
    return point
