"""Extended XYZ, with the names that other programs look for.

A frame is taken as text and only its names change, so every number stays to the bit. All frames keep what this program
needs to read them again: ids, level of theory, verdict, ``magmom_in``, ``magmom_out``.

===============  ====================================================================================================
``spinmultinet``  ``energy`` is extrapolated, ``free_energy`` goes with the forces (:mod:`datastore.atoms`)
``mace``          the same, and ``REF_energy`` (free energy), ``REF_forces``, ``REF_stress``: MACE's default keys
``nequip``        ``energy`` is the free energy; ``forces``, ``stress``: what ASE, and so NequIP and Allegro, read
``sevennet``      the same; SevenNet takes ``free_energy``
``chgnet``        the same, and ``energy_per_atom`` (eV/atom, free energy), CHGNet's name
===============  ====================================================================================================

In the last three the extrapolated energy is ``energy_extrapolated``. Stress is eV/Angstrom^3, tension positive.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from datastore.atoms import EXTRAPOLATED
from datastore.errors import DataError

Keys = Literal["spinmultinet", "mace", "nequip", "chgnet", "sevennet"]
KEYS: tuple[Keys, ...] = get_args(Keys)

_TOKEN = re.compile(r'([^\s="]+)=("(?:[^"\\]|\\.)*"|\S+)')
_COLUMNS = "Properties"


@dataclass
class FrameText:
    """One frame as it stands in a file of this program."""

    info: dict[str, str]
    """Key of the comment line -> its value, as it is written there."""
    rows: list[str]
    """Lines of the atoms."""

    @classmethod
    def parse(cls, text: str) -> FrameText:
        """Of a frame that :func:`datastore.atoms.point_to_text` gave."""
        _, comment, *rows = text.splitlines()
        return cls(dict(_TOKEN.findall(comment)), rows)

    def __str__(self) -> str:
        comment = " ".join(f"{key}={value}" for key, value in self.info.items())
        return "\n".join([str(len(self.rows)), comment, *self.rows, ""])

    @property
    def species(self) -> tuple[str, ...]:
        """Element of each site."""
        return tuple(row.split(" ", 1)[0] for row in self.rows)

    def value(self, key: str) -> Any:
        """Text or number under a key of the comment line; None where there is none."""
        raw = self.info.get(key)
        if raw is None:
            return None
        if not raw.startswith('"'):
            return float(raw)
        text = re.sub(r"\\(.)", r"\1", raw[1:-1])
        return json.loads(text.removeprefix("_JSON ")) if text.startswith("_JSON ") else text

    def columns(self) -> dict[str, slice]:
        """Name of a column of the table -> where it stands in the words of a row."""
        return _columns(self.info[_COLUMNS])


@lru_cache(maxsize=32)
def _columns(properties: str) -> dict[str, slice]:
    parts, found, start = properties.split(":"), {}, 0
    for name, width in zip(parts[::3], parts[2::3], strict=True):
        found[name] = slice(start, start + int(width))
        start += int(width)
    return found


def rekeyed(frame: FrameText, keys: Keys) -> FrameText:
    """The frame with the names that ``keys`` stands for."""
    return _LAYOUTS[keys](frame)


def _mace(frame: FrameText) -> FrameText:
    forces = frame.columns()["forces"]
    rows = [f"{row} {' '.join(row.split(' ')[forces])}" for row in frame.rows]
    more = {"REF_energy": frame.info["free_energy"]}
    if "stress" in frame.info:
        more["REF_stress"] = frame.info["stress"]
    return FrameText({**frame.info, **more, _COLUMNS: f"{frame.info[_COLUMNS]}:REF_forces:R:3"}, rows)


def _free(frame: FrameText) -> FrameText:
    energies = {"energy": frame.info["free_energy"], EXTRAPOLATED: frame.info["energy"]}
    return FrameText({**frame.info, **energies}, frame.rows)


def _chgnet(frame: FrameText) -> FrameText:
    per_atom = float(frame.info["free_energy"]) / len(frame.rows)
    free = _free(frame)
    return FrameText({**free.info, "energy_per_atom": repr(per_atom)}, free.rows)


_LAYOUTS: dict[Keys, Callable[[FrameText], FrameText]] = {
    "spinmultinet": lambda frame: frame,
    "mace": _mace,
    "nequip": _free,
    "chgnet": _chgnet,
    "sevennet": _free,
}


def read_texts(path: Path) -> Iterator[FrameText]:
    """Frames of a file of this program, lazily and as they stand. Raises DataError where it is cut off."""
    with open(path, encoding="utf-8") as file:
        while header := file.readline():
            lines = [file.readline().removesuffix("\n") for _ in range(int(header) + 1)]
            if not lines[-1]:
                raise DataError(f"{path} is cut off; make the snapshot again")
            yield FrameText(dict(_TOKEN.findall(lines[0])), lines[1:])
