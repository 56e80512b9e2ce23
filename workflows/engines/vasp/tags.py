"""INCAR tags as a person states them: known, typed, and not against the configuration."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from pymatgen.io.vasp import Incar

MOMENTS = "the moments are those of each configuration (magmoms_in)"
_U = "state U in hubbard_u (Dudarev's form, LDAUTYPE 2, in which only U - J counts)"
_SPINS = "state spins: collinear, noncollinear or spin-orbit"
_HELD = "state constraint: {mode: vector or direction, penalty: ...}; it applies to configurations with held moments"
_MESH = "state kppvol, or kpts per cell; the mesh is pinned to the undeformed parent"
_SINGLE = "labels are single points; relaxations belong under structures.parents.lattice: relax"

OWNED = {
    "MAGMOM": MOMENTS,
    "NUPDOWN": f"{MOMENTS}, and so is their sum",
    "LDAU": _U,
    "LDAUU": _U,
    "LDAUJ": _U,
    "LDAUL": f"{_U}; the shell follows from the element",
    "LDAUTYPE": _U,
    "ISPIN": _SPINS,
    "LNONCOLLINEAR": _SPINS,
    "LSORBIT": _SPINS,
    "SAXIS": "moments are Cartesian vectors, so it is 0 0 1; turn the moments of the configuration instead",
    "I_CONSTRAINED_M": _HELD,
    "M_CONSTR": _HELD,
    "LAMBDA": _HELD,
    "RWIGS": f"{_HELD}; radii under constraint.radii",
    "KSPACING": _MESH,
    "KGAMMA": _MESH,
    "NSW": _SINGLE,
    "IBRION": _SINGLE,
    "ISIF": _SINGLE,
    "EDIFFG": _SINGLE,
    "ICHARG": "every run starts from the moments of its configuration, so it is 2",
    "ISTART": "every run starts from the moments of its configuration, so it is 0",
}
"""Tags that follow from other options or from the configuration, with what to state instead."""

AGREEING = {
    "NUPDOWN": -1,
    "LDAU": True,
    "LDAUTYPE": 2,
    "SAXIS": [0, 0, 1],
    "KGAMMA": True,
    "NSW": 0,
    "IBRION": -1,
    "ICHARG": 2,
    "ISTART": 0,
}
"""The value of a tag of OWNED that says what holds anyhow: it may be stated, and changes nothing."""

SHELLS = {"s": 0, "p": 1, "d": 2, "f": 3}

NOT_STATED = object()


def clean(incar: Mapping[str, Any], spins: str = "collinear") -> dict[str, Any]:
    """Tag (capitals) -> typed value or None, without those of OWNED that agree anyhow.

    None takes a default of ours away. Raises ValueError for an unknown tag (with the nearest one), a value of another
    type, and a tag that disagrees with the configuration (with the option to use in its place).
    """
    found: dict[str, Any] = {}
    for name, value in incar.items():
        tag = str(name).strip().upper()
        if tag not in Incar.INCAR_PARAMS:
            raise ValueError(f"{name!r} is no INCAR tag that pymatgen lists; {_nearest(tag)}")
        if tag in found:
            raise ValueError(f"{tag} is stated twice")
        found[tag] = None if value is None else typed(tag, value)
        _refuse(tag, found[tag], spins)
    return {tag: value for tag, value in found.items() if tag not in OWNED}


def typed(tag: str, value: Any) -> Any:
    """``value`` in the type that VASP reads for ``tag``; ValueError where it has another one."""
    kinds = [kind.strip() for kind in Incar.INCAR_PARAMS.get(tag, {}).get("type", "str").split("|")]
    for kind in kinds:
        converted = _CONVERT[kind](value)
        if converted is not NOT_STATED:
            return Incar.proc_val(tag, converted) if isinstance(converted, str) else converted
    raise ValueError(f"{tag} is {value!r}; it takes {' or '.join(_NAMES[kind] for kind in kinds)}")


def _refuse(tag: str, value: Any, spins: str) -> None:
    own = {"ISPIN": 2, "LNONCOLLINEAR": spins != "collinear", "LSORBIT": spins == "spin-orbit"}
    if tag in OWNED:
        agreeing = {**AGREEING, **own}
        if tag not in agreeing or value != agreeing[tag]:
            raise ValueError(f"{tag} cannot be set here: {OWNED[tag]}")
    if tag == "LORBIT" and (value is None or not 10 <= value <= 12):
        raise ValueError(f"LORBIT is {value}; the moments of the sites are read from OUTCAR, which wants 10, 11 or 12")
    if tag == "ENCUT" and value is None:
        raise ValueError("ENCUT cannot be left to the POTCARs: it would differ from one configuration to the next")


def _nearest(tag: str) -> str:
    near = difflib.get_close_matches(tag, Incar.INCAR_PARAMS, n=1, cutoff=0.6)
    other = "if your VASP knows it, state it under incar_unlisted"
    return f"did you mean {near[0]!r}? (or {other})" if near else other


def _bool(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    text = str(value).strip().strip(".").upper() if isinstance(value, str) else ""
    return {"T": True, "TRUE": True, "F": False, "FALSE": False}.get(text, NOT_STATED)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _float(value: Any) -> Any:
    number = _number(value)
    return NOT_STATED if number is None else number


def _int(value: Any) -> Any:
    number = _number(value)
    return NOT_STATED if number is None or number != int(number) else int(number)


def _str(value: Any) -> Any:
    return NOT_STATED if isinstance(value, bool | list | dict) or not str(value).strip() else str(value).strip()


def _list(value: Any) -> Any:
    if isinstance(value, str):
        value = Incar.proc_val("RWIGS", value)  # reads lists with VASP's n*value
    parts = value if isinstance(value, list | tuple) else [value]
    numbers = [part if isinstance(part, bool) else _number(part) for part in parts]
    return NOT_STATED if not numbers or None in numbers else numbers


_CONVERT = {"bool": _bool, "int": _int, "float": _float, "str": _str, "list": _list}
_NAMES = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a word", "list": "numbers"}
