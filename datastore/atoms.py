"""SpinPoint and SpinConfig <-> ASE Atoms and extended XYZ: the one place that names the keys.

After ``ase.io.read`` of such a file: ``energy`` (eV, extrapolated), ``free_energy`` (eV; train on it), ``forces``
(N, 3, eV/Angstrom), ``stress`` (6, ASE's Voigt order and sign, eV/Angstrom^3) and ``magmoms`` (converged) are in
``atoms.calc.results``; ``magmom_in`` and ``magmom_out`` ((N,) or (N, 3), muB) in ``atoms.arrays``, with
``magnetic_forces`` (-dE/dm at held moments, eV/muB) where there are some; everything else in ``atoms.info``
(:data:`INFO_TEXT`, :data:`INFO_NUMBERS`, :data:`INFO_JSON`, and ``split`` in snapshots).
Differences of two levels of theory say so: ``label_kind`` is ``delta``, ``level_id_from`` and ``level_id_to`` name
them; in a set of several levels ``head`` is the name of the frame's.

Files are written here and not by ASE, because ASE rounds to 8 digits: numbers written here come back to the bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeVar

import ase.io
import numpy as np
import orjson
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from pydantic import ValidationError

from datastore.errors import DataError
from datastore.levels import DELTA, delta_levels
from datastore.schema import FloatArray, SpinConfig, SpinPoint, point_id

Config = TypeVar("Config", bound=SpinConfig)

MAGMOM_IN = "magmom_in"
MAGMOM_OUT = "magmom_out"
MAGNETIC_FORCES = "magnetic_forces"
SPLIT, HEAD = "split", "head"
EXTRAPOLATED = "energy_extrapolated"
"""Where a file for other programs has the free energy as ``energy``, the extrapolated one (eV)."""
LABEL_KIND, LEVEL_FROM, LEVEL_TO = "label_kind", "level_id_from", "level_id_to"

INFO_TEXT = (
    "ordering",
    "cell",
    "parent",
    "pair_id",
    "deformation",
    "moment_role",
    "campaign",
    "start",
    "occupations",
)
INFO_TEXT_POINT = (
    "engine",
    "engine_version",
    "ordering_found",
    "verdict",
    "salvaged_from",
    "salvage_reason",
    "ground",
    "decision",
    "calculated_by",
)
INFO_NUMBERS = ("schema_version", "generation")
INFO_NUMBERS_POINT = ("total_moment", "band_gap", "excitation")
INFO_JSON = ("deformation_parameters", "parent_lattice")
INFO_JSON_POINT = (
    "level_of_theory",
    "corrections",
    "timings",
    "kpoints",
    "charges",
    "history",
    "verdict_reasons",
    "overruled",
    "source",
)
"""Fields of the documents under their own names; JSON ones as JSON text. Empty ones are left out."""

_REMEDY = "export it with 'spinmultinet data export', or import foreign data with a stated level of theory"


def config_to_atoms(config: SpinConfig) -> Atoms:
    """Atoms with the signed input moments as ``magmom_in`` and as initial magnetic moments; no results."""
    atoms = Atoms(config.species, positions=config.positions, cell=config.lattice, pbc=True)
    atoms.set_initial_magnetic_moments(config.magmoms_in)
    atoms.set_array(MAGMOM_IN, np.array(config.magmoms_in))
    atoms.info.update(_info(config))
    return atoms


def point_to_atoms(point: SpinPoint, split: str = "", heads: Mapping[str, str] | None = None) -> Atoms:
    """As :func:`config_to_atoms`, with the label in a SinglePointCalculator and as described at the top.

    ``heads``: level_id -> name, for a set of several levels.
    """
    atoms = config_to_atoms(point)
    atoms.set_array(MAGMOM_OUT, np.array(point.magmoms_out))
    if point.magnetic_forces is not None:
        atoms.set_array(MAGNETIC_FORCES, np.array(point.magnetic_forces))
    atoms.info |= _place(point, split, heads)
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=point.energy,
        free_energy=point.free_energy,
        forces=np.array(point.forces),
        magmoms=np.array(point.magmoms_out),
        **({} if point.stress is None else {"stress": full_3x3_to_voigt_6_stress(point.stress)}),
    )
    return atoms


def atoms_to_point(atoms: Atoms, source: str = "atoms") -> SpinPoint:
    """Inverse of :func:`point_to_atoms`. Raises DataError, opened by ``source``, where something is missing."""
    results = atoms.calc.results if atoms.calc is not None else {}
    for key in ("energy", "free_energy", "forces"):
        if key not in results:
            raise DataError(f"{source}: no {key!r}, so this is no label of ours; {_REMEDY}")
    if MAGMOM_OUT not in atoms.arrays:
        raise DataError(f"{source}: no per-atom column {MAGMOM_OUT!r} (converged moments, muB); {_REMEDY}")
    fields = _config_fields(atoms, source)
    fields |= _from_info(atoms, INFO_TEXT_POINT, INFO_NUMBERS_POINT, INFO_JSON_POINT, source)
    fields |= {key: results[key] for key in ("energy", "free_energy", "forces")}
    fields["energy"] = atoms.info.get(EXTRAPOLATED, fields["energy"])
    stress = results.get("stress")
    fields |= {"stress": None if stress is None else voigt_6_to_full_3x3_stress(stress)}
    fields |= {"magmoms_out": atoms.arrays[MAGMOM_OUT]}
    fields[MAGNETIC_FORCES] = atoms.arrays.get(MAGNETIC_FORCES)
    return _checked(SpinPoint, fields, source)


def write_points(
    path: str | Path, points: Iterable[SpinPoint], split: str = "", heads: Mapping[str, str] | None = None
) -> int:
    """Write labels to an extended XYZ file, exactly and lazily; returns how many. Raises DataError (disk full).

    ``heads``: level_id -> name, for a set of several levels.
    """
    return write_frames(path, (_frame(point, _place(point, split, heads)) for point in points))


def point_to_text(point: SpinPoint, split: str = "") -> str:
    """One frame of an extended XYZ file, as :func:`write_points` writes it."""
    return _frame(point, _place(point, split, None))


def write_configs(path: str | Path, configs: Iterable[SpinConfig]) -> int:
    """Write configurations without results, as for a dry run; returns how many."""
    return write_frames(path, (_frame(config) for config in configs))


def read_points(path: str | Path) -> Iterator[SpinPoint]:
    """Labels of an extended XYZ file, lazily. Raises DataError naming file, frame, what is missing and the remedy."""
    return (atoms_to_point(atoms, source) for atoms, source in read_atoms(path))


def read_configs(path: str | Path) -> Iterator[SpinConfig]:
    """Configurations that :func:`write_configs` wrote, lazily; a file without frames holds none.

    Raises DataError naming file, frame, what is missing and the remedy.
    """
    if Path(path).is_file() and not Path(path).stat().st_size:
        return iter(())
    return (_checked(SpinConfig, _config_fields(atoms, source), source) for atoms, source in read_atoms(path))


def _info(config: SpinConfig) -> dict[str, Any]:
    """What goes into ``atoms.info`` and onto the comment line; ids are for people and queries, not read back."""
    text: tuple[str, ...] = INFO_TEXT
    numbers: tuple[str, ...] = INFO_NUMBERS
    as_json: tuple[str, ...] = INFO_JSON
    config_id = config.config_id
    info: dict[str, Any] = {"config_id": config_id}
    if isinstance(config, SpinPoint):
        level_id = config.level_id
        info |= {"point_id": point_id(config_id, level_id), "level_id": level_id, **_difference(config)}
        text, numbers = text + INFO_TEXT_POINT, numbers + INFO_NUMBERS_POINT
        as_json = as_json + INFO_JSON_POINT
    defaults = {key: field.default for key, field in type(config).model_fields.items()}
    info |= {key: getattr(config, key) for key in text if getattr(config, key) or defaults[key] != ""}
    info |= {key: getattr(config, key) for key in numbers if getattr(config, key) is not None}
    for key in as_json:
        value = getattr(config, key)
        if value is not None and (len(value) or type(config).model_fields[key].is_required()):
            info[key] = json.dumps(value.tolist() if isinstance(value, np.ndarray) else value)
    return info


def _difference(point: SpinPoint) -> dict[str, str]:
    """What a difference of two levels of theory says of itself."""
    levels = delta_levels(point.level_of_theory)
    return {} if levels is None else {LABEL_KIND: DELTA, LEVEL_FROM: levels[0], LEVEL_TO: levels[1]}


def _place(point: SpinPoint, split: str, heads: Mapping[str, str] | None) -> dict[str, str]:
    """Where a label stands in a set: its split and its head, as far as there are any."""
    place = {SPLIT: split, HEAD: (heads or {}).get(point.level_id, "")}
    return {key: value for key, value in place.items() if value}


def _config_fields(atoms: Atoms, source: str) -> dict[str, Any]:
    if MAGMOM_IN not in atoms.arrays:
        raise DataError(f"{source}: no per-atom column {MAGMOM_IN!r} (signed input moments, muB); {_REMEDY}")
    fields = _from_info(atoms, INFO_TEXT, INFO_NUMBERS, INFO_JSON, source)
    return fields | {
        "species": list(atoms.symbols),
        "lattice": atoms.cell.array,
        "positions": atoms.positions,
        "magmoms_in": atoms.arrays[MAGMOM_IN],
    }


def _from_info(
    atoms: Atoms, text: tuple[str, ...], numbers: tuple[str, ...], as_json: tuple[str, ...], source: str
) -> dict[str, Any]:
    info = atoms.info
    fields = {key: str(info[key]) for key in text if key in info}
    fields |= {key: info[key] for key in numbers if key in info}
    for key in as_json:
        if key in info:
            try:
                fields[key] = json.loads(info[key])
            except (ValueError, TypeError) as error:
                raise DataError(f"{source}: {key!r} is no JSON text ({error}); {_REMEDY}") from error
    return fields


def _checked(kind: type[Config], fields: dict[str, Any], source: str) -> Config:
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "frame"
        problem = f"no {name!r}" if first["type"] == "missing" else f"{name}: {first['msg']}"
        raise DataError(f"{source}: {problem}; {_REMEDY}") from error


def read_atoms(path: str | Path) -> Iterator[tuple[Atoms, str]]:
    """Frames of an extended XYZ file as ASE gives them, and how to call each in a message. Raises DataError."""
    number = 0
    try:
        # An open file, because ASE takes an '@' in a name for an index.
        with open(path, encoding="utf-8") as file:
            for atoms in ase.io.iread(file, index=":", format="extxyz"):
                yield atoms, f"{path}, frame {number}"
                number += 1
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the path") from error
    except Exception as error:  # ASE lets any error of its parser through
        raise DataError(f"{path}, frame {number}: no extended XYZ ({error}); write the file again") from error
    if number == 0:
        raise DataError(f"{path}: no frames; the file is empty or cut off, write it again")


def write_frames(path: str | Path, frames: Iterable[str]) -> int:
    """Write frames (text that ends with a line break), lazily; returns how many. Raises DataError (disk full)."""
    count = 0
    try:
        with open(path, "w", encoding="utf-8") as file:
            for frame in frames:
                file.write(frame)
                count += 1
            _sync(file)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; check space and permissions") from error
    return count


def _sync(file: TextIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _frame(config: SpinConfig, place: Mapping[str, str] | None = None) -> str:
    """One frame as text, with the shortest decimals that give the same floats back."""
    columns: list[tuple[str, FloatArray]] = [("pos", config.positions), (MAGMOM_IN, config.magmoms_in)]
    info = {"Lattice": _numbers(config.lattice), **{key: _text(value) for key, value in _info(config).items()}}
    if isinstance(config, SpinPoint):
        columns += [(MAGMOM_OUT, config.magmoms_out), ("forces", config.forces), ("magmoms", config.magmoms_out)]
        if config.magnetic_forces is not None:
            columns.append((MAGNETIC_FORCES, config.magnetic_forces))
        info |= {"energy": repr(config.energy), "free_energy": repr(config.free_energy)}
        if config.stress is not None:
            info["stress"] = _numbers(config.stress.T)  # column by column; ASE reads it so
    info |= {key: _text(value) for key, value in (place or {}).items()}
    widths = [1 if values.ndim == 1 else 3 for _, values in columns]
    properties = ":".join(f"{name}:R:{width}" for (name, _), width in zip(columns, widths, strict=True))
    comment = " ".join(f"{key}={value}" for key, value in info.items())
    table = np.column_stack([values for _, values in columns])
    # The same shortest decimals as repr, ten times as fast.
    lines = orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY).decode()[2:-2].replace(",", " ").split("] [")
    rows = [f"{symbol} {line}" for symbol, line in zip(config.species, lines, strict=True)]
    header = f'{len(rows)}\n{comment} Properties=species:S:1:{properties} pbc="T T T"\n'
    return header + "\n".join(rows) + "\n"


def _numbers(matrix: FloatArray) -> str:
    return '"' + " ".join(map(repr, matrix.ravel().tolist())) + '"'


def _text(value: Any) -> str:
    """A value of the comment line; text that a reader would take for a number, a truth value or a list stays text."""
    if not isinstance(value, str):
        return repr(value)
    plain = value.isascii() and value.isprintable() and not value.startswith("_JSON") and not _looks_typed(value)
    text = value if plain else f"_JSON {json.dumps(value)}"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _looks_typed(value: str) -> bool:
    parts = value.replace(",", " ").split()
    if not parts or value != value.strip():
        return True
    return all(_is_number(part) for part in parts) or all(part.upper() in {"T", "F", "TRUE", "FALSE"} for part in parts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
