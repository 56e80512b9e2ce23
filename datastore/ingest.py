"""Job outputs -> points and failures: an incremental maggma Builder that may be run at any rate.

A label job's stored output is the document of a SpinPoint or a SpinFailure (or a list of them); outputs of other jobs
are passed over. What was taken from a job is remembered in the ``ingested`` collection *after* it was stored, so an
ingest that is killed repeats at most one chunk, and a job that ran again is read again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from maggma.core import Builder

from datastore.batches import in_batches
from datastore.decisions import affected, apply_decisions
from datastore.errors import DataError
from datastore.metastable import KEY_FIELDS, find_metastable, is_tagged, key_of_document, tagged
from datastore.metastable import PREFIXES as STATES
from datastore.outliers import PREFIX, find_outliers, outlier_family, outlier_group
from datastore.quality import judge, with_verdict
from datastore.salvage import PREFIX as SALVAGE
from datastore.salvage import is_salvageable, make_way, reversed_id, salvage
from datastore.schema import SpinFailure, SpinPoint
from datastore.stores import SpinStore, explained, stamped
from datastore.upgrade import LOOK, checked, parse
from datastore.verdicts import automatic_reasons

CHUNK = 100
OF_JOB = ["uuid", "index", "completed_at", "output"]
OF_OTHER_LABELS = (PREFIX, SALVAGE, *STATES)
"""First words of reasons that come from comparisons with other labels."""

Label = SpinPoint | SpinFailure


@dataclass
class IngestReport:
    """What one ingest did."""

    jobs: int = 0
    """Finished jobs that were new, or had run again."""
    labels: int = 0
    failures: int = 0
    outliers: int = 0
    """Points newly rejected because they depart from their group."""
    metastable: int = 0
    """Points that were accepted so far and of which a better label of the same state is kept now."""
    seen_by: list[str] = field(default_factory=list)
    """One line for each snapshot and model that knows such a point."""
    salvaged: int = 0
    """Flipped labels that became labels of the configuration they ended in."""
    passed_over: int = 0
    """Jobs that are no label jobs."""
    unreadable: list[str] = field(default_factory=list)
    """One line for each output that looks like a label and is none; it is tried again next time."""


@dataclass
class _Item:
    source: str
    completed_at: str
    labels: list[Label]
    problem: str = ""


class LabelBuilder(Builder):
    """Moves new label outputs from ``jobs`` to ``points`` and ``failures`` of a store.

    A failure never replaces a label; a label removes the failure of the same calculation; an accepted label is not
    replaced by a rejected one. A flipped label is salvaged (:mod:`datastore.salvage`).
    """

    def __init__(self, store: SpinStore, chunk_size: int = CHUNK):
        self.store = store
        self.report = IngestReport()
        super().__init__([store.jobs], [store.points, store.failures, store.ingested], chunk_size)

    def get_items(self) -> Iterator[dict[str, Any]]:
        """Documents of finished jobs that were not ingested since they finished."""
        fields = ["source", "completed_at"]
        # A damaged marker only means that its job is read again, which changes nothing.
        known = {d.get("source"): d.get("completed_at") for d in self.store.ingested.query({}, fields)}
        finished = self.store.jobs.query({"output": {"$exists": True}}, ["uuid", "index", "completed_at"])
        due = [d for d in finished if "uuid" not in d or known.get(_source(d)) != str(d.get("completed_at"))]
        for job in due:
            if "uuid" not in job:
                self.report.unreadable.append(f"a job has no uuid: {LOOK}")
        for some in in_batches((job for job in due if "uuid" in job), self.chunk_size):
            wanted = {_source(job) for job in some}
            for document in self.store.jobs.query({"uuid": {"$in": [job["uuid"] for job in some]}}, OF_JOB):
                if _source(document) in wanted:
                    yield document

    def process_item(self, item: dict[str, Any]) -> _Item:
        """The labels and failures in a job's output; pure."""
        output = item.get("output")
        labels: list[Label] = []
        problem = ""
        for content in output if isinstance(output, list) else [output]:
            if isinstance(content, dict) and "point_id" in content:
                try:
                    labels.append(parse(SpinFailure, content) if "error" in content else parse(SpinPoint, content))
                except DataError as error:
                    problem = f"job {item['uuid']}: {error}"
        return _Item(_source(item), str(item.get("completed_at")), labels, problem)

    def update_targets(self, items: list[_Item]) -> None:
        """Store labels, failures, and then that they were stored."""
        self._store_labels([label for item in items for label in item.labels])
        for item in items:
            self.report.jobs += 1
            self.report.passed_over += not item.labels and not item.problem
            if item.problem:
                self.report.unreadable.append(item.problem)
        done = [item for item in items if not item.problem]
        if done:
            self.store.ingested.update([stamped(_marker(item)) for item in done])

    def finalize(self) -> None:
        """Judge the groups and close; called by maggma's own runners, whereas :func:`ingest` leaves the store open."""
        self.judge_groups()
        super().finalize()

    def _store_labels(self, labels: Sequence[Label]) -> None:
        """New labels in one write, for a write waits for the disk; then, one by one, what there is more to do for."""
        new = _new(self.store, [label for label in labels if isinstance(label, SpinPoint)])
        self.store.put_new_points(list(new.values()))
        stored = {id(point) for point in new.values()}
        for label in labels:
            if isinstance(label, SpinFailure) or id(label) not in stored:
                self._store_label(label)
                continue
            self.report.labels += 1
            self.report.salvaged += is_salvageable(label) and salvage(self.store, label) is not None

    def _store_label(self, label: Label) -> None:
        if isinstance(label, SpinFailure):
            self.report.failures += self.store.put_failure(label)
            return
        old = self.store.points.query_one({"point_id": label.point_id}, ["verdict", "salvaged_from"])
        real = old is not None and not old.get("salvaged_from")
        if old is not None and real and old["verdict"] == "accepted" and label.verdict == "rejected":
            return
        make_way(self.store, label)
        self.store.put_point(label)
        self.report.labels += 1
        self.report.salvaged += salvage(self.store, label) is not None

    def judge_groups(self) -> None:
        """Compare the labels of every group with new points, also those of an ingest that was killed before this.

        First the starts of one state with each other, then what is left with its group (outliers).
        """
        markers = [checked(m, source=str, groups=list) for m in self.store.ingested.query({"judged": False})]
        families = {tuple(outlier_family(group).values()): tuple(group) for m in markers for group in m["groups"]}
        superseded: list[str] = []
        for _, group in sorted(families.items()):
            superseded += judge_states(self.store, group)
            self.report.outliers += reject_outliers(self.store, group)
        self.report.metastable += len(superseded)
        used = affected(self.store, superseded) if superseded else []
        self.report.seen_by += [f"{u.kind} {u.name} of campaign {u.campaign or '-'}: {u.how}" for u in used]
        if markers:
            self.store.ingested.update([{**marker, "judged": True} for marker in markers])


