"""Writes an export: choose the format, write beside the goal, make the card, put everything in its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from datastore.atoms import point_to_text, write_frames
from datastore.checksums import files_of
from datastore.errors import DataError
from datastore.exports import ase_db, csv_table, deepmd, hdf5, pymatgen_json
from datastore.exports.card import About, Tally, card
from datastore.exports.extxyz import KEYS, FrameText, Keys, rekeyed
from datastore.exports.labels import Labelled
from datastore.exports.sources import Source
from datastore.splits import SPLITS

FormatName = Literal["extxyz", "ase", "deepmd", "hdf5", "pymatgen", "csv"]
Splits = Literal["key", "files"]
Writer = Callable[[Path, Iterable[Labelled]], int]


class Format(NamedTuple):
    """One format: how its files are called, and who writes them."""

    suffixes: tuple[str, ...]
    what: str
    keys: tuple[Keys, ...] = ()
    write: Writer | None = None


FORMATS: dict[FormatName, Format] = {
    "extxyz": Format((".extxyz", ".xyz"), "extended XYZ", KEYS),
    "ase": Format((".db",), "ASE database", (), ase_db.write),
    "deepmd": Format((), "DeePMD-kit npy systems with spin (a folder)", (), deepmd.write),
    "hdf5": Format((".h5", ".hdf5"), "HDF5", (), hdf5.write),
    "pymatgen": Format((".json",), "pymatgen JSON", ("spinmultinet", "chgnet"), pymatgen_json.write),
    "csv": Format((".csv",), "CSV of scalars", (), csv_table.write),
}
"""deepmd takes every name without one of the other suffixes."""


@dataclass(frozen=True)
class Written:
    """What an export is."""

    labels: int
    files: list[Path]
    """Files, or the folder of a format that is one."""
    card: Path


def format_of(out: Path, asked: str = "") -> FormatName:
    """The format that was ``asked`` for, or that the name of the file says. Raises DataError."""
    listed = ", ".join(f"{name} ({' '.join(f.suffixes) or 'folder'})" for name, f in FORMATS.items())
    if asked:
        if asked not in FORMATS:
            raise DataError(f"there is no format {asked!r}; there are {listed}")
        return asked
    found = next((name for name, f in FORMATS.items() if out.suffix.lower() in f.suffixes), None)
    if found is None:
        raise DataError(f"{out}: the name tells no format; state --format: {listed}")
    return found


def export(
    source: Source,
    out: Path,
    kind: FormatName = "extxyz",
    keys: str = "",
    splits: Splits = "key",
    command: str = "",
    progress: Callable[[float], None] = lambda share: None,
) -> Written:
    """Write the labels of ``source`` to ``out``, and a card beside it; both appear when they are whole.

    ``keys``: names for another program, where the format has some. ``splits`` ``files``: one file per split of a
    snapshot, ``NAME-train.SUFFIX``... ``command`` stands on the card. Raises DataError: the format has no such keys,
    the source no splits, no label matches, the folder is there already, the disk is full.
    """
    _check(source, kind, keys, splits)
    goals = {split: _named(out, split) for split in SPLITS} if splits == "files" else {"": out}
    tally = Tally()
    card_file = out.with_name(f"{out.name}.card.md")
    with _appearing([*goals.values(), card_file]) as temporary:
        for split, goal in goals.items():
            before = tally.labels
            _write(source, temporary[goal], kind, keys, split, tally, progress)
            if tally.labels == before:  # an empty split has no file
                _remove(temporary.pop(goal))
        if not tally.labels:
            raise DataError("no label matches; see what there is with: spinmultinet data stats")
        about = About(
            title=out.name,
            source=source.name,
            level_id=source.level_id,
            level_name=source.level_name,
            theory=source.theory,
            format=FORMATS[kind].what + (f" with the keys of {keys}" if keys else ""),
            command=command,
            created=datetime.now(UTC).date().isoformat(),
            snapshot_id=source.snapshot_id,
        )
        written = [goal for goal in goals.values() if goal in temporary]
        text = card(about, tally, {name: path for goal in written for name, path in _files(goal, temporary[goal])})
        _write_text(temporary[card_file], text)
        # Whatever happens from here on, no card tells of other files than those beside it; the new one comes last.
        for old in [card_file, *(goal for goal in goals.values() if goal not in temporary)]:
            _remove(old)  # files are of an earlier export, whose split was not empty
    return Written(tally.labels, written, card_file)


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path.parent} cannot be written: {error.strerror}; check space and permissions") from error


def _check(source: Source, kind: FormatName, keys: str, splits: Splits) -> None:
    if keys and keys not in FORMATS[kind].keys:
        known = ", ".join(FORMATS[kind].keys) or "none"
        raise DataError(f"format {kind} has no keys {keys!r}; it has: {known}")
    if splits == "files" and not source.snapshot_id:
        raise DataError("labels of a store have no splits; make a snapshot (data snapshot) and export its folder")


def _named(out: Path, split: str) -> Path:
    return out.with_name(f"{out.stem}-{split}{out.suffix}")


def _write(
    source: Source,
    path: Path,
    kind: FormatName,
    keys: str,
    split: str,
    tally: Tally,
    progress: Callable[[float], None],
) -> None:
    """Write one file or folder, counting."""

    def told() -> None:
        if tally.labels % 100 == 0:
            progress(min(1.0, tally.labels / max(1, source.most)))

    if kind == "extxyz":
        write_frames(path, _frames(source, split, keys or "spinmultinet", tally, told))  # type: ignore[arg-type]
        return
    write = pymatgen_json.write_chgnet if keys == "chgnet" else FORMATS[kind].write
    assert write is not None
    try:
        write(path, _counted(source.labels(split), tally, told))
    except OSError as error:
        raise DataError(f"{path.parent} cannot be written: {error.strerror}; check space and permissions") from error


def _frames(source: Source, split: str, keys: Keys, tally: Tally, told: Callable[[], None]) -> Iterator[str]:
    if source.texts is not None:
        for frame in source.texts(split):
            tally.add_text(frame)
            told()
            yield str(rekeyed(frame, keys))
        return
    for labelled in _counted(source.labels(split), tally, told):
        text = point_to_text(labelled.point, labelled.split)
        yield text if keys == "spinmultinet" else str(rekeyed(FrameText.parse(text), keys))


def _counted(labels: Iterable[Labelled], tally: Tally, told: Callable[[], None]) -> Iterator[Labelled]:
    for labelled in labels:
        tally.add_label(labelled)
        told()
        yield labelled


def _files(goal: Path, path: Path) -> list[tuple[str, Path]]:
    """Name on the card and place of each file of an export."""
    if not path.is_dir():
        return [(goal.name, path)]
    return [(f"{goal.name}/{file.relative_to(path)}", file) for file in files_of(path)]


@contextmanager
def _appearing(goals: Iterable[Path]) -> Iterator[dict[Path, Path]]:
    """Goal -> temporary path beside it; all take their places when the block ends well, and vanish otherwise."""
    temporary = {goal: goal.with_name(f".{goal.name}.{os.getpid()}") for goal in goals}
    for goal in temporary:
        if goal.is_dir():
            raise DataError(f"{goal} is there already, as a folder; remove it, or choose another name")
        goal.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        for goal, path in temporary.items():
            os.replace(path, goal)
    finally:
        for path in temporary.values():
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
