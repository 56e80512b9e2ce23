"""A frozen training set on disk, named by the hash of its content.

``FOLDER/<snapshot_id>/`` holds ``train.extxyz``, ``val.extxyz``, ``test.extxyz`` (see :mod:`datastore.atoms`) and
``snapshot.json``. Only accepted labels enter, of one level of theory and one role of the input moments. The folder
appears at once or not at all, and is never changed afterwards. The document (without ``tokens``) is also in
``store.snapshots``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datastore.atoms import write_points
from datastore.errors import DataError
from datastore.schema import MomentRole, SpinPoint, content_hash
from datastore.splits import SPLITS, Member, Split, SplitOptions, assign, group_members
from datastore.stores import SpinStore, explained, stamped
from datastore.upgrade import parse, upgrade_document

FILE = "snapshot.json"
CHUNK = 200


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
    tokens: dict[str, Split] = Field(description="geometry or pair -> split, to keep splits stable under growth")
    files: dict[str, str] = Field(description="file name -> SHA-256")
    folder: Path = Field(exclude=True, description="where it lies; not part of the document")

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
) -> Snapshot:
    """Freeze the accepted labels of ``campaign`` (all where empty) that match ``criteria`` into ``folder``.

    An existing snapshot of the same content is verified and returned. Raises DataError where there are no labels, where
    they mix levels of theory or moment roles, or where the disk is full.
    """
    options = options or SplitOptions()
    chosen: dict[str, Any] = {"$and": [{"verdict": "accepted"}, *([dict(criteria)] if criteria else [])]}
    if campaign:
        chosen["$and"].append({"campaign": campaign})
    with explained(store.uri):
        return _make(store, Path(folder), campaign, chosen, options, previous)


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
        if _sha256(folder / name) != checksum:
            raise DataError(f"{folder / name} is damaged: its checksum differs from {FILE}; {remedy}")
    return snapshot


def geometry_token(point: SpinPoint) -> str:
    """Hash of species, lattice and positions (1e-6 Angstrom), in site order; orderings of one geometry share it."""
    rounded = [(np.round(array, 6) + 0.0).tolist() for array in (point.lattice, point.positions)]
    return f"geometry:{content_hash([point.species, *rounded])}"


def _make(
    store: SpinStore,
    folder: Path,
    campaign: str,
    criteria: dict[str, Any],
    options: SplitOptions,
    previous: Snapshot | None,
) -> Snapshot:
    members, content, species = _survey(store, criteria)
    groups = group_members(members)
    by_group = assign(groups, options, previous.tokens if previous else {})
    split_of = {m.point_id: by_group[g.name] for g in groups for m in g.members}
    rows = sorted([point_id, label, split_of[point_id]] for point_id, label in content.items())
    snapshot_id = content_hash({"format": 1, "points": rows})
    first = store.points.query_one({"point_id": rows[0][0]}) or {}
    kinds = {split: Counter(m.stratum for m in members if split_of[m.point_id] == split) for split in SPLITS}
    draft = Snapshot(
        snapshot_id=snapshot_id,
        campaign=campaign,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        criteria=json.dumps(criteria, default=str),
        options=options,
        previous=previous.snapshot_id if previous else None,
        level_id=first["level_id"],
        level_of_theory=first["level_of_theory"],
        moment_role=first["moment_role"],
        species=sorted(species),
        counts={split: sum(kinds[split].values()) for split in SPLITS},
        by_deformation={split: dict(sorted(kinds[split].items())) for split in SPLITS},
        points={split: [row[0] for row in rows if row[2] == split] for split in SPLITS},
        tokens={token: split_of[m.point_id] for m in members for token in m.tokens},
        files={},
        folder=folder / snapshot_id,
    )
    snapshot = load_snapshot(draft.folder) if draft.folder.exists() else _write(store, draft)
    # Tokens stay in the file: thousands of keys that may contain dots are no good to a database.
    store.snapshots.update(stamped(snapshot.model_dump(mode="json", exclude={"tokens"})))
    return snapshot


def _survey(store: SpinStore, criteria: dict[str, Any]) -> tuple[list[Member], dict[str, str], set[str]]:
    """One pass that keeps little per label: what splitting needs, the hash of the label, the elements."""
    members: list[Member] = []
    content: dict[str, str] = {}
    species: set[str] = set()
    kinds: Counter[tuple[str, str]] = Counter()
    for document in store.points.query(criteria):
        point = parse(SpinPoint, document)
        point_id = point.point_id
        kinds[(point.level_id, point.moment_role)] += 1
        species |= set(point.species)
        tokens = (geometry_token(point), *([f"pair:{point.pair_id}"] if point.pair_id else []))
        members.append(Member(point_id, tokens, point.deformation, point.generation))
        content[point_id] = _label_hash(point)
    if not members:
        raise DataError("no accepted labels to make a snapshot of; look at 'spinmultinet data stats' for verdicts")
    if len(kinds) > 1:
        found = ", ".join(f"{level} with {role} moments: {n}" for (level, role), n in kinds.most_common())
        raise DataError(
            f"labels of several levels of theory or moment roles never share a training set ({found}); "
            f"choose one, such as level_id={kinds.most_common(1)[0][0][0]}"
        )
    return members, content, species


def _label_hash(point: SpinPoint) -> str:
    arrays = [point.magmoms_in, point.magmoms_out, point.forces, *([] if point.stress is None else [point.stress])]
    if point.magnetic_forces is not None:
        arrays.append(point.magnetic_forces)
    return content_hash([point.energy, point.free_energy, *(array.tolist() for array in arrays)])


def _write(store: SpinStore, draft: Snapshot) -> Snapshot:
    """Write into a temporary folder and rename it, so that no half snapshot is ever seen."""
    temporary = draft.folder.with_name(f".{draft.snapshot_id}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        files = {}
        for split in SPLITS:
            path = temporary / f"{split}.extxyz"
            write_points(path, _ordered(store, draft.points[split]), split)
            files[path.name] = _sha256(path)
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


def _ordered(store: SpinStore, point_ids: list[str]) -> Iterator[SpinPoint]:
    for start in range(0, len(point_ids), CHUNK):
        chunk = point_ids[start : start + CHUNK]
        found = {d["point_id"]: d for d in store.points.query({"point_id": {"$in": chunk}})}
        missing = [point_id for point_id in chunk if point_id not in found]
        if missing:
            raise DataError(f"label {missing[0]} vanished while the snapshot was written; make it again")
        yield from (parse(SpinPoint, found[point_id]) for point_id in chunk)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
