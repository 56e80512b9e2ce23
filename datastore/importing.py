"""Labels that others computed become SpinPoints: frame by frame, judged by the same rules, resumable.

Every chunk is one transaction, and a label that is in the store already is not written again. So an import that was
killed, or is given the same files twice, only does what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from datastore.batches import in_batches
from datastore.checksums import path_sha256
from datastore.converters import Converter, checked, own
from datastore.decisions import UsedIn, adopt, affected, decide
from datastore.frames import Frame, read_frames
from datastore.ingest import LabelBuilder
from datastore.levels import same_numbers, spelling
from datastore.mapping import RefusedError
from datastore.outliers import PREFIX, outlier_group
from datastore.queries import levels_of
from datastore.salvage import make_way, reversed_id, salvage
from datastore.schema import SpinPoint, content_hash
from datastore.stores import SpinStore, explained, stamped
from datastore.verdicts import PAST

CHUNK = 100
EXAMPLES = 3
"""Frames that the report shows for each reason."""

TOLERANCES = {"energy": 1e-6, "free_energy": 1e-6, "forces": 1e-5, "stress": 1e-6, "magmoms_out": 1e-4}
"""eV per cell, eV/Angstrom, eV/Angstrom^3, muB. Two labels of one calculation that differ by more disagree; files with
eight decimals do not."""

_COMPARED = (*TOLERANCES, "kpoints")

DOUBT = 0.1
"""Share of a file's frames with one fault (and DOUBTED frames at least) above which the mapping is doubted."""

DOUBTED = 3
FRAMES = "frames"