def settle(store: SpinStore) -> None:
    """Make good what a killed process left: decisions that were only logged, and groups that wait for judgement."""
    with explained(store.uri):
        apply_decisions(store)
        LabelBuilder(store).judge_groups()


def ingest(store: SpinStore) -> IngestReport:
    """Run :class:`LabelBuilder` once, in this process, and judge the groups of the new points for outliers."""
    builder = LabelBuilder(store)
    with explained(store.uri):
        apply_decisions(store)
        chunk: list[_Item] = []
        for document in builder.get_items():
            chunk.append(builder.process_item(document))
            if len(chunk) == builder.chunk_size:
                builder.update_targets(chunk)
                chunk = []
        builder.update_targets(chunk)
        builder.judge_groups()
    return builder.report


def judge_states(store: SpinStore, group: tuple[str, ...]) -> list[str]:
    """Find out which labels of one state are kept (:mod:`datastore.metastable`), in the family of an outlier group.

    Returns the point_ids that were accepted before and are rejected now. One label at a time is changed; whatever is
    killed on the way is found again.
    """
    if (family := outlier_family(group))["moment_role"] != "guess":
        return []
    by_state: defaultdict[str, list[str]] = defaultdict(list)
    told: set[str] = set()
    for document in store.points.query(family, [*KEY_FIELDS, "ground"]):
        by_state[key_of_document(document)].append(document["point_id"])
        told |= {document["point_id"]} if document.get("ground") else set()
    return [
        point_id
        for members in by_state.values()
        if len(members) > 1 or told.intersection(members)
        for point_id in _judge_state(store, members)
    ]


