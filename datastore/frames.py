"""Frames of files as plain values: extended XYZ, ASE databases, CSV, JSON lines, and what this program exports.

Nothing is interpreted here. A frame that cannot be parsed is given with its ``problem``, so that one bad frame does not
cost the others. Files are read piece by piece, except ASE's ``.json`` databases, which ASE loads as a whole. Formats
that need pickle to hold nested lists (pandas' HDF5 and pickle files) are not read.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict, read_xyz

from datastore.errors import DataError
from datastore.exports import deepmd, hdf5, pymatgen_json
from datastore.exports.labels import LABEL

STRUCTURE = ("species", "lattice", "positions", "pbc")
"""Names under which every format gives its structure; a table has columns of these names, or of others."""

COUNT_DIGITS = 9
"""A number of atoms has no more digits."""

_RAW_STRESS = "stress as written"
_INDENTED_LINES = "write JSON lines: pandas.DataFrame.to_json(path, orient='records', lines=True)"


@dataclass(frozen=True)
class Frame:
    """One frame: ``values`` by key, as they stand in the file."""

    number: int
    """Position in the file, from 0."""
    fraction: float
    """Share of the file read so far, 0 to 1."""
    values: dict[str, Any] = field(default_factory=dict)
    atoms: Atoms | None = None
    """As ASE reads it, where ASE does."""
    problem: str = ""
    """Why it cannot be read; empty where it can."""
    document: dict[str, Any] | None = None
    """The label as this program wrote it, in formats that hold all of it."""


def read_frames(path: Path) -> Iterator[Frame]:
    """Frames of a file, lazily; the format follows from its suffix.

    Raises DataError where the file is missing, empty, of no known format or no database; OSError where the disk fails.
    """
    if deepmd.is_system(path):
        return _not_empty(_deepmd(path), path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: no known format; give one of {', '.join(_READERS)}. For anything else, {_INDENTED_LINES}"
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    return _not_empty(reader(path), path)


def _not_empty(frames: Iterator[Frame], path: Path) -> Iterator[Frame]:
    first = next(frames, None)
    if first is None:
        raise DataError(f"{path}: no frames; the file is empty or cut off, write it again")
    yield first
    yield from frames


def _xyz(path: Path) -> Iterator[Frame]:
    """Frames cut out by their own count of atoms, so that a damaged one does not end the reading."""
    with open(path, "rb") as raw:
        text, share = _text(raw, path)
        for number, lines in enumerate(_pieces(text)):
            yield _xyz_frame(lines, number, share())


def _pieces(text: io.TextIOWrapper) -> Iterator[list[str]]:
    """Lines of one frame after the other; ends after a piece that does not start with a number of atoms."""
    while header := text.readline():
        if not header.strip():
            continue
        count = _atoms(header)
        yield [header, *islice(iter(text.readline, ""), 0 if count is None else count + 1)]
        if count is None:
            return


def _atoms(header: str) -> int | None:
    """The number of atoms that the first line of a frame states; None where it is none that a file can hold."""
    text = header.strip()
    return int(text) if text.isdecimal() and len(text) <= COUNT_DIGITS else None


def _xyz_frame(lines: list[str], number: int, fraction: float) -> Frame:
    count = _atoms(lines[0])
    if count is None:
        header = lines[0].strip()[:40]
        return Frame(number, fraction, problem=f"{header!r} should be a number of atoms; the rest was not read")
    if len(lines) < count + 2:
        return Frame(number, fraction, problem="the file is cut off within this frame")
    try:
        (atoms,) = read_xyz(io.StringIO("".join(lines)), slice(0, 1), properties_parser=_comment)
    except Exception as error:  # ASE lets any error of its parser through
        return Frame(number, fraction, problem=_said(error))
    return _of_atoms(atoms, number, fraction, {})


def _comment(line: str) -> dict[str, Any]:
    """ASE's parser; keeps a copy of the stress, of which ASE's reader would drop the antisymmetric part."""
    found: dict[str, Any] = key_val_str_to_dict(line)
    return {**found, _RAW_STRESS: found["stress"]} if "stress" in found else found


def _of_atoms(atoms: Atoms, number: int, fraction: float, more: dict[str, Any]) -> Frame:
    """All that Atoms hold, by name: results go before columns, and columns before the comment line."""
    columns = {key: value for key, value in atoms.arrays.items() if key not in ("numbers", "positions")}
    info = dict(atoms.info)
    raw = {"stress": info.pop(_RAW_STRESS)} if _RAW_STRESS in info else {}
    results = atoms.calc.results if atoms.calc is not None else {}
    structure = {
        "species": list(atoms.symbols),
        "lattice": atoms.cell.array,
        "positions": atoms.positions,
        "pbc": atoms.pbc,
    }
    atoms.info.pop(_RAW_STRESS, None)
    return Frame(number, fraction, {**more, **info, **columns, **results, **raw, **structure}, atoms)


def _database(path: Path) -> Iterator[Frame]:
    from ase.db import connect

    try:
        database = connect(str(path))
        total = database.count()
        rows = database.select()
        for number in range(total):
            row = next(rows, None)
            if row is None:
                return
            yield _row(row, number, (number + 1) / total)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{path} cannot be read as an ASE database ({_said(error)}); write it with ase.db") from error


def _row(row: Any, number: int, fraction: float) -> Frame:
    try:
        if LABEL in row.data:
            return _document(row.data[LABEL], number, fraction)
        return _of_atoms(row.toatoms(), number, fraction, {**row.data, **row.key_value_pairs})
    except Exception as error:  # as for extended XYZ
        return Frame(number, fraction, problem=_said(error))


def _json(path: Path) -> Iterator[Frame]:
    if not pymatgen_json.has_structures(path):
        yield from _database(path)
        return
    for number, (document, share) in enumerate(pymatgen_json.read(path)):
        yield _document(document, number, share)


def _hdf5(path: Path) -> Iterator[Frame]:
    for number, (document, share) in enumerate(hdf5.read(path)):
        yield _document(document, number, share)


def _deepmd(path: Path) -> Iterator[Frame]:
    for number, (values, share) in enumerate(deepmd.read(path)):
        yield _document(values, number, share) if "level_of_theory" in values else Frame(number, share, values)


def _document(document: dict[str, Any], number: int, fraction: float) -> Frame:
    return Frame(number, fraction, dict(document), document=document)


def _csv(path: Path) -> Iterator[Frame]:
    csv.field_size_limit(sys.maxsize)  # a cell with the forces of a large structure is longer than the usual limit
    with open(path, "rb") as raw:
        text, share = _text(raw, path)
        rows = csv.DictReader(iter(text.readline, ""))
        for number, row in enumerate(rows):
            if None in row or None in row.values():
                yield Frame(number, share(), problem="it has more or fewer cells than the header")
            else:
                yield Frame(number, share(), {key: _cell(value) for key, value in row.items() if value != ""})


def _cell(text: str) -> Any:
    """The JSON in a cell (numbers, nested lists), or the text where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _json_lines(path: Path) -> Iterator[Frame]:
    with open(path, "rb") as raw:
        text, share = _text(raw, path)
        lines = (line for line in iter(text.readline, "") if line.strip())
        for number, line in enumerate(lines):
            try:
                content = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Frame(number, share(), problem=f"no JSON: {error}")
                continue
            known = isinstance(content, dict)
            problem = "" if known else f"a line should be one JSON object; {_INDENTED_LINES}"
            yield Frame(number, share(), content if known else {}, problem=problem)


def _text(raw: BinaryIO, path: Path) -> tuple[io.TextIOWrapper, Callable[[], float]]:
    """The file as text (without byte order mark; bytes that are no UTF-8 become U+FFFD), and how much was read."""
    size = max(1, path.stat().st_size)
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace"), lambda: min(1.0, raw.tell() / size)


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


_READERS: dict[str, Callable[[Path], Iterator[Frame]]] = {
    ".extxyz": _xyz,
    ".xyz": _xyz,
    ".db": _database,
    ".json": _json,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".csv": _csv,
    ".jsonl": _json_lines,
}


def shape_of(value: Any) -> str:
    """What a value is, for people: ``text``, ``number``, ``numbers (4, 3)``, ``list``."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | np.bool_):
        return "true or false"
    try:
        shape = np.asarray(value, dtype=np.float64).shape
    except (TypeError, ValueError):
        return type(value).__name__
    return f"numbers {shape}" if shape else "number"
