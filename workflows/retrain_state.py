"""What decides whether a campaign's model is due for retraining. Reads the store and writes nothing into it.

Cheap enough to be asked every minute: the model itself is needed for the drift only, which is calculated where it
decides, and kept in ``FOLDER/retrain/drift.jsonl`` per model and set of labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datastore import SpinStore
from datastore.batches import in_batches
from datastore.registry import champion
from datastore.retraining import DECIDED, RetrainFlag, Retraining
from datastore.retrainings import open_flags, retrainings
from datastore.schema import ModelRecord, content_hash
from datastore.stores import explained
from workflows.campaign import CampaignOptions
from workflows.finished import Finished
from workflows.policy.due import RetrainState, due, needs_drift
from workflows.structures.parents import parent_elements

FOLDER = "retrain"
"""Of a campaign's retrainings, in its folder."""

TASKS = ("energy", "forces", "moments")
LEAST_ERROR = 1e-9
"""Errors below are taken for it, in the unit of the report: a ratio needs a denominator."""

CHUNK = 500
Document = dict[str, Any]


@dataclass(frozen=True)
class Survey:
    """What there is to decide on."""

    champion: ModelRecord
    snapshot: Document
    """Document of the training set of the model in use; empty where it is not in the store."""
    unseen: list[str]
    """point_ids of accepted labels that the model in use has not seen, in order."""
    untried: list[str]
    """Of these, those that no retraining has come to a decision with since."""
    pending: list[str]
    """Finished label jobs (uuid:index) that are not in the dataset yet."""
    flags: list[RetrainFlag]
    log: list[Retraining]
    state: RetrainState

    @property
    def point_ids(self) -> list[str]:
        """Labels to train and test on: what the model in use was made with, and what came since."""
        return sorted({*members(self.snapshot), *self.unseen})

    @property
    def interrupted(self) -> Retraining | None:
        """The retraining that began last and came to no end."""
        return next((record for record in reversed(self.log) if not record.outcome), None)

    @property
    def untold(self) -> list[Retraining]:
        """Finished retrainings that nobody was told of."""
        return [record for record in self.log if record.outcome and not record.notified]


def survey(store: SpinStore, options: CampaignOptions) -> Survey | None:
    """State of a campaign's model and labels; None where no model is in use. The drift is left out."""
    used = champion(store, options.name)
    if used is None:
        return None
    log = retrainings(store, options.name)
    unseen, untried, snapshot = _unseen(store, options, used, log)
    flags = open_flags(store, options.name, log)
    interrupted = next((record for record in reversed(log) if not record.outcome), None)
    state = RetrainState(
        unseen=len(untried),
        age_days=_hours(used.created) / 24,
        flags=[flag.reason for flag in flags],
        interrupted=interrupted.started if interrupted else "",
        failed_hours=_failed_hours(log, flags, used.model_id),
    )
    return Survey(used, snapshot, unseen, untried, _pending(store), flags, log, state)


def with_drift(store: SpinStore, options: CampaignOptions, found: Survey) -> Survey:
    """``found`` with the drift, where that could make due what is not due without it."""
    if not needs_drift(found.state, options.active_learning.retrain):
        return found
    return replace(found, state=replace(found.state, drift=drift(store, options, found.champion, found.untried)))


def reasons(found: Survey, options: CampaignOptions) -> list[str]:
    """Why the model is due for retraining; empty where it is not."""
    return due(found.state, options.active_learning.retrain)


def drift(store: SpinStore, options: CampaignOptions, used: ModelRecord, point_ids: list[str]) -> dict[str, float]:
    """Mean absolute error of ``used`` on labels, over that on its random test set, per task that both have."""
    finished = Finished(Path(options.folder) / FOLDER / "drift.jsonl", source=used.model_id)
    key = content_hash(sorted(point_ids))
    if key not in finished:
        finished.add(key, {"labels": len(point_ids), "errors": _errors(store, used, point_ids)})
    errors = finished[key]["errors"]
    tests = used.scores.get("tests", {}).get("random") or used.scores.get("model", {})
    return {
        task: errors[task]["mae"] / max(tests[task]["mae"], LEAST_ERROR)
        for task in TASKS
        if task in errors and task in tests
    }


