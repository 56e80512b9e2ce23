"""A frozen training set on disk, named by the hash of its content.

``FOLDER/<snapshot_id>/`` holds ``train.extxyz``, ``val.extxyz``, ``test.extxyz`` (see :mod:`datastore.atoms`) and
``snapshot.json``. Only accepted labels enter, of one level of theory and one role of the input moments; several levels
only where a delta or a multi-head set is asked for (:mod:`datastore.label_sets`). Geometries that are one and the same
(:mod:`datastore.leaks`) are in one split. The folder appears at once or not at all, and is never changed afterwards.
The document (without ``tokens``) is also in ``store.snapshots``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datastore.atoms import write_configs, write_points
from datastore.checksums import file_sha256
from datastore.errors import DataError
from datastore.fingerprints import Geometry
from datastore.ingest import settle
from datastore.label_sets import LabelSet, SetKind, SetOptions, check_kinds
from datastore.leaks import Progress, find_twins, geometry_of, read_geometries
from datastore.levels import DELTA, heads_theory, names
from datastore.quality import sign_pattern
from datastore.schema import MomentRole, SpinConfig, SpinPoint, content_hash
from datastore.splits import SPLITS, Division, Member, Split, SplitOptions, divide
from datastore.stores import SpinStore, explained, stamped
from datastore.upgrade import upgrade_document

FILE = "snapshot.json"

EARLIER = "earlier.extxyz"
"""Geometries in none of the splits, where there are some: of an earlier snapshot, and of labels left out. What comes
later and is the same as one of them follows it."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{24}\.\d+")
ABANDONED = 600
"""Seconds after which a temporary folder that nobody writes into is of a process that was killed."""


class Snapshot(BaseModel):
    """What a snapshot holds and how it came about; the content of ``snapshot.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    snapshot_id: str
    campaign: str
    created: str = Field(description="ISO 8601, UTC")
    criteria: str = Field(description="MongoDB criteria that chose the labels, as JSON text")
    options: SplitOptions
    previous: str | None = Field(description="snapshot_id whose splits were kept")
    level_id: str
    level_of_theory: dict[str, Any]
    moment_role: MomentRole
    species: list[str]
    counts: dict[str, int] = Field(description="labels per split")
    by_deformation: dict[str, dict[str, int]] = Field(description="labels per split and kind of deformation")
    points: dict[str, list[str]] = Field(description="point_ids per split")
    labels: dict[str, str] = Field(
        default_factory=dict, description="point_id -> hash of the label's numbers, to notice one that is replaced"
    )
    tokens: dict[str, Split] = Field(description="geometry or pair -> split, to keep splits stable under growth")
    kind: SetKind = Field(default="plain", description="what the labels are; see datastore.label_sets")
    levels: dict[str, str] = Field(
        default_factory=dict, description="level_id -> name of what the labels are made of; delta: subtracted one first"
    )
    by_level: dict[str, dict[str, int]] = Field(
        default_factory=dict, description="multi-head: labels per split and level_id, whose name is the head"
    )
    left_out: list[str] = Field(
        default_factory=list,
        description="point_ids of held-out labels whose geometry is trained on, late ones whose is tested on",
    )
    other_level: list[str] = Field(
        default_factory=list, description="point_ids left out because a correction changed their level of theory"
    )
    twins: int = Field(default=0, description="pairs of geometries that are the same and were kept together")
    files: dict[str, str] = Field(description="file name -> SHA-256")
    folder: Path = Field(exclude=True, description="where it lies; not part of the document")

    @property
    def heads(self) -> dict[str, str]:
        """level_id -> name of its head, in a multi-head set; empty otherwise."""
        return self.levels if self.kind == "multi-head" else {}

    def path(self, split: Split) -> Path:
        """The extended XYZ file of a split."""
        return self.folder / f"{split}.extxyz"


def make_snapshot(
    store: SpinStore,
    folder: str | Path,
    campaign: str = "",
    criteria: Mapping[str, Any] | None = None,
    options: SplitOptions | None = None,
    previous: Snapshot | None = None,
    labels: SetOptions | None = None,
    progress: Progress | None = None,
    frozen: bool = False,
) -> Snapshot:
    """Freeze the accepted labels of ``campaign`` (all where empty) that match ``criteria`` into ``folder``.

    An existing snapshot of the same content is verified and returned. ``progress`` receives how many geometries of all
    were compared with each other. ``frozen``: labels that active learning asked for never enter the test split, nor
    with ``previous`` any other new ones; those whose geometry is tested on are left out. Held-out orderings are
    written under their one name. Raises DataError where there are no labels, where they mix levels of theory or moment
    roles without ``labels`` saying so, where a split cannot be had, or where the disk is full.
    """
    chosen: dict[str, Any] = {"$and": [{"verdict": "accepted"}, *([dict(criteria)] if criteria else [])]}
    if campaign:
        chosen["$and"].append({"campaign": campaign})
    settle(store)
    with explained(store.uri):
        source = LabelSet(store, chosen, labels or SetOptions())
        return _make(source, Path(folder), campaign, options or SplitOptions(), previous, progress, frozen)


def load_snapshot(folder: str | Path) -> Snapshot:
    """Read a snapshot's folder and verify every file. Raises DataError where it is missing, damaged or newer."""
    folder = Path(folder)
    remedy = "restore it, or delete the folder and make the snapshot again"
    try:
        document = upgrade_document(json.loads((folder / FILE).read_text(encoding="utf-8")))
        snapshot = Snapshot(**document, folder=folder)
    except FileNotFoundError as error:
        raise DataError(f"{folder} is no snapshot: it has no {FILE}; give the folder that holds it") from error
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / FILE} is damaged ({str(error).splitlines()[0]}); {remedy}") from error
    for name, checksum in snapshot.files.items():
        if not (folder / name).is_file():
            raise DataError(f"{folder / name} is missing; {remedy}")
        if file_sha256(folder / name) != checksum:
            raise DataError(f"{folder / name} is damaged: its checksum differs from {FILE}; {remedy}")
    return snapshot


