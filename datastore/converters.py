"""Frames become labels: those of others by a stated mapping and level of theory, those exported here by themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import bson
import numpy as np
from bson.errors import BSONError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from datastore.atoms import LABEL_KIND, atoms_to_point
from datastore.errors import DataError
from datastore.frames import Frame
from datastore.identity import geometry_id
from datastore.levels import DELTA, delta_levels
from datastore.mapping import ImportMapping, RefusedError, converted
from datastore.quality import judge, name_ordering, sign_pattern
from datastore.schema import SpinConfig, SpinPoint
from datastore.sqlite_query import decode, encode
from datastore.upgrade import parse

IMPORTER = "spinmultinet import 1"
"""Written into every imported label; raised when the conversion changes."""

LEVEL_KEYS = ("code", "functional", "hubbard_u", "ecut", "kpts")
LEVEL_EXAMPLE = "level_of_theory: {code: VASP, functional: PBE+U, hubbard_u: {Ni: 5.3}, ecut: 600, kpts: [4, 4, 4]}"

_DIFFERENCE = ("a difference of two levels", "import the labels of both levels instead")
_ARRAYS = {"positions", "forces", "magmoms_in", "magmoms_out", "magnetic_forces"}

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
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"only texts, numbers, lists and mappings can be stored ({error})") from None
        # Numbers stay as they are written: ids hash the text, and an engine's own level has to stay its own.
        content: dict[str, Any] = json.loads(text)
        return content


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
    """Converter of our own export, which states mapping and level of theory itself. Raises RefusedError.

    The label is judged by the rules; the text of a manual decision stays on it (:func:`datastore.decisions.adopt`).
    """
    if frame.document is None and (frame.atoms is None or "level_of_theory" not in frame.values):
        raise RefusedError("no label of ours", "it states no level of theory; give --mapping and --level")
    try:
        point = _own_point(frame, where)
    except (DataError, OverflowError) as error:
        raise RefusedError("no label of ours", str(error)) from None
    origin = {"source": point.source or {"importer": IMPORTER}, "decision": point.decision}
    return judge(point).model_copy(update=origin)


def _own_point(frame: Frame, where: str) -> SpinPoint:
    if frame.document is not None:
        return parse(SpinPoint, frame.document)
    assert frame.atoms is not None
    return atoms_to_point(frame.atoms, where)


def checked(frame: Frame, convert: Converter, where: str) -> SpinPoint:
    """The label of a frame, which any store takes and gives back as it is. Raises RefusedError.

    Differences of two levels of theory are refused as well: as labels they would be judged, and salvaged, as total
    energies.
    """
    try:
        point = convert(frame, where)
    except RecursionError:
        raise RefusedError("not storable", "it is nested too deeply") from None
    if frame.values.get(LABEL_KIND) == DELTA:
        raise RefusedError(*_DIFFERENCE)
    check_label(point)
    return point


def check_label(point: SpinPoint) -> None:
    """Raise RefusedError for a label that a store would refuse or change, or that is none of a calculation."""
    try:
        problem = _unstorable(point)
    except RecursionError:
        problem = "it is nested too deeply"
    if problem:
        raise RefusedError("not storable", problem)
    if delta_levels(point.level_of_theory) is not None:
        raise RefusedError(*_DIFFERENCE)
    timings = point.timings.items()
    if wrong := [name for name, value in timings if value < 0 or (name == "cores" and value == 0)]:
        raise RefusedError("implausible timings", f"{wrong[0]} is {point.timings[wrong[0]]:g}")


def _unstorable(point: SpinPoint) -> str:
    """Why a store would refuse the label, or change it; empty where none does. Arrays hold finite numbers only."""
    try:
        fields = point.model_dump(exclude=_ARRAYS)
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
