"""Levels of theory under names that people can read, and the difference of two as a level of its own.

A *delta label* is a SpinPoint whose energies, forces and stress are those of one level minus those of another for the
same configuration (its moments are those of the first). Its level of theory is ``{"delta": {"from": A, "to": B}}``, so
that it has a ``level_id`` of its own and can never pass for a label of A or B.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from datastore.errors import DataError
from datastore.schema import FloatArray, SpinPoint, content_hash

DELTA, HEADS = "delta", "heads"
CHANGED = "changed_on_the_way"
"""Key in the level of a label whose settings were changed by a correction: setting -> its value at the end."""

_CODE = ("code", "engine", "calculator")
_FUNCTIONAL = ("functional", "xc", "method")
_CUTOFF = ("ecut", "encut", "cutoff")
_U = ("hubbard_u", "U")


def level_name(theory: Mapping[str, Any]) -> str:
    """Readable name of a level of theory, such as ``GPAW-PBE+U-Ni6.2-700eV``; not unique (see :func:`names`)."""
    if DELTA in theory:
        return f"{level_name(theory[DELTA]['to'])}-minus-{level_name(theory[DELTA]['from'])}"
    parts = [next((str(theory[key]) for key in keys if theory.get(key)), "") for keys in (_CODE, _FUNCTIONAL)]
    for key in _U:
        if isinstance(theory.get(key), Mapping):
            parts += [f"{element}{value:g}" for element, value in sorted(theory[key].items())]
    parts += [f"{theory[key]:g}eV" for key in _CUTOFF if isinstance(theory.get(key), int | float)]
    if isinstance(theory.get(CHANGED), Mapping):
        parts += [f"changed-{setting}" for setting in sorted(theory[CHANGED])]
    name = "-".join(re.sub(r"[^\w.+]+", "-", part).strip("-") for part in parts if part)
    return name or f"level-{content_hash(dict(theory), 6)}"


def has_vectors(theory: Mapping[str, Any]) -> bool:
    """Whether moments were vectors in the calculation, with spin-orbit coupling or without."""
    incar = theory.get("incar")
    return isinstance(incar, Mapping) and bool(incar.get("LNONCOLLINEAR") or incar.get("LSORBIT"))


def names(theories: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """level_id -> name; equal names get the beginning of the id."""
    plain = {level_id: level_name(theory) for level_id, theory in theories.items()}
    count = Counter(plain.values())
    return {level_id: name if count[name] == 1 else f"{name}-{level_id[:6]}" for level_id, name in plain.items()}


def same_numbers(theory: Mapping[str, Any], known: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The known level that differs at most in 600 for 600.0, which Python finds equal; None where there is none."""
    return next((other for other in known if other == theory), None)


def spelling(theory: Any) -> str:
    """Text that is equal for levels which differ in case, spaces and quotes around numbers only."""
    if isinstance(theory, Mapping):
        return repr(sorted((spelling(key), spelling(value)) for key, value in theory.items()))
    if isinstance(theory, list | tuple):
        return repr([spelling(value) for value in theory])
    text = "".join(str(theory).split()).casefold()
    try:
        return repr(float(text))
    except ValueError:
        return text


def asked_level_id(theory: Mapping[str, Any]) -> str:
    """level_id that was asked for: that of the theory without what corrections CHANGED."""
    return content_hash({key: value for key, value in theory.items() if key != CHANGED}, 16)


def delta_levels(theory: Mapping[str, Any]) -> tuple[str, str] | None:
    """(level_id subtracted, level_id of the labels it was subtracted from); None for a plain level."""
    if DELTA not in theory:
        return None
    return content_hash(theory[DELTA]["from"], 16), content_hash(theory[DELTA]["to"], 16)


def heads_theory(theories: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What stands for several levels at once (level_id -> theory) where one is expected: no level of any label."""
    return {HEADS: {level_id: dict(theories[level_id]) for level_id in sorted(theories)}}


def delta_theory(subtracted: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
    """Level of theory of ``target`` minus ``subtracted``."""
    return {DELTA: {"from": dict(subtracted), "to": dict(target)}}


def delta_point(subtracted: SpinPoint, target: SpinPoint) -> SpinPoint:
    """``target`` minus ``subtracted``, two labels of one configuration (energies eV, forces eV/Angstrom, stress).

    Moments, ordering found, gap and provenance are those of ``target``. Raises DataError for two configurations.
    """
    if subtracted.config_id != target.config_id:
        raise DataError(f"{target.point_id} and {subtracted.point_id} are labels of two configurations: no difference")
    return target.model_copy(
        update={
            "level_of_theory": delta_theory(subtracted.level_of_theory, target.level_of_theory),
            "energy": target.energy - subtracted.energy,
            "free_energy": target.free_energy - subtracted.free_energy,
            "forces": target.forces - subtracted.forces,
            "stress": _minus(target.stress, subtracted.stress),
            "magnetic_forces": _minus(target.magnetic_forces, subtracted.magnetic_forces),
        }
    )


def _minus(a: FloatArray | None, b: FloatArray | None) -> FloatArray | None:
    return None if a is None or b is None else a - b
