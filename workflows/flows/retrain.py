"""Train a campaign's model again on all labels there are: ingest, look whether it is due, train, test, judge, record.

A timer may start this flow at any rate: where nothing is due, its second job adds nothing. Uuids are derived from the
work: the same labels give the same training set and the same committee, which are found done. The model in use stays
where the new one is refused, or where anything fails on the way.
"""

from __future__ import annotations

import socket
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any
from uuid import uuid4

from jobflow import Flow, Job, Maker, Response, job

from datastore import SpinStore, open_store
from datastore.errors import DataError
from datastore.ingest import ingest
from datastore.locks import require_held
from datastore.retraining import Outcome, Retraining
from datastore.retrainings import ended, get_retraining, put_retraining
from datastore.schema import content_hash
from workflows import __version__
from workflows.campaign import CampaignOptions
from workflows.engines import Engine
from workflows.flows.active_learning import CampaignMaker
from workflows.jobs.dataset import snapshot_job
from workflows.jobs.evaluate import evaluate_job
from workflows.jobs.honest import honest_job
from workflows.jobs.label import stable_uuid
from workflows.jobs.promote import promote_job
from workflows.results import latest_evaluation
from workflows.retrain_state import FOLDER, Survey, UnusableModelError, model_in_use, reasons, survey, with_drift

Document = dict[str, Any]