def geometry_token(point: SpinPoint) -> str:
    """Hash of species, lattice and positions (1e-6 Angstrom), in site order; orderings of one geometry share it."""
    return geometry_of(point).token


@dataclass
class _Survey:
    """What one pass over the labels leaves in memory: a little per label, and the distinct geometries."""

    members: list[Member] = field(default_factory=list)
    content: dict[str, str] = field(default_factory=dict)
    level_of: dict[str, str] = field(default_factory=dict)
    species: set[str] = field(default_factory=set)
    kinds: Counter[tuple[str, MomentRole]] = field(default_factory=Counter)
    theories: dict[str, dict[str, Any]] = field(default_factory=dict)
    geometries: dict[str, Geometry] = field(default_factory=dict)
    recalled: set[str] = field(default_factory=set)
    """Tokens of geometries that no label has now."""

    def add(self, point: SpinPoint) -> None:
        """Take in one label."""
        token, point_id, level_id = geometry_token(point), point.point_id, point.level_id
        self.kinds[(level_id, point.moment_role)] += 1
        self.theories.setdefault(level_id, point.level_of_theory)
        self.species |= set(point.species)
        self.content[point_id], self.level_of[point_id] = label_hash(point), level_id
        tokens = (token, *([f"pair:{point.pair_id}"] if point.pair_id else []))
        of_point = (
            point.parent,
            point.ordering,
            point.formula,
            frozenset(point.species),
            _start(point),
            _pattern(point),
        )
        self.members.append(Member(point_id, tokens, point.deformation, point.generation, *of_point))
        if token not in self.geometries:
            self.geometries[token] = replace(geometry_of(point), name=token, moments=None)

    def recall(self, previous: Snapshot) -> None:
        """Remember geometries of an earlier snapshot that are not among these, so that their twins follow them."""
        absent = {token for token in previous.tokens if token.startswith("geometry:")} - self.geometries.keys()
        paths = [previous.path(split) for split in SPLITS if previous.counts[split]]
        if EARLIER in previous.files:
            paths.append(previous.folder / EARLIER)
        for path in paths if absent else ():
            for geometry in read_geometries(path):
                if geometry.token in absent:
                    self.geometries[geometry.token] = replace(geometry, name=geometry.token, moments=None)
                    self.recalled.add(geometry.token)

    def unwritten(self, point_ids: Iterable[str]) -> list[Geometry]:
        """The geometries that none of these labels has, in the order of their tokens."""
        chosen = set(point_ids)
        written = {member.tokens[0] for member in self.members if member.point_id in chosen}
        return [self.geometries[token] for token in sorted(self.geometries.keys() - written)]

    def join_twins(self, tolerance: float, progress: Progress | None) -> int:
        """Give labels of geometries that are the same a common token; returns how many pairs there are."""
        twins = list(find_twins(self.geometries.values(), tolerance, progress=progress))
        others: defaultdict[str, list[str]] = defaultdict(list)
        for twin in twins:
            others[twin.first].append(twin.second)
            others[twin.second].append(twin.first)
        self.members = [replace(m, tokens=(*m.tokens, *sorted(others[m.tokens[0]]))) for m in self.members]
        return len(twins)