@dataclass
class Refusals:
    """Frames refused for one reason."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class ImportReport:
    """What an import did with each frame."""

    frames: int = 0
    accepted: int = 0
    """New in the store, and accepted by the rules."""
    rejected: int = 0
    """New in the store, and rejected by the rules; kept, and never trained on."""
    present: int = 0
    """Already there (from an earlier import, or twice in the files) with the same numbers."""
    disagreeing: Refusals = field(default_factory=Refusals)
    """Already there with other numbers; the earlier ones were kept."""
    replaced: int = 0
    """Already there with other numbers, from an earlier import, and replaced as asked."""
    used_in: list[UsedIn] = field(default_factory=list)
    """Snapshots and models that have seen what was replaced."""
    refused: dict[str, Refusals] = field(default_factory=dict)
    verdict_reasons: dict[str, int] = field(default_factory=dict)
    """Rule -> new labels that it rejected."""
    salvaged: int = 0
    """Flipped labels that also became labels of the configuration they ended in."""
    outliers: int = 0
    """Labels newly rejected because they depart from their group."""
    metastable: int = 0
    """Labels accepted so far, now or earlier, of which a better one of the same state is kept."""
    one_energy: int = 0
    """Frames with one energy, which was taken for the free energy and the extrapolated one."""
    without_stress: int = 0
    levels: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    """What makes units, signs or spelling of mapping and level doubtful, one line each."""

    @property
    def not_in(self) -> int:
        """Frames whose numbers are not in the store."""
        return self.disagreeing.count + sum(refusals.count for refusals in self.refused.values())


@dataclass(frozen=True)
class Replacement:
    """Who lets imported labels be replaced by other numbers of a corrected import, and why."""

    author: str
    reason: str


def import_labels(
    store: SpinStore,
    files: Iterable[Path],
    convert: Converter,
    watch: Callable[[Path, float], None] = lambda path, share: None,
    replace: Replacement | None = None,
) -> ImportReport:
    """Store the labels in ``files``; ``watch`` hears how much of which file is done, after each chunk.

    With ``replace``, labels that an earlier import left with other numbers are replaced, and decisions on the old
    numbers are revoked; the old numbers are kept in ``source["replaced"]``. Labels calculated here never are.
    Raises DataError where a file cannot be read at all; what was stored before stays.
    """
    with explained(store.uri):
        work = ImportWork(store, replace)
        for path in files:
            _take_file(work, path, convert, watch)
        work.finish()
    return work.report


def _take_file(work: ImportWork, path: Path, convert: Converter, watch: Callable[[Path, float], None]) -> None:
    """Take in one file, chunk by chunk."""
    frames = read_frames(path)
    origin = {"file": path.name, "sha256": path_sha256(path)}
    faults: Counter[str] = Counter()
    ids: set[str] = set()
    for chunk in in_batches(frames, CHUNK):
        points = list(_converted(work, chunk, path, convert, origin, faults))
        if doubt := _doubt(faults):
            for point in points:
                work.refuse("units in doubt", f"{_where(point)}: {doubt}")
            points = []
        work.take(points)
        ids.update(point.point_id for point in points)
        watch(path, chunk[-1].fraction)
    work.files.append((str(path), ids))


def _converted(
    work: ImportWork,
    chunk: list[Frame],
    path: Path,
    convert: Converter,
    origin: dict[str, Any],
    faults: Counter[str],
) -> Iterator[SpinPoint]:
    """Labels of the frames that give one; the others are noted."""
    for frame in chunk:
        where = f"{path}, frame {frame.number}"
        work.report.frames += 1
        faults[FRAMES] += 1
        try:
            if frame.problem:
                raise RefusedError("unreadable", frame.problem)
            point = checked(frame, convert, where)
        except RefusedError as error:
            faults[error.reason] += 1
            work.refuse(error.reason, f"{where}: {error}")
            continue
        point = work.at_known_level(point, as_it_is=convert is own)
        if "sha256" not in point.source:
            point = point.model_copy(update={"source": {**origin, "frame": frame.number, **point.source}})
        yield point


class ImportWork:
    """One import under way, of files or of calculations: labels in, and at the end the report."""

    def __init__(self, store: SpinStore, replace: Replacement | None):
        self.store = store
        self.replace = replace
        self.report = ImportReport()
        self.before = {level.level_id: level.theory for level in levels_of(store).values()}
        self.theories = dict(self.before)
        self.met: set[str] = set()
        self.replaced: list[str] = []
        self.files: list[tuple[str, set[str]]] = []

    def finish(self) -> None:
        """Judge the groups, and say what is doubtful."""
        builder = LabelBuilder(self.store)
        builder.judge_groups()
        self.report.outliers = builder.report.outliers
        self.report.metastable = builder.report.metastable
        self.report.doubts += [text for path, ids in self.files if (text := self._misfits(path, ids))]
        self.report.doubts += _spellings(self.before, self.theories)
        self.report.used_in = affected(self.store, self.replaced) if self.replaced else []

    def refuse(self, reason: str, example: str) -> None:
        """Note that something gave no label, and why."""
        _note(self.report.refused.setdefault(reason, Refusals()), example)

    def at_known_level(self, point: SpinPoint, as_it_is: bool = False) -> SpinPoint:
        """The label with its level of theory as the store writes it, where 600 and 600.0 are one number.

        Labels exported here keep theirs (``as_it_is``), because the engines look for it.
        """
        if point.level_id in self.theories:
            return point
        theory = same_numbers(point.level_of_theory, self.theories.values())
        if theory is None or as_it_is:
            self.theories[point.level_id] = point.level_of_theory
            return point
        return point.model_copy(update={"level_of_theory": dict(theory)})

    def take(self, points: list[SpinPoint]) -> None:
        """Write what is new, then the note that its groups wait for judgement; salvage what is flipped."""
        _make_way(self.store, points)
        ids = [point.point_id for point in points]
        fields = ["point_id", "source.replaced", *_COMPARED]
        known = {d["point_id"]: d for d in self.store.points.query({"point_id": {"$in": ids}}, fields)}
        new, changed, present = self._sort(points, known)
        new = {point_id: adopt(self.store, point) for point_id, point in new.items()}
        if new or changed:
            self.store.points.update([stamped(point.to_document()) for point in {**new, **changed}.values()])
            self.store.failures.remove_docs({"point_id": {"$in": [*new, *changed]}})
        if changed:
            self.store.points.remove_docs({"salvaged_from": {"$in": list(changed)}})
        if points:  # also of labels that were there: a kill may have come between the two writes
            groups = sorted({outlier_group(point) for point in points})
            mark = {"source": f"import:{content_hash(ids)}", "completed_at": "", "groups": groups}
            self.store.ingested.update(stamped({**mark, "judged": False}))
        for point_id, point in {**present, **new, **changed}.items():  # the same holds here
            if self.replace is not None:
                self._revoke(point_id, known[point_id].get("source", {}).get("replaced", []))
            salvaged = salvage(self.store, point) if point.verdict == "rejected" and not point.salvaged_from else None
            self.report.salvaged += salvaged is not None and point_id in new
        self._count(points, new)

    def _sort(self, points: list[SpinPoint], known: dict[str, dict[str, Any]]) -> tuple[dict[str, SpinPoint], ...]:
        """What is new, what replaces a stored label, and what is there, by point_id; ``known`` gets the numbers."""
        new: dict[str, SpinPoint] = {}
        changed: dict[str, SpinPoint] = {}
        present: dict[str, SpinPoint] = {}
        for point in points:
            point_id = point.point_id
            if point_id not in known:
                new[point_id] = point
                known[point_id] = point.model_dump(include=set(_COMPARED))
            elif difference := _difference(known[point_id], point):
                if self.replace is not None and (old := self._replaceable(point_id)) is not None:
                    changed[point_id] = _replacing(old, point, self.replace)
                    known[point_id] = changed[point_id].model_dump(include={*_COMPARED, "source"})
                else:
                    _note(self.report.disagreeing, f"{_where(point)}: {difference} from label {point_id}")
            else:
                present.setdefault(point_id, point)
                self.report.present += 1
            self.met.add(point_id)
        self.replaced += changed
        self.report.replaced += len(changed)
        return new, changed, present

    def _replaceable(self, point_id: str) -> SpinPoint | None:
        """The stored label, where it came from an earlier import; of two in the files the first counts."""
        old = None if point_id in self.met else self.store.get_point(point_id)
        return old if old is not None and "importer" in old.source and not old.salvaged_from else None

    def _revoke(self, point_id: str, history: list[dict[str, Any]]) -> None:
        """End a decision that was about replaced numbers, also one that a killed import has left in force."""
        decision = self.store.decision_on(point_id) if history else None
        if decision is not None and decision.action in PAST and decision.created < history[-1]["created"]:
            reason = f"its numbers were replaced: {history[-1]['reason']}"
            decide(self.store, [point_id], "restore", history[-1]["author"], reason)

    def _count(self, points: list[SpinPoint], new: Mapping[str, SpinPoint]) -> None:
        report = self.report
        for point in points:
            report.one_energy += "energies" in point.source
            report.without_stress += point.stress is None
            if point.level_id not in report.levels:
                report.levels.append(point.level_id)
        for point in new.values():
            report.accepted += point.verdict == "accepted"
            report.rejected += point.verdict == "rejected"
            for reason in {text.split(":")[0] for text in point.verdict_reasons}:
                report.verdict_reasons[reason] = report.verdict_reasons.get(reason, 0) + 1

    def _misfits(self, path: str, ids: set[str]) -> str:
        """What to say where many labels of a file are outliers; empty where few are."""
        found = 0
        for batch in in_batches(sorted(ids), CHUNK):
            stored = self.store.points.query({"point_id": {"$in": batch}}, ["verdict_reasons"])
            found += sum(any(reason.startswith(PREFIX) for reason in d["verdict_reasons"]) for d in stored)
        if not _many(found, len(ids)):
            return ""
        return (
            f"{path}: {found} of {len(ids)} labels do not fit the other energies, forces and stresses of their kind; "
            "units or signs of energy, forces and stress do not fit each other, or labels of several settings are mixed"
        )


def _doubt(faults: Counter[str]) -> str:
    """Why no frame of a file is believed, where many have numbers that cannot be; empty where few have."""
    implausible = [(count, name) for name, count in faults.items() if name.startswith("implausible")]
    number, reason = max(implausible, default=(0, ""))
    if not _many(number, faults[FRAMES]):
        return ""
    return f"{number} of {faults[FRAMES]} frames so far have an {reason}; correct key or unit in the mapping"


def _many(number: int, total: int) -> bool:
    return number >= DOUBTED and number > DOUBT * total


def _spellings(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What to say where a new level of theory is an old one in other words."""
    old: dict[str, str] = {}
    for level_id, theory in before.items():
        old.setdefault(spelling(theory), level_id)
    new = {level_id: spelling(theory) for level_id, theory in after.items() if level_id not in before}
    return [
        f"level of theory {level_id} differs from {old[text]}, which was there, in spelling only; labels of two levels "
        "never meet in a training set, so describe it in the same words"
        for level_id, text in new.items()
        if text in old
    ]


