"""Labels that others computed become SpinPoints: frame by frame, judged by the same rules, resumable.

Every chunk is one transaction, and a label that is in the store already is not written again. So an import that was
killed, or is given the same files twice, only does what is left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
import numpy as np
from bson.errors import BSONError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from datastore.atoms import atoms_to_point
from datastore.batches import in_batches
from datastore.checksums import file_sha256
from datastore.errors import DataError
from datastore.frames import Frame, read_frames
from datastore.identity import geometry_id
from datastore.ingest import LabelBuilder
from datastore.mapping import ImportMapping, RefusedError, converted
from datastore.outliers import outlier_group
from datastore.quality import judge, name_ordering, sign_pattern
from datastore.salvage import make_way, reversed_id, salvage
from datastore.schema import SpinConfig, SpinPoint, content_hash
from datastore.sqlite_query import decode, encode
from datastore.stores import SpinStore, explained, stamped

IMPORTER = "spinmultinet import 1"
"""Written into every imported label; raised when the conversion changes."""

CHUNK = 100
EXAMPLES = 3
"""Frames that the report shows for each reason."""

LEVEL_KEYS = ("code", "functional", "hubbard_u", "ecut", "kpts")
LEVEL_EXAMPLE = "level_of_theory: {code: VASP, functional: PBE+U, hubbard_u: {Ni: 5.3}, ecut: 600, kpts: [4, 4, 4]}"

TOLERANCES = {"energy": 1e-6, "free_energy": 1e-6, "forces": 1e-5, "stress": 1e-6, "magmoms_out": 1e-4}
"""eV per cell, eV/Angstrom, eV/Angstrom^3, muB. Two labels of one calculation that differ by more disagree; files with
eight decimals do not."""

ARRAYS = {"positions", "forces", "magmoms_in", "magmoms_out", "magnetic_forces"}

Namer = Callable[[SpinConfig], str]
Converter = Callable[[Frame, str], SpinPoint]


class ImportLevel(BaseModel):
    """Level of theory and origin of foreign labels: the content of ``--level LEVEL.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level_of_theory: dict[str, Any] = Field(description="code, functional, hubbard_u, ecut, kpts, and what else counts")
    engine: str = Field("", description="name in the store; default: the code")
    engine_version: str = "not stated"
    licence: str = ""
    citation: str = ""
    url: str = ""

    @field_validator("level_of_theory")
    @classmethod
    def _complete(cls, value: dict[str, Any]) -> dict[str, Any]:
        missing = [key for key in LEVEL_KEYS if value.get(key) is None]
        if missing:
            raise ValueError(
                f"state {', '.join(missing)}; write for example {LEVEL_EXAMPLE}, with {{}} for no U and 'unknown' for "
                "what the authors do not say"
            )
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"only texts, numbers, lists and mappings can be stored ({error})") from None
        return value


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
    refused: dict[str, Refusals] = field(default_factory=dict)
    verdict_reasons: dict[str, int] = field(default_factory=dict)
    """Rule -> new labels that it rejected."""
    salvaged: int = 0
    """Flipped labels that also became labels of the configuration they ended in."""
    outliers: int = 0
    """Labels newly rejected because they depart from their group."""
    one_energy: int = 0
    """Frames with one energy, which was taken for the free energy and the extrapolated one."""
    without_stress: int = 0
    levels: list[str] = field(default_factory=list)

    @property
    def not_in(self) -> int:
        """Frames whose numbers are not in the store."""
        return self.disagreeing.count + sum(refusals.count for refusals in self.refused.values())


def foreign(mapping: ImportMapping, level: ImportLevel, name: Namer | None = None, campaign: str = "") -> Converter:
    """Converter of frames described by a mapping, at a stated level of theory.

    ``name`` gives the ordering of a configuration where the file does not; default: its pattern of signs.
    """
    engine = {
        "engine": level.engine or str(level.level_of_theory["code"]),
        "engine_version": level.engine_version,
        "level_of_theory": level.level_of_theory,
        "campaign": campaign,
    }
    origin = {key: value for key in ("licence", "citation", "url") if (value := getattr(level, key))}

    def convert(frame: Frame, where: str) -> SpinPoint:
        fields = converted(frame.values, mapping)
        source = {"importer": IMPORTER, **origin}
        if mapping.key("energy") not in frame.values or mapping.key("free_energy") not in frame.values:
            source["energies"] = "the file has one energy"
        return _point({**fields, **engine, "moment_role": mapping.moment_role, "source": source}, name or _pattern)

    return convert


def own(frame: Frame, where: str) -> SpinPoint:
    """Converter of our own export, which states mapping and level of theory itself. Raises RefusedError."""
    if frame.atoms is None or "level_of_theory" not in frame.values:
        raise RefusedError("no label of ours", "it states no level of theory; give --mapping and --level")
    try:
        point = atoms_to_point(frame.atoms, where)
    except (DataError, OverflowError) as error:
        raise RefusedError("no label of ours", str(error)) from None
    return judge(point if point.source else point.model_copy(update={"source": {"importer": IMPORTER}}))


def import_labels(
    store: SpinStore,
    files: Iterable[Path],
    convert: Converter,
    watch: Callable[[Path, float], None] = lambda path, share: None,
) -> ImportReport:
    """Store the labels in ``files``; ``watch`` hears how much of which file is done, after each chunk.

    Raises DataError where a file cannot be read at all; what was stored before stays.
    """
    report = ImportReport()
    with explained(store.uri):
        for path in files:
            frames = read_frames(path)
            origin = {"file": path.name, "sha256": file_sha256(path)}
            for chunk in in_batches(frames, CHUNK):
                _store(store, list(_converted(chunk, path, origin, convert, report)), report)
                watch(path, chunk[-1].fraction)
        builder = LabelBuilder(store)
        builder.judge_groups()
        report.outliers = builder.report.outliers
    return report


