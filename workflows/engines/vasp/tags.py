"""INCAR tags as a person states them: known, typed, and not against the configuration."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any

from pymatgen.io.vasp import Incar

MOMENTS = "the moments are those of each configuration (magmoms_in)"
_U = "state U in hubbard_u (Dudarev's form, LDAUTYPE 2, in which only U - J counts)"
_SPINS = "state spins: collinear, noncollinear or spin-orbit"
_HELD = "state constraint: {mode: vector or direction, penalty: ...}; it applies to configurations with held moments"
_MESH = "state kppvol, or kpts per cell; the mesh is pinned to the undeformed parent"
_SINGLE = "labels are single points; relaxations belong under structures.parents.lattice: relax"
_ALGORITHM = "state ALGO, by its name"

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
    "PSTRESS": _SINGLE,
    "IMAGES": _SINGLE,
    "MDALGO": _SINGLE,
    "TEBEG": _SINGLE,
    "TEEND": _SINGLE,
    "SMASS": _SINGLE,
    "IALGO": _ALGORITHM,
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
    "PSTRESS": 0,
    "IMAGES": 0,
    "MDALGO": 0,
    "ICHARG": 2,
    "ISTART": 0,
}
"""The value of a tag of OWNED that says what holds anyhow: it may be stated, and changes nothing."""

ALGORITHMS = ("Normal", "VeryFast", "Fast", "Conjugate", "All", "Damped")
"""Values of ALGO, each known by its first letter, that converge the electrons of a single point."""

_POSITIVE = """
    SIGMA EDIFF NELM NELMIN NELECT NBANDS NCORE NPAR KPAR NSIM SYMPREC ENAUG AMIX BMIX AMIX_MAG BMIX_MAG
"""
POSITIVE = frozenset(_POSITIVE.split())

_OPEN_LISTS = frozenset({"METAGGA", "IVDW", "ALGO", "LORBIT"})
"""Tags of which pymatgen lists some values only, or that are checked by themselves."""

_ABBREVIATED = frozenset({"PREC", "PRECFOCK"})

_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_ENDS = re.compile(r"[\n\r;#!\\\"{}]")
"""What ends a statement of an INCAR, begins a comment, or takes the next line in."""

SHELLS = {"s": 0, "p": 1, "d": 2, "f": 3}

NOT_STATED = object()

_HOLDING = re.compile(r"(?:^|;)\s*(OCCEXT\s*=\s*1|OCCDIR\d+\s*=)", re.MULTILINE | re.IGNORECASE)


def holds_occupations(incar: str) -> bool:
    """Whether the text of an INCAR has a patched VASP hold occupation matrices: its energies belong to no state."""
    return _HOLDING.search(incar) is not None


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
        _check_value(tag, found[tag])
    return {tag: value for tag, value in found.items() if tag not in OWNED}


def typed(tag: str, value: Any) -> Any:
    """``value`` in the type that VASP reads for ``tag``; ValueError where it has another one."""
    _check_text(tag, value)
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


def unlisted(incar: Mapping[str, Any]) -> dict[str, Any]:
    """Tag (capitals) -> value as it is read back from an INCAR, of tags that pymatgen does not list.

    Raises ValueError for a tag that it lists, a name that is none, and a text that is more than one value.
    """
    found: dict[str, Any] = {}
    for name, value in incar.items():
        tag = str(name).strip().upper()
        if not _NAME.fullmatch(tag):
            raise ValueError(f"{name!r} is no name of an INCAR tag")
        if tag in Incar.INCAR_PARAMS:
            raise ValueError(f"{tag} belongs under incar, where its value is checked")
        if tag in found:
            raise ValueError(f"{tag} is stated twice")
        _check_text(tag, value)
        logical = _bool(value)
        read = Incar.proc_val(tag, value) if isinstance(value, str) else value
        found[tag] = read if logical is NOT_STATED else logical
    return found


def converges(algorithm: Any) -> bool:
    """Whether a run with this ALGO (None: VASP's default) ends with converged electrons."""
    known = {name.casefold() for name in ALGORITHMS}
    return algorithm is None or str(algorithm).strip().casefold() in known | {name[0] for name in known}


def _check_text(tag: str, value: Any) -> None:
    if isinstance(value, str) and (sign := _ENDS.search(value)):
        raise ValueError(f"{tag} has {sign[0]!r} in its value {value!r}, which would not be one value in an INCAR")


def _check_value(tag: str, value: Any) -> None:
    """ValueError for a value that VASP does not have, or that makes no single point."""
    if tag == "ALGO" and not converges(value):
        raise ValueError(f"ALGO is {value}; single points are made with {', '.join(ALGORITHMS)}")
    if tag in POSITIVE and value is not None and not value > 0:
        raise ValueError(f"{tag} is {value}; it must be positive")
    values = [str(known) for known in Incar.INCAR_PARAMS[tag].get("values", ())]
    if value is None or tag in _OPEN_LISTS or not values:
        return
    text = str(value).strip().casefold()
    known = [each.casefold() for each in values]
    if text not in known and not (tag in _ABBREVIATED and any(each.startswith(text) for each in known)):
        raise ValueError(f"{tag} is {value}; VASP has {', '.join(dict.fromkeys(values))}")


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
