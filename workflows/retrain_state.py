"""What decides whether a campaign's model is due for retraining. Reads the store and writes nothing into it.

Cheap enough to be asked every minute: the model itself is needed for the drift only, which is calculated where it
decides, and kept in ``FOLDER/retrain/drift.jsonl`` per model and set of labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datastore import SpinStore
from datastore.batches import in_batches
from datastore.changed_labels import FIELDS, changed_labels, members
from datastore.errors import DataError
from datastore.ingest import LabelBuilder
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


class UnusableModelError(DataError):
    """The files of the model in use are gone or damaged."""


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
    changed: dict[str, str]
    """Labels that are not what the training set of this model, or of a retraining since, has of them: point_id -> hash
    of the label now, empty where it is not accepted any more."""
    withdrawn: list[str]
    """Of these, those that the model in use was made with."""
    pending: list[str]
    """Finished label jobs (uuid:index) that are not in the dataset yet."""
    unreadable: list[str]
    """One line for each output that looks like a label and is none; waiting changes nothing about it."""
    flags: list[RetrainFlag]
    log: list[Retraining]
    state: RetrainState
    problems: list[str] = field(default_factory=list)
    """What could not be found out, and why."""

    @property
    def point_ids(self) -> list[str]:
        """Labels to train and test on: what the model in use was made with, and what came since."""
        return sorted({*_known(self.snapshot), *self.unseen})

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
    labels = _labels(store, options, used, log)
    pending, unreadable = _pending(store)
    flags = open_flags(store, options.name, log)
    interrupted = next((record for record in reversed(log) if not record.outcome), None)
    state = RetrainState(
        unseen=len(labels.untried),
        retracted=len(labels.undecided),
        age_days=_hours(used.created) / 24,
        flags=[flag.reason for flag in flags],
        interrupted=interrupted.started if interrupted else "",
        failed_hours=_failed_hours(log, flags, used.model_id),
    )
    return Survey(
        champion=used,
        snapshot=labels.snapshot,
        unseen=labels.unseen,
        untried=labels.untried,
        changed=labels.changed,
        withdrawn=labels.withdrawn,
        pending=pending,
        unreadable=unreadable,
        flags=flags,
        log=log,
        state=state,
    )


def with_drift(store: SpinStore, options: CampaignOptions, found: Survey) -> Survey:
    """``found`` with the drift, where that could make due what is not due without it.

    Without the files of the model in use there is none, which is one of the ``problems``.
    """
    if not needs_drift(found.state, options.active_learning.retrain):
        return found
    try:
        values = drift(store, options, found.champion, found.untried)
    except UnusableModelError as error:
        state = replace(found.state, drift={})
        return replace(found, state=state, problems=[*found.problems, f"drift is not known: {error}"])
    return replace(found, state=replace(found.state, drift=values))


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
        task: _number(errors[task]["mae"]) / max(_number(tests[task]["mae"]), LEAST_ERROR)
        for task in TASKS
        if task in errors and task in tests
    }


def _number(value: float | None) -> float:
    """Stores keep what is not a number as null."""
    return math.nan if value is None else value


def _known(snapshot: Document) -> set[str]:
    """point_ids of all labels that a snapshot is made of, or has left out on purpose."""
    return members(snapshot) | {*snapshot.get("left_out", []), *snapshot.get("other_level", [])}


@dataclass(frozen=True)
class _Labels:
    """Labels beside the model in use; fields as in :class:`Survey`."""

    snapshot: Document
    unseen: list[str]
    untried: list[str]
    changed: dict[str, str]
    withdrawn: list[str]
    undecided: list[str]
    """Of those withdrawn, those that no retraining has come to a decision without."""


def _labels(store: SpinStore, options: CampaignOptions, used: ModelRecord, log: list[Retraining]) -> _Labels:
    since = [r.snapshot_id for r in log if r.champion == used.model_id and r.outcome in DECIDED and r.snapshot_id]
    wanted = {"snapshot_id": {"$in": [used.snapshot_id, *since]}}
    fields = [*FIELDS, "folder", "left_out", "other_level"]
    with explained(store.uri):
        snapshots = {d["snapshot_id"]: d for d in store.snapshots.query(wanted, fields)}
    mine = snapshots.get(used.snapshot_id, {})
    found = changed_labels(store, list(snapshots.values()))
    changed = {p: now for labels in found.values() for p, now in labels.items()}
    withdrawn = found.get(used.snapshot_id, {})
    tried = [(_known(snapshots[name]) - found[name].keys(), snapshots[name]) for name in since if name in snapshots]
    unseen = _accepted(store, options, used) - _known(mine)
    return _Labels(
        snapshot=mine,
        unseen=sorted(unseen),
        untried=sorted(unseen.difference(*(as_now for as_now, _ in tried))),
        changed=dict(sorted(changed.items())),
        withdrawn=sorted(withdrawn),
        undecided=sorted(
            p
            for p, now in withdrawn.items()
            if not any(p in as_now if now else p not in members(snapshot) for as_now, snapshot in tried)
        ),
    )


def _accepted(store: SpinStore, options: CampaignOptions, used: ModelRecord) -> set[str]:
    """Accepted labels at the level of theory of the model in use that the campaign wants to train on."""
    criteria: Document = {"level_id": used.level_id, "verdict": "accepted", "moment_role": used.moment_role}
    if options.active_learning.retrain.points == "campaign":
        criteria["$or"] = [{"campaign": options.name}, {"calculated_by": options.name}]
    known = {*used.species}.union(*(parent_elements(parent) for parent in options.structures.parents))
    with explained(store.uri):
        found = store.points.query(criteria, ["point_id", "species"])
        return {d["point_id"] for d in found if known.issuperset(d["species"])}


def _pending(store: SpinStore) -> tuple[list[str], list[str]]:
    """Finished label jobs whose output is not in the dataset, or that ran again since (uuid:index:when).

    Then a line for each whose output no ingest can take.
    """
    is_label = {"$or": [{"output.point_id": {"$exists": True}}, {"output.0.point_id": {"$exists": True}}]}
    with explained(store.uri):
        known = {d.get("source"): d.get("completed_at") for d in store.ingested.query({}, ["source", "completed_at"])}
        finished = {
            f"{d.get('uuid')}:{d.get('index', 1)}": d
            for d in store.jobs.query(is_label, ["uuid", "index", "completed_at"])
        }
        waiting = {name: d for name, d in finished.items() if known.get(name) != str(d.get("completed_at"))}
        problems = {name: _problem(store, document) for name, document in waiting.items()}
    readable = sorted(f"{name}:{d.get('completed_at')}" for name, d in waiting.items() if not problems[name])
    return readable, sorted(filter(None, problems.values()))


def _problem(store: SpinStore, job: Document) -> str:
    """Why an ingest cannot take the output of a label job; empty where it can."""
    if not job.get("uuid"):
        return "a job with a label has no uuid"
    document = store.jobs.query_one({"uuid": job["uuid"], "index": job.get("index")})
    return LabelBuilder(store).process_item(document).problem if document else ""


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

    paths = [member["path"] for member in model_in_use(store, used)["members"]]
    frames = [
        point_to_atoms(parse(SpinPoint, document))
        for chunk in in_batches(point_ids, CHUNK)
        for document in store.points.query({"point_id": {"$in": chunk}})
    ]
    return dict(evaluate(Committee(paths), frames)["overall"])


def model_in_use(store: SpinStore, used: ModelRecord) -> Document:
    """Id, generation and members of the model in use. Raises UnusableModelError where a file is gone or damaged."""
    from workflows.registry.files import in_use

    try:
        return in_use(used, store.uri)
    except DataError as error:
        raise UnusableModelError(f"model {used.model_id}, in use so far, cannot be used: {error}") from error


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _hours(since: str) -> float:
    return (datetime.now(UTC) - _time(since)).total_seconds() / 3600