def _converted(
    chunk: list[Frame], path: Path, origin: dict[str, Any], convert: Converter, report: ImportReport
) -> Iterator[SpinPoint]:
    """Labels of the frames that give one; the others are noted."""
    for frame in chunk:
        where = f"{path}, frame {frame.number}"
        report.frames += 1
        try:
            if frame.problem:
                raise RefusedError("unreadable", frame.problem)
            point = _checked(frame, convert, where)
        except RefusedError as error:
            _note(report.refused.setdefault(error.reason, Refusals()), f"{where}: {error}")
            continue
        report.one_energy += "energies" in point.source
        report.without_stress += point.stress is None
        if point.level_id not in report.levels:
            report.levels.append(point.level_id)
        if "sha256" not in point.source:
            point = point.model_copy(update={"source": {**origin, "frame": frame.number, **point.source}})
        yield point


def _checked(frame: Frame, convert: Converter, where: str) -> SpinPoint:
    """The label of a frame, which any store takes and gives back as it is. Raises RefusedError."""
    try:
        point = convert(frame, where)
        problem = _unstorable(point)
    except RecursionError:
        problem = "it is nested too deeply"
    if problem:
        raise RefusedError("not storable", problem)
    timings = point.timings.items()
    if wrong := [name for name, value in timings if value < 0 or (name == "cores" and value == 0)]:
        raise RefusedError("implausible timings", f"{wrong[0]} is {point.timings[wrong[0]]:g}")
    return point


def _unstorable(point: SpinPoint) -> str:
    """Why a store would refuse the label, or change it; empty where none does. Arrays hold finite numbers only."""
    try:
        fields = point.model_dump(exclude=ARRAYS)
        if name := next((name for name in _names(fields) if name.startswith("$")), ""):
            return f"a name begins with a dollar sign, which is for operators of MongoDB: {name[:40]!r}"
        bson.encode(fields)  # as MongoDB wants it: no null characters in names, 64 bits in an integer
        return "" if decode(encode(fields)) == fields else "a number is not finite, or a name is no text"
    except (DataError, BSONError, ValueError, OverflowError) as error:
        return str(error)[:200]


def _names(value: Any) -> Iterator[str]:
    """Keys of all mappings within a value."""
    if isinstance(value, dict):
        yield from map(str, value)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _names(inner)


def _point(fields: dict[str, Any], name: Namer) -> SpinPoint:
    """The judged label of converted fields."""
    fields.setdefault("deformation", "unknown")
    fields.setdefault("pair_id", geometry_id(fields["species"], fields["lattice"], fields["positions"]))
    moments = fields["magmoms_out"]
    if fields["magmoms_in"].shape != moments.shape:
        raise RefusedError("wrong shape", f"magmoms_in is {fields['magmoms_in'].shape}, magmoms_out {moments.shape}")
    if fields["total_moment"] is None:
        total = moments.sum(axis=0)
        fields["total_moment"] = float(total if moments.ndim == 1 else np.linalg.norm(total))
    try:
        names = SpinConfig.model_fields
        config = SpinConfig(**{"ordering": "", **{key: value for key, value in fields.items() if key in names}})
        fields["ordering"] = config.ordering or name(config)
        config = config.model_copy(update={"ordering": fields["ordering"]})
        return judge(SpinPoint(**fields, ordering_found=name_ordering(config, moments), verdict="accepted"))
    except ValidationError as error:
        first = error.errors()[0]
        raise RefusedError("invalid", f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _pattern(config: SpinConfig) -> str:
    return sign_pattern(config, config.magmoms_in)


def _store(store: SpinStore, points: list[SpinPoint], report: ImportReport) -> None:
    """Write the labels that are new, then the note that their groups wait for judgement; salvage what is flipped."""
    _make_way(store, points)
    ids = [point.point_id for point in points]
    fields = ["point_id", *TOLERANCES]
    known = {d["point_id"]: d for d in store.points.query({"point_id": {"$in": ids}}, fields)}
    new: dict[str, SpinPoint] = {}
    for point_id, point in zip(ids, points, strict=True):
        if point_id not in known:
            known[point_id], new[point_id] = point.model_dump(include=set(TOLERANCES)), point
        elif difference := _difference(known[point_id], point):
            _note(report.disagreeing, f"{_where(point)}: {difference} from label {point_id}")
        else:
            report.present += 1
    if new:
        store.points.update([stamped(point.to_document()) for point in new.values()])
        store.failures.remove_docs({"point_id": {"$in": list(new)}})
    if points:  # also of labels that were there: a kill may have come between the two writes
        groups = sorted({outlier_group(point) for point in points})
        mark = {"source": f"import:{content_hash(ids)}", "completed_at": "", "groups": groups, "judged": False}
        store.ingested.update(stamped(mark))
    for point_id, point in dict(zip(ids, points, strict=True)).items():  # the same holds here
        salvaged = salvage(store, point) if point.verdict == "rejected" and not point.salvaged_from else None
        report.salvaged += salvaged is not None and point_id in new
    for point in new.values():
        report.accepted += point.verdict == "accepted"
        report.rejected += point.verdict == "rejected"
        for reason in {text.split(":")[0] for text in point.verdict_reasons}:
            report.verdict_reasons[reason] = report.verdict_reasons.get(reason, 0) + 1


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
            return f"{name} differs by {departure:.3g}"
    return ""


def _where(point: SpinPoint) -> str:
    return f"{point.source.get('file')}, frame {point.source.get('frame')}"


def _note(refusals: Refusals, example: str) -> None:
    refusals.count += 1
    if len(refusals.examples) < EXAMPLES:
        refusals.examples.append(example)