def _replacing(old: SpinPoint, new: SpinPoint, why: Replacement) -> SpinPoint:
    """The new label, which remembers what was different in the old one."""
    before, after = old.model_dump(), new.model_dump()
    past = {name: before[name] for name in before if name != "source" and before[name] != after[name]}
    past |= {"source": {key: value for key, value in old.source.items() if key != "replaced"}}
    past |= {"created": datetime.now(UTC).isoformat(timespec="microseconds"), **vars(why)}
    source = {**new.source, "replaced": [*old.source.get("replaced", []), past]}
    return new.model_copy(update={"source": source, "decision": ""})


def _make_way(store: SpinStore, points: list[SpinPoint]) -> None:
    """Take away what was salvaged from flipped labels for the configurations of these, or for the reversed ones."""
    salvaged = {"salvaged_from": {"$gt": ""}}
    if store.points.query_one(salvaged, ["point_id"]) is None:
        return
    by_id = {identity: point for point in points for identity in (point.point_id, reversed_id(point))}
    for document in list(store.points.query({"point_id": {"$in": list(by_id)}, **salvaged}, ["point_id"])):
        make_way(store, by_id[document["point_id"]])


def _difference(stored: dict[str, Any], point: SpinPoint) -> str:
    """How the numbers of a label depart from those in the store; empty where they agree."""
    for name, tolerance in TOLERANCES.items():
        ours, theirs = stored.get(name), getattr(point, name)
        if ours is None or theirs is None:
            continue
        departure = float(np.abs(np.array(ours) - np.array(theirs)).max())
        if departure > tolerance:
            return f"{name} differs by {departure:.3g}{_meshes(stored.get('kpoints'), point.kpoints)}"
    return ""


def _meshes(stored: list[int] | None, new: list[int] | None) -> str:
    """What to say where one level of theory has several k meshes for one cell."""
    if not stored or not new or list(stored) == list(new):
        return ""
    return f" (k mesh {'x'.join(map(str, new))} here, {'x'.join(map(str, stored))} there: two samplings)"


def _where(point: SpinPoint) -> str:
    frame = point.source.get("frame")
    return f"{point.source.get('file')}" + ("" if frame is None else f", frame {frame}")


def _note(refusals: Refusals, example: str) -> None:
    refusals.count += 1
    if len(refusals.examples) < EXAMPLES:
        refusals.examples.append(example)