def members(snapshot: Document) -> set[str]:
    """point_ids of all labels that a snapshot is made of, or has left out on purpose."""
    splits = snapshot.get("points", {}).values()
    return {p for part in splits for p in part} | {*snapshot.get("left_out", []), *snapshot.get("other_level", [])}


def _unseen(
    store: SpinStore, options: CampaignOptions, used: ModelRecord, log: list[Retraining]
) -> tuple[list[str], list[str], Document]:
    """Labels the model in use has not seen, those of them that no retraining since has, and the model's snapshot."""
    since = [r.snapshot_id for r in log if r.champion == used.model_id and r.outcome in DECIDED and r.snapshot_id]
    wanted = {"snapshot_id": {"$in": [used.snapshot_id, *since]}}
    fields = ["snapshot_id", "folder", "points", "left_out", "other_level"]
    with explained(store.uri):
        snapshots = {d["snapshot_id"]: d for d in store.snapshots.query(wanted, fields)}
    mine = snapshots.get(used.snapshot_id, {})
    unseen = _accepted(store, options, used) - members(mine)
    tried = set().union(*(members(snapshots[name]) for name in since if name in snapshots))
    return sorted(unseen), sorted(unseen - tried), mine


def _accepted(store: SpinStore, options: CampaignOptions, used: ModelRecord) -> set[str]:
    """Accepted labels at the level of theory of the model in use that the campaign wants to train on."""
    criteria: Document = {"level_id": used.level_id, "verdict": "accepted", "moment_role": used.moment_role}
    if options.active_learning.retrain.points == "campaign":
        criteria["$or"] = [{"campaign": options.name}, {"calculated_by": options.name}]
    known = {*used.species}.union(*(parent_elements(parent) for parent in options.structures.parents))
    with explained(store.uri):
        found = store.points.query(criteria, ["point_id", "species"])
        return {d["point_id"] for d in found if known.issuperset(d["species"])}


def _pending(store: SpinStore) -> list[str]:
    """Finished label jobs whose output is not in the dataset, or that ran again since (uuid:index:when)."""
    is_label = {"$or": [{"output.point_id": {"$exists": True}}, {"output.0.point_id": {"$exists": True}}]}
    with explained(store.uri):
        known = {d.get("source"): d.get("completed_at") for d in store.ingested.query({}, ["source", "completed_at"])}
        jobs = [
            (f"{d.get('uuid')}:{d.get('index', 1)}", str(d.get("completed_at")))
            for d in store.jobs.query(is_label, ["uuid", "index", "completed_at"])
        ]
    return sorted(f"{source}:{when}" for source, when in jobs if known.get(source) != when)


def _failed_hours(log: list[Retraining], flags: list[RetrainFlag], model_id: str) -> float | None:
    """Hours since the last retraining beside this model failed; None where it did not, or a flag came later."""
    last = next((r for r in reversed(log) if r.champion == model_id and r.outcome not in ("", "abandoned")), None)
    if last is None or last.outcome != "failed":
        return None
    later = any(_time(flag.created) > _time(last.ended) for flag in flags)
    return None if later else _hours(last.ended)


def _errors(store: SpinStore, used: ModelRecord, point_ids: list[str]) -> Document:
    from datastore.atoms import point_to_atoms
    from datastore.schema import SpinPoint
    from datastore.upgrade import parse
    from spinmultinet.committee import Committee
    from spinmultinet.evaluate import evaluate
    from workflows.registry.files import in_use

    frames = [
        point_to_atoms(parse(SpinPoint, document))
        for chunk in in_batches(point_ids, CHUNK)
        for document in store.points.query({"point_id": {"$in": chunk}})
    ]
    committee = Committee([member["path"] for member in in_use(used, store.uri)["members"]])
    return dict(evaluate(committee, frames)["overall"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _hours(since: str) -> float:
    return (datetime.now(UTC) - _time(since)).total_seconds() / 3600