@dataclass
class RetrainMaker(Maker):
    """Flow of one retraining.

    Parameters
    ----------
    options
        The parsed campaign file.
    engine
        Its engine; nothing is calculated with it, but it is part of what the campaign is.
    hypers
        Model and training options; read from ``options.model`` when empty.
    """

    options: CampaignOptions
    engine: Engine
    hypers: dict[str, Any] = field(default_factory=dict)
    name: str = "retrain"

    def __post_init__(self) -> None:
        """Read the model file now: jobs elsewhere may not see it."""
        self.hypers = self.campaign.hypers

    @property
    def campaign(self) -> CampaignMaker:
        """The campaign that is retrained."""
        return CampaignMaker(self.options, self.engine, self.hypers)

    def make(self, key: str = "", force: str = "") -> Flow:
        """Ingest, and a job that adds the rest where it is due.

        ``key`` stands for what there is to do (:func:`workflows.retrain.key_of`): the same key is the same retraining,
        found done or continued; without one it is a new one. ``force``: a reason that makes it due by itself.
        """
        key = key or uuid4().hex
        taken: Job = take_labels(self.options.store)
        taken.name = "ingest"
        taken.set_uuid(stable_uuid("ingest", self.campaign.fingerprint, key))
        taken.update_metadata({"kind": "dataset"}, dynamic=False)
        begun: Job = retrain_if_due(self, key, taken.output, force)
        begun.name = "due?"
        begun.set_uuid(self.retraining_id(key))
        begun.update_metadata({"kind": "due", "dynamic": True}, dynamic=False)
        return Flow([taken, begun], name=f"{self.options.name} retrain")

    def retraining_id(self, key: str) -> str:
        """Id of the retraining of this key, which is the uuid of the job that decides on it."""
        return stable_uuid("retrain", self.campaign.fingerprint, key)

    def begun(self, key: str, found: Survey, why: list[str]) -> Retraining:
        """Entry of the log of retrainings of one that begins now."""
        return Retraining(
            retraining_id=self.retraining_id(key),
            campaign=self.options.name,
            key=key,
            fingerprint=self.campaign.fingerprint,
            why=why,
            champion=found.champion.model_id,
            labels=len(found.point_ids),
            unseen=len(found.unseen),
            drift={task: value for task, value in (found.state.drift or {}).items() if isfinite(value)},
            flags=[flag.flag_id for flag in found.flags],
            reasons=found.problems,
            host=socket.gethostname(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            code_version=__version__,
        )

    def learn(
        self, previous: Document, point_ids: list[str], unseen: list[str], retraining_id: str, changed: Document
    ) -> Flow:
        """Freeze the training set, train the members, test the model in use on the ``unseen`` labels, judge, record.

        ``changed``: labels that were withdrawn or replaced (see :class:`workflows.retrain_state.Survey`); other content
        is other work. A model in use without members is tested on nothing.
        """
        maker, number = self.campaign, int(previous["generation"]) + 1
        folder = maker.folder / FOLDER
        place = folder / content_hash(changed, 12) if changed else folder
        tests = bool(unseen and previous["members"])
        honest = honest_job(self.options, number, [], unseen, previous, place / "honest") if tests else None
        snapshot = snapshot_job(
            self.options.store,
            [],
            previous["snapshot"],
            [],
            self.options.split,
            place / "snapshots",
            "dataset, retrained",
            point_ids,
            honest,
        )
        trained = maker.committee(snapshot, self.hypers, folder / "models", "retrain")
        judged = evaluate_job(
            self.options, self.hypers, number, snapshot, trained, previous, folder / "evaluation", honest
        )
        promoted = promote_job(self.options, judged)
        recorded: Job = record_outcome(self.options.store, retraining_id, snapshot.output, promoted.output)
        recorded.name = "record"
        recorded.set_uuid(stable_uuid("record", retraining_id, promoted.uuid))
        recorded.update_metadata({"kind": "record"}, dynamic=False)
        tested = [] if honest is None else [honest]
        return Flow([*tested, snapshot, *trained, judged, promoted, recorded], name=f"{self.options.name} retrain")


@job
def take_labels(store: str) -> Document:
    """Take finished labels into the dataset; returns what ingest reports."""
    with open_store(store) as spin_store:
        return asdict(ingest(spin_store))


@job
def retrain_if_due(maker: RetrainMaker, key: str, ingested: Document, force: str) -> Response[Document]:
    """Add the retraining where it is due, after a note of its beginning in the log of retrainings."""
    options, retraining_id = maker.options, maker.retraining_id(key)
    with open_store(options.store) as store:
        found = survey(store, options)
        if found is None:
            raise DataError(f"{options.name} has no model in use yet; run the campaign first")
        found = with_drift(store, options, found)
        why = [*([force] if force else []), *reasons(found, options)]
        if not why:
            return Response(output={"due": []})
        require_held(store)
        begun = get_retraining(store, retraining_id) or maker.begun(key, found, why)
        if not found.unseen and not found.withdrawn and _as_before(maker, found):
            told = "nothing new: the model in use has seen all labels, and was trained with the same options"
            put_retraining(store, ended(begun, "unchanged", [told]))
            return Response(output={"due": why})
        previous, problems = _previous(store, found)
        put_retraining(store, begun.model_copy(update={"reasons": [*begun.reasons, *problems]}))
    flow = maker.learn(previous, found.point_ids, found.unseen, retraining_id, found.changed)
    return Response(output={"due": why}, addition=flow)


@job
def record_outcome(store: str, retraining_id: str, snapshot: Document, promoted: Document) -> Document:
    """Write into the log of retrainings what came out; returns the entry."""
    with open_store(store) as spin_store:
        record = get_retraining(spin_store, retraining_id)
        if record is None:
            raise DataError(f"retraining {retraining_id} is not in the log; restore it from a backup")
        outcome: Outcome = "promoted" if promoted["promoted"] else "refused"
        about = {"model_id": promoted["model_id"], "snapshot_id": snapshot["snapshot_id"]}
        done = ended(record.model_copy(update=about), outcome, [*record.reasons, *promoted["reasons"]])
        require_held(spin_store)
        put_retraining(spin_store, done)
    return done.to_document()


def _as_before(maker: RetrainMaker, found: Survey) -> bool:
    """Whether a retraining would make the model in use once more."""
    used = found.champion
    return used.hypers == maker.hypers and len(used.files) == maker.options.committee and bool(found.snapshot)


def _previous(store: SpinStore, found: Survey) -> tuple[Document, list[str]]:
    """The model in use, as the output of the promotion that jobs of a campaign get, with what reports show of it.

    Without members where its files are gone or damaged, and a line that says so: a new model can take its place.
    """
    record, problems = found.champion, []
    if not found.snapshot:
        raise DataError(
            f"the training set of model {record.model_id} is not in this store, so its test set cannot be kept; "
            "run the campaign in this store first"
        )
    try:
        used = model_in_use(store, record)
    except UnusableModelError as error:
        used = {"model_id": record.model_id, "generation": record.generation, "members": []}
        problems = [f"{error}; it is not tested on the new labels"]
    told = latest_evaluation(store, record.campaign) or {}
    previous = {**told, **used, "champion": used, "snapshot": found.snapshot["folder"], "scores": record.scores}
    return previous, problems
