"""Looks for damage in a store and in the files it names, says what it concerns and how to mend it. Changes nothing.

Documents are read a batch at a time; what is kept is one entry per problem. Documents written by earlier versions have
no checksum: those are checked by their ids and by the rules of the verdict only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from maggma.core import Store

from datastore.checksums import checksum, file_sha256
from datastore.decisions import DECIDED, UsedIn, affected
from datastore.errors import DataError
from datastore.label_sets import labels_behind
from datastore.metastable import PREFIXES as STATES
from datastore.model_files import fetch
from datastore.outliers import PREFIX as OUTLIER
from datastore.promotion import Promotion
from datastore.quality import judge
from datastore.registry import problems as log_problems
from datastore.retraining import RetrainFlag, Retraining
from datastore.salvage import PREFIX as SALVAGE
from datastore.salvage import is_salvageable, reversed_id, salvaged
from datastore.schema import Decision, ModelRecord, SpinFailure, SpinPoint
from datastore.snapshot import Snapshot, load_snapshot
from datastore.sqlite_query import decode
from datastore.sqlite_store import SqliteStore
from datastore.stores import SpinStore, explained
from datastore.upgrade import parse
from datastore.verdicts import automatic_reasons, decided
from datastore.verify_jobs import job_problems, marker_problems

Document = dict[str, Any]
Progress = Callable[[float], None]

KINDS: dict[str, type[Any]] = {
    "points": SpinPoint,
    "failures": SpinFailure,
    "decisions": Decision,
    "models": ModelRecord,
    "promotions": Promotion,
    "retrainings": Retraining,
    "retrain_flags": RetrainFlag,
}
RESTORE = "restore it from a backup"
REREAD = "remove that row; its job is then read again by the next ingest, which changes nothing"
_SNAPSHOT = {name for name, field in Snapshot.model_fields.items() if field.is_required()} - {"tokens", "folder"}
"""What every document of a snapshot has; its tokens are in its folder only."""

NO_JOBS = ("import:", DECIDED)
"""How the notes of imports and decisions begin; they name no job."""
RELABEL = "restore it from a backup, or remove it and run its campaign again with the label job forgotten"
REJUDGE = "judge all labels again with: spinmultinet data verify PLACE --rejudge"


@dataclass(frozen=True)
class Problem:
    """One thing that is damaged."""

    collection: str
    """A collection: ``points``, ``jobs``, ``snapshots`` and so on, or ``store`` for the file itself."""
    name: str
    """Id of the document, or the number of its row."""
    what: str
    remedy: str
    used_in: list[UsedIn] = field(default_factory=list)
    """Snapshots and models that it concerns."""
    point_ids: list[str] = field(default_factory=list)
    """Labels that it concerns."""


@dataclass(frozen=True)
class Verification:
    """What was looked at, and the problems."""

    documents: dict[str, int]
    files: int
    problems: list[Problem]


def verify(store: SpinStore, progress: Progress | None = None) -> Verification:
    """Check every document and every file the store names. ``progress`` is called with the share that is done."""
    run = _Run(store, progress or (lambda _: None))
    with explained(store.uri):
        problems = list(run.problems())
        return Verification(run.documents, run.files, [_with_use(store, problem) for problem in problems])


class _Run:
    """One pass over a store."""

    def __init__(self, store: SpinStore, progress: Progress):
        self.store, self.progress = store, progress
        self.documents = dict.fromkeys((*KINDS, "snapshots", "jobs", "ingested"), 0)
        self.files = 0
        self.total = 1

    def problems(self) -> Iterator[Problem]:
        """All of them, as they are found; what stops one collection does not stop the others."""
        self.total = max(1, sum(self._count(name) for name in self.documents))
        if isinstance(self.store.points, SqliteStore):
            yield from self._guarded("store", self._database(self.store.points))
        for name, kind in KINDS.items():
            yield from self._guarded(name, self._duplicates(name))
            yield from self._guarded(name, self._each(name, kind))
        yield from self._guarded("snapshots", self._snapshots())
        yield from self._guarded("promotions", self._log())
        for name, found in (("jobs", self._jobs()), ("ingested", self._markers())):
            yield from self._guarded(name, self._duplicates(name))
            yield from self._guarded(name, found)

    def _guarded(self, name: str, found: Iterator[Problem]) -> Iterator[Problem]:
        try:
            yield from found
        except DataError as error:
            yield Problem(name, self.store.uri, str(error), RESTORE)

    @staticmethod
    def _database(points: SqliteStore) -> Iterator[Problem]:
        for text in points.verify():
            recover = "recover with: sqlite3 store.sqlite .recover | sqlite3 recovered.sqlite"
            yield Problem("store", points.path, f"SQLite: {text}", f"{RESTORE}, or {recover}")

    def _each(self, name: str, kind: type[Any]) -> Iterator[Problem]:
        for label, document in self._rows(name):
            yield from self._document(name, kind, label, document)

    def _snapshots(self) -> Iterator[Problem]:
        for label, document in self._rows("snapshots"):
            yield from self._snapshot(label, document)

    def _log(self) -> Iterator[Problem]:
        with suppress(DataError):  # a damaged entry is told where its own turn comes
            for label, what in log_problems(self.store):
                yield Problem("promotions", label, what, RESTORE)

    def _jobs(self) -> Iterator[Problem]:
        for label, document in self._rows("jobs"):
            if document is None:
                yield Problem("jobs", label, "is no valid document", RELABEL)
            for what, point_id in job_problems(document or {}) if document is not None else ():
                yield Problem("jobs", label, what, RELABEL, point_ids=[point_id] if point_id else [])

    def _markers(self) -> Iterator[Problem]:
        for label, document in self._rows("ingested"):
            if document is None:
                yield Problem("ingested", label, "is no valid document", REREAD)
                continue
            wrong = list(marker_problems(document))
            if not wrong and not label.startswith(NO_JOBS) and not self._job_is_there(label):
                wrong.append("notes a job that is not there")
            for what in wrong:
                yield Problem("ingested", label, what, REREAD)

    def _job_is_there(self, source: str) -> bool:
        uuid, _, index = source.rpartition(":")
        jobs = self.store.jobs.query({"uuid": uuid}, ["uuid", "index"])
        return any(str(job.get("index", 1)) == index for job in jobs)

    def _collection(self, name: str) -> Store:
        collection: Store = getattr(self.store, name)
        return collection

    def _count(self, name: str) -> int:
        try:
            return int(self._collection(name).count())
        except DataError:
            return 0  # what is wrong is told when its rows are read

    def _rows(self, name: str) -> Iterator[tuple[str, Document | None]]:
        """Name and content of each document, counted; no content where it is no JSON."""
        collection = self._collection(name)
        rows = collection.rows() if isinstance(collection, SqliteStore) else enumerate(collection.query({}))
        for number, row in rows:
            self.documents[name] += 1
            self.progress(min(1.0, sum(self.documents.values()) / self.total))
            document = _decoded(row) if isinstance(row, str) else row
            named = (document or {}).get(collection.key) or _id_in(str(row), collection.key)
            yield str(named or f"row {number}"), document

    def _duplicates(self, name: str) -> Iterator[Problem]:
        """Ids that several documents have, by one pass in the order of ids."""
        collection = self._collection(name)
        fields = ["uuid", "index"] if name == "jobs" else [collection.key]
        before: list[Any] = []
        for document in collection.query({}, fields, sort=dict.fromkeys(fields, 1)):
            identity = [document.get(key) for key in fields]
            if identity[0] is not None and identity == before:
                yield Problem(name, str(identity[0]), "is stored twice", "remove one of the two documents")
            before = identity

    def _document(self, name: str, kind: type[Any], label: str, document: Document | None) -> Iterator[Problem]:
        remedy = RELABEL if name in ("points", "failures") else RESTORE
        if document is None:
            yield Problem(name, label, "is no JSON", remedy)
            return
        try:
            parsed = parse(kind, document)
        except DataError as error:
            yield Problem(name, label, str(error), remedy)
            return
        derived = parsed.to_document()
        wrong = [key for key in kind.derived_keys() if document.get(key) != derived[key]]
        if wrong:
            yield Problem(name, label, f"does not follow from its content: {', '.join(wrong)}", remedy)
            return
        if isinstance(parsed, SpinPoint):
            yield from self._point(label, parsed)
        elif isinstance(parsed, ModelRecord):
            yield from self._model(label, parsed)
        elif isinstance(parsed, Decision) and not parsed.salvaged_from and not self._has(parsed.point_id):
            yield Problem(name, label, f"decides on label {parsed.point_id}, which is not there", RESTORE)

    def _point(self, label: str, point: SpinPoint) -> Iterator[Problem]:
        reasons = [r for r in automatic_reasons(point) if not r.startswith((OUTLIER, SALVAGE, *STATES))]
        if reasons != (expected := judge(point).verdict_reasons):
            what = f"its verdict is not that of the rules: stored {reasons or 'accepted'}, now {expected or 'accepted'}"
            yield Problem("points", label, what, REJUDGE)
        if decided(point, self.store.decision_on(label, point.salvaged_from)) != point:
            yield Problem("points", label, "the decision in force is not applied", REJUDGE)
        if point.deformation != "none" and point.parent_lattice is None and point.parent and not point.source:
            yield Problem(
                "points", label, f"is deformed and does not say from which lattice of {point.parent}", RELABEL
            )
        if point.salvaged_from:
            yield from self._salvaged(label, point)

    def _salvaged(self, label: str, point: SpinPoint) -> Iterator[Problem]:
        try:
            original = self.store.get_point(point.salvaged_from)
        except DataError:
            return  # told where its own turn comes
        if original is None:
            what = f"was salvaged from label {point.salvaged_from}, which is not there"
            yield Problem("points", label, what, "restore the original, or retract this one: spinmultinet data retract")
            return
        if point.verdict == "rejected":  # kept for the training sets that hold it
            return
        real = self.store.points.query_one({"point_id": reversed_id(point), "verdict": "accepted"}, ["point_id"])
        if real is not None or original.verdict == "accepted":
            other = original.point_id if real is None else real["point_id"]
            yield Problem("points", label, f"counts a calculation or state twice, beside label {other}", REJUDGE)
        elif not original.decision and not _is_from(point, original):
            what = f"is not what label {point.salvaged_from} is salvaged to"
            yield Problem("points", label, what, "retract it: spinmultinet data retract")

    def _model(self, label: str, model: ModelRecord) -> Iterator[Problem]:
        remedy = "restore the file from a backup, or train again: remove the model and run its campaign"
        for file in model.files:
            self.files += 1
            path = Path(file.path)
            if file.uri and not path.is_file():
                try:
                    fetch(file, self.store.uri)
                except DataError as error:
                    yield Problem("models", label, str(error), remedy)
            elif not path.is_file():
                yield Problem("models", label, f"{path} is missing", remedy)
            elif file_sha256(path) != file.sha256:
                yield Problem("models", label, f"{path} is damaged: its checksum differs", remedy)
        if self.store.snapshots.query_one({"snapshot_id": model.snapshot_id}, ["snapshot_id"]) is None:
            what = f"snapshot {model.snapshot_id} that it was trained on is not there"
            yield Problem("models", label, what, RESTORE)

    def _snapshot(self, label: str, document: Document | None) -> Iterator[Problem]:
        remedy = "restore it, or delete its folder and make the snapshot again"
        if document is None or not isinstance(document.get("points"), dict) or not document.keys() >= _SNAPSHOT:
            yield Problem("snapshots", label, "is no valid document", remedy)
            return
        if "checksum" in document and document["checksum"] != checksum(document):
            yield Problem("snapshots", label, "its content is not what was stored: the checksum differs", remedy)
            return
        members = [point_id for split in labels_behind(document).values() for point_id in split]
        gone = [point_id for point_id in members if not self._has(point_id)]
        if gone:
            yield Problem("snapshots", label, f"{len(gone)} of its labels are not in the store: {gone[0]}...", RESTORE)
        folder = document.get("folder")
        if folder is None:  # made before its folder was recorded
            return
        try:
            self.files += len(load_snapshot(folder).files)
        except DataError as error:
            yield Problem("snapshots", label, str(error), remedy)

    def _has(self, point_id: str) -> bool:
        try:
            return self.store.has_label(point_id)
        except DataError:
            return True  # damaged, which is told elsewhere


def _decoded(text: str) -> Document | None:
    try:
        document = decode(text)
    except (ValueError, AttributeError):
        return None
    return document if isinstance(document, dict) else None


def _id_in(text: str, key: str) -> str:
    """The id that stands in what is left of a document; empty where it does not."""
    found = re.search(rf'"{key}":"([^"]+)"', text)
    return found[1] if found else ""


def _is_from(point: SpinPoint, original: SpinPoint) -> bool:
    """Whether ``point`` is what ``original`` is salvaged to, up to names, bookkeeping and one global reversal."""
    if not is_salvageable(original):
        return False
    ids = {salvaged(original, upwards=sign).point_id for sign in (1.0, -1.0)}
    return point.point_id in ids and point.free_energy == original.free_energy


def _with_use(store: SpinStore, problem: Problem) -> Problem:
    """The problem with the snapshots and models it concerns."""
    try:
        if problem.collection == "points" or problem.point_ids:
            point_ids = problem.point_ids or [problem.name]
            return replace(problem, point_ids=point_ids, used_in=affected(store, point_ids))
        if problem.collection == "snapshots":
            models = store.get_models(snapshot_id=problem.name)
            return replace(
                problem, used_in=[UsedIn("model", m.model_id, m.campaign, f"{m.status}; trained on it") for m in models]
            )
    except DataError:
        return problem  # the documents that would tell are damaged themselves
    return problem