def _make(
    source: LabelSet,
    folder: Path,
    campaign: str,
    options: SplitOptions,
    previous: Snapshot | None,
    progress: Progress | None,
    frozen: bool,
) -> Snapshot:
    survey = _Survey()
    for point in source.points():
        survey.add(point)
    check_kinds(survey.kinds, source.options, len(source.other_level))
    if previous is not None:
        survey.recall(previous)
    twins = survey.join_twins(options.twins, progress) if options.twins > 0 else 0
    before = None if previous is None else {name: split for split in SPLITS for name in previous.points[split]}
    division = divide(survey.members, options, previous.tokens if previous else {}, frozen, before)
    split_of = division.split_of
    rows = sorted(
        [point_id, label, split_of[point_id]] for point_id, label in survey.content.items() if point_id in split_of
    )
    kinds = {split: Counter(m.stratum for m in survey.members if split_of.get(m.point_id) == split) for split in SPLITS}
    kind = source.options.kind
    level_id, theory = _level(survey.theories, source.options)
    draft = Snapshot(
        snapshot_id=content_hash({"format": 1, "points": rows, **_further(kind, survey, division)}),
        campaign=campaign,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        criteria=json.dumps(source.criteria, default=str),
        options=options,
        previous=previous.snapshot_id if previous else None,
        level_id=level_id,
        level_of_theory=theory,
        moment_role=survey.kinds.most_common(1)[0][0][1],
        species=sorted(survey.species),
        counts={split: sum(kinds[split].values()) for split in SPLITS},
        by_deformation={split: dict(sorted(kinds[split].items())) for split in SPLITS},
        points={split: [row[0] for row in rows if row[2] == split] for split in SPLITS},
        labels={row[0]: row[1] for row in rows},
        tokens=division.tokens,
        kind=kind,
        levels=_levels(survey.theories, source.options),
        by_level=_by_level(rows, survey.level_of) if kind == "multi-head" else {},
        left_out=division.left_out,
        other_level=sorted(source.other_level),
        twins=twins,
        files={},
        folder=folder,
    )
    draft = draft.model_copy(update={"folder": folder / draft.snapshot_id})
    snapshot = load_snapshot(draft.folder) if draft.folder.exists() else _write(source, draft, survey, division)
    # Tokens stay in the file: thousands of keys that may contain dots are no good to a database.
    document = snapshot.model_dump(mode="json", exclude={"tokens"}) | {"folder": str(snapshot.folder.resolve())}
    source.store.snapshots.update(stamped(document))
    return snapshot


def _further(kind: SetKind, survey: _Survey, division: Division) -> dict[str, Any]:
    """What else than labels and splits makes a snapshot: its kind, and what it remembers of labels not in it."""
    earlier = {token: division.tokens[token] for token in {*division.earlier, *survey.recalled}}
    return {**({} if kind == "plain" else {"kind": kind}), **({"earlier": earlier} if earlier else {})}


def _start(point: SpinPoint) -> str:
    """Parent that the cell of the point's parent was computed from; empty where it was given."""
    how = point.deformation_parameters.get("parent")
    return str(how.get("start", "")) if isinstance(how, dict) else ""


def _pattern(point: SpinPoint) -> str:
    """Cell, sites and signs of the input moments; empty for vectors, which have none."""
    signs = sign_pattern(point, point.magmoms_in)
    # A custom cell says nothing of its sites, but those of one parent are the same.
    cell = [point.cell, point.parent if point.cell == "custom" else "", point.species, signs]
    return "" if signs == "NC" else content_hash(cell)