def _judge_state(store: SpinStore, point_ids: Sequence[str]) -> list[str]:
    points = [point for point_id in point_ids if (point := store.get_point(point_id)) is not None]
    found = find_metastable(points)
    superseded = []
    for point in points:
        finding = found.get(point.point_id)
        if not is_tagged(point, finding):
            judged = tagged(point, finding)
            make_way(store, judged)
            store.put_point(judged)
            if point.verdict == "accepted" and finding is not None and not point.decision:
                superseded.append(point.point_id)
    return superseded


def reject_outliers(store: SpinStore, group: tuple[str, ...]) -> int:
    """Judge an :func:`~datastore.outliers.outlier_group` and the other orderings of its kind anew for outliers.

    Returns how many were accepted before. Points rejected for other reasons do not take part: a flipped label says
    nothing about others. An outlier that is none any more, because its group has grown, is accepted again.
    """
    before: dict[str, list[str]] = {}

    def members() -> Iterator[SpinPoint]:
        for document in store.points.query(outlier_family(group)):
            point = parse(SpinPoint, document)
            reasons = automatic_reasons(point)
            refused = bool(point.decision) and point.verdict == "rejected"
            if not refused and all(reason.startswith(PREFIX) for reason in reasons):
                before[point.point_id] = reasons
                yield point

    found = find_outliers(members())
    rejected = 0
    for point_id, reasons in before.items():
        if reasons != found.get(point_id, []) and (point := store.get_point(point_id)) is not None:
            judged = with_verdict(point, found.get(point_id, []))
            make_way(store, judged)
            store.put_point(judged)
            rejected += not reasons
    return rejected


def rejudge(store: SpinStore) -> int:
    """Judge all labels by the rules, groups included, of this version; returns how many verdicts or reasons changed.

    Flipped labels are salvaged where they were not, and decisions are applied that were only logged.
    """
    changed, families = apply_decisions(store), {}
    with explained(store.uri):
        for document in store.points.query({}, ["point_id"]):
            point = store.get_point(checked(document, point_id=str)["point_id"])
            if point is None:  # it was salvaged, and a real label took its place
                continue
            families[tuple(outlier_family(outlier_group(point)).values())] = outlier_group(point)
            reasons = automatic_reasons(point)
            by_rules = judge(point).verdict_reasons
            wanted = [*by_rules, *(reason for reason in reasons if reason.startswith(OF_OTHER_LABELS))]
            if reasons != wanted:
                store.put_point(with_verdict(point, wanted))
                changed += 1
            changed += not point.salvaged_from and salvage(store, point) is not None
        for group in families.values():
            changed += len(judge_states(store, group))
            changed += reject_outliers(store, group)
        return changed


def _new(store: SpinStore, points: Sequence[SpinPoint]) -> dict[str, SpinPoint]:
    """point_id -> label, of those that meet nothing in the store: no label of theirs, or of the reversed moments, none
    that was salvaged from an earlier one, and no decision. Of several of one calculation the first.
    """
    found: dict[str, SpinPoint] = {}
    for point in points:
        if not point.salvaged_from:
            found.setdefault(point.point_id, point)
    if not found:
        return {}
    places = {identity: {identity, reversed_id(point)} for identity, point in found.items()}
    asked = {"$in": list(found)}
    there = {"$in": sorted(set().union(*places.values()))}
    met = {d["point_id"] for d in store.points.query({"point_id": there}, ["point_id"])}
    met |= {d["salvaged_from"] for d in store.points.query({"salvaged_from": asked}, ["salvaged_from"])}
    met |= {d["point_id"] for d in store.decisions.query({"point_id": asked}, ["point_id"])}
    return {identity: point for identity, point in found.items() if not places[identity] & met}


def _marker(item: _Item) -> dict[str, Any]:
    groups = sorted({outlier_group(label) for label in item.labels if isinstance(label, SpinPoint)})
    return {"source": item.source, "completed_at": item.completed_at, "groups": groups, "judged": not groups}


def _source(job: dict[str, Any]) -> str:
    return f"{job['uuid']}:{job.get('index', 1)}"