def _level(theories: dict[str, dict[str, Any]], options: SetOptions) -> tuple[str, dict[str, Any]]:
    """Id and theory of the whole set; those of a multi-head set are of no label."""
    if options.kind != "multi-head":
        return next(iter(theories.items()))
    theory = heads_theory(theories)
    return content_hash(theory, 16), theory


def _levels(theories: dict[str, dict[str, Any]], options: SetOptions) -> dict[str, str]:
    """level_id -> name of the levels that the labels come from."""
    if options.kind == "delta":
        (theory,) = theories.values()
        theories = dict(zip(options.levels, (theory[DELTA]["from"], theory[DELTA]["to"]), strict=True))
    return names(theories)


def _by_level(rows: list[list[str]], level_of: Mapping[str, str]) -> dict[str, dict[str, int]]:
    counts = {split: Counter(level_of[row[0]] for row in rows if row[2] == split) for split in SPLITS}
    return {split: dict(sorted(counts[split].items())) for split in SPLITS}


def label_hash(point: SpinPoint) -> str:
    """Hash of the numbers of a label: moments in and out, energies, forces, stress, magnetic forces."""
    arrays = [point.magmoms_in, point.magmoms_out, point.forces, *([] if point.stress is None else [point.stress])]
    if point.magnetic_forces is not None:
        arrays.append(point.magnetic_forces)
    return content_hash([point.energy, point.free_energy, *(array.tolist() for array in arrays)])


def _as_surveyed(
    points: Iterable[SpinPoint], content: Mapping[str, str], renamed: Mapping[str, str]
) -> Iterator[SpinPoint]:
    """The labels, which must be those that were divided. Raises DataError where one was judged anew or replaced.

    A held-out ordering gets the name that the split has for it, so that evaluations file it where it belongs.
    """
    for point in points:
        if point.verdict != "accepted" or label_hash(point) != content[point.point_id]:
            raise DataError(
                f"label {point.point_id} changed while the snapshot was made (it is {point.verdict} now); make it again"
            )
        name = renamed.get(point.point_id)
        yield point if name is None else point.model_copy(update={"ordering": name})


def _geometry_config(geometry: Geometry) -> SpinConfig:
    moments = np.zeros(len(geometry.species))
    return SpinConfig(
        species=list(geometry.species),
        lattice=geometry.lattice,
        positions=geometry.positions,
        magmoms_in=moments,
        ordering="",
    )


def _remove_abandoned(folder: Path) -> None:
    """Remove what snapshots that were killed left behind; other processes may be writing theirs right now."""
    for path in folder.glob(".*"):
        if not _TEMPORARY.fullmatch(path.name):
            continue
        with contextlib.suppress(FileNotFoundError):  # it was renamed meanwhile
            newest = max(entry.stat().st_mtime for entry in (path, *path.iterdir()))
            if time.time() - newest > ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


def _write(source: LabelSet, draft: Snapshot, survey: _Survey, division: Division) -> Snapshot:
    """Write into a temporary folder and rename it, so that no half snapshot is ever seen."""
    temporary = draft.folder.with_name(f".{draft.snapshot_id}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(temporary.parent)
        files = {}
        for split in SPLITS:
            path = temporary / f"{split}.extxyz"
            labels = _as_surveyed(source.in_order(draft.points[split]), survey.content, division.renamed)
            write_points(path, labels, split, draft.heads)
            files[path.name] = file_sha256(path)
        if earlier := survey.unwritten(name for members in draft.points.values() for name in members):
            write_configs(temporary / EARLIER, map(_geometry_config, earlier))
            files[EARLIER] = file_sha256(temporary / EARLIER)
        snapshot = draft.model_copy(update={"files": files})
        with open(temporary / FILE, "w", encoding="utf-8") as file:
            file.write(json.dumps(snapshot.model_dump(mode="json"), indent=1))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(draft.folder)
    except OSError as error:
        if (draft.folder / FILE).exists():  # another process was faster
            return load_snapshot(draft.folder)
        raise DataError(f"{draft.folder} cannot be written: {error}; check space and permissions") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return snapshot
