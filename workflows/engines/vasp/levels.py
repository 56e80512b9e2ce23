"""The level of theory of a VASP run: one way of saying it for runs of our engine and for those of others.

What decides the numbers is in, the way there is out. A tag that has VASP's default is left out, so that a stated
default and an unstated one are one level. U, J, l and POTCAR are given per element, of the elements that there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CODE = "VASP"

PER_ELEMENT = ("hubbard_u", "hubbard_j", "hubbard_l", "potcars")
"""Keys of the level that hold a value per element."""

_FUNCTIONALS = {
    "PE": "PBE",
    "PS": "PBEsol",
    "RP": "RPBE",
    "RE": "revPBE",
    "91": "PW91",
    "AM": "AM05",
    "CA": "LDA",
    "PZ": "LDA",
}
"""GGA tag -> name (VASP wiki, GGA)."""

_POTCAR_FUNCTIONALS = {"PAW_PBE": "PBE", "PAW_GGA": "PW91", "PAW": "LDA", "US": "LDA"}
"""First word of a POTCAR's TITEL -> functional without a GGA tag."""

_COST = """
    SYSTEM NCORE NPAR KPAR NSIM LPLANE LSCALAPACK LSCALU LSCAAWARE NCORE_IN_IMAGE1 LWAVE LCHARG LVTOT LVHAR LAECHG LELF
    LORBIT LORBMOM STOP_ON NWRITE NBLOCK KBLOCK NEDOS EMIN EMAX LPARD LDAUPRINT LH5 LCHARGH5 LWAVEH5 LASYNC MAXMEM
    ALGO IALGO NELM NELMIN NELMDL NELMGW NBANDS AMIX BMIX AMIX_MAG BMIX_MAG AMIN MIXPRE MAXMIX IMIX WC INIMIX TIME
    ISEARCH IWAVPR ISTART ICHARG INIWAV ENINI LDIAG LSUBROT WEIMIN EBREAK DEPER
    NSW IBRION POTIM ISIF EDIFFG NFREE APACO SMASS MDALGO TEBEG TEEND LANGEVIN_GAMMA LANGEVIN_GAMMA_L PMASS
    RANDOM_SEED ANDERSEN_PROB PSTRESS MAGMOM I_CONSTRAINED_M M_CONSTR LAMBDA
"""
COST_TAGS = frozenset(_COST.split())
"""Tags of parallelisation and output, of electronic convergence, of the way of the ions; and the moments and how they
are held, which belong to a label and not to a level: where that takes more than 1 meV/atom there is no label."""

_OF_THEIR_OWN = """
    ENCUT ENMAX GGA METAGGA KSPACING KGAMMA LDAU LDAUU LDAUJ LDAUL LDAUTYPE EDIFF SIGMA ISMEAR RWIGS
"""
_OTHERWISE = frozenset(_OF_THEIR_OWN.split())

_OF_EXCHANGE = """
    AEXX HFSCREEN HFRCUT LMAXFOCK PRECFOCK ENCUTFOCK NKRED NKREDX NKREDY NKREDZ EVENONLY ODDONLY LTHOMAS LFOCKACE
"""
EXCHANGE_TAGS = frozenset(_OF_EXCHANGE.split())
"""Tags of exact exchange, which VASP reads and does not use without LHFCALC."""

_OFF = """
    LOPTICS LEPSILON LCALCEPS LPEAD LEFG LHYPERFINE LVDW LSPIRAL LZEROZ LBEEFENS LWANNIER90 LMONO LCOMPAT LMIXTAU LKPROJ
    LNABLA LMODELHF LTHOMAS EVENONLY ODDONLY ML_LMLFF
"""
"""Logicals that are false by default. A list, because there are some that are true."""

DEFAULTS: dict[str, Any] = {
    "PREC": "normal",
    "ISPIN": 1,
    "LREAL": False,
    "LASPH": False,
    "LMAXMIX": 2,
    "ADDGRID": False,
    "IVDW": 0,
    "LSORBIT": False,
    "LNONCOLLINEAR": False,
    "LHFCALC": False,
    "NUPDOWN": -1,
    "GGA_COMPAT": True,
    "VOSKOWN": 0,
    "LDIPOL": False,
    "IDIPOL": 0,
    "LCORR": True,
    "ISYM": 2,
    "SYMPREC": 1e-5,
    "LUSE_VDW": False,
    "ICORELEVEL": 0,
    "NKRED": 1,
    **dict.fromkeys(_OFF.split(), False),
    "SAXIS": [0, 0, 1],
}
"""VASP's defaults (VASP wiki) of tags that decide numbers."""

LOOSE = 1e-4
"""eV. VASP's default for EDIFF; tighter convergence changes less than labels can tell, looser belongs to the level."""

_LOGICALS = {"T": True, "TRUE": True, "F": False, "FALSE": False}

_PRECISIONS = {"n": "normal", "a": "accurate", "h": "high", "m": "medium", "l": "low", "s": "single"}


@dataclass(frozen=True)
class Hubbard:
    """+U on one element: U and J in eV, on the shell ``l`` (2: d, 3: f)."""

    u: float
    j: float = 0.0
    l: int = 2  # noqa: E741 - the quantum number has no other name


class LevelError(ValueError):
    """A run that no level of theory can describe; one line."""


def level_of_run(
    incar: Mapping[str, Any],
    hubbard: Mapping[str, Hubbard],
    potcars: Mapping[str, Mapping[str, str]],
    kpts: Mapping[str, Any],
    titels: Iterable[str] = (),
) -> dict[str, Any]:
    """Everything that decides the numbers of a run, JSON-able.

    ``incar``: the tags as they stood. ``hubbard``: element -> +U (``{}`` without LDAU). ``potcars``: element ->
    :func:`workflows.engines.vasp.potcars.identity`; a level whose POTCARs have no hash is another one than with.
    ``kpts``: the rule that gave the mesh (:func:`kpts_of_run`), because the mesh itself differs from cell to cell and
    is on each label. ``titels``: TITEL of the POTCARs, which say the functional where the INCAR does not.
    Raises LevelError.
    """
    tags = _tags(incar)
    plus_u = {element: value for element, value in sorted(hubbard.items()) if value.u or value.j}
    functional = _functional(tags, titels)
    return {
        "code": CODE,
        "functional": f"{functional}+U" if plus_u else functional,
        **_hubbard(plus_u, int(tags.get("LDAUTYPE", 2))),
        "ecut": float(tags["ENCUT"]) if "ENCUT" in tags else "largest ENMAX of the POTCARs",
        "kpts": dict(kpts),
        "potcars": {element: dict(sorted(content.items())) for element, content in sorted(potcars.items())},
        "incar": _telling(tags),
    }


def covers(known: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Whether a run is at the ``known`` level, which may speak of more elements than the run has."""
    elements = run.get("potcars", {})
    if any(known.get(key) != run.get(key) for key in {*known, *run} - {*PER_ELEMENT, "functional"}):
        return False
    if str(known.get("functional")).removesuffix("+U") != str(run.get("functional")).removesuffix("+U"):
        return False
    return all(
        (known.get(key) or {}).get(element) == (run.get(key) or {}).get(element)
        for key in PER_ELEMENT
        for element in elements
    )


def merged(levels: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Levels that cover all of ``levels``: those that say the same of the elements they share become one.

    In the order given; where three disagree in pairs, the earlier ones are joined.
    """
    found: list[dict[str, Any]] = []
    for level in levels:
        place = next((i for i, other in enumerate(found) if _agree(other, level)), None)
        if place is None:
            found.append(dict(level))
        else:
            found[place] = _union(found[place], level)
    return found


def _agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    shared = set(one.get("potcars", {})) & set(other.get("potcars", {}))
    parts = [
        {**level, **{key: {e: v for e, v in level[key].items() if e in shared} for key in PER_ELEMENT if key in level}}
        for level in (one, other)
    ]
    return covers({**parts[0]}, parts[1])


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    maps = {key: {**one.get(key, {}), **other.get(key, {})} for key in PER_ELEMENT if key in one or key in other}
    functional = max(one["functional"], other["functional"], key=len)  # with +U where one of them has it
    return {**one, **maps, "functional": functional}


def per_element(symbols: Iterable[str], values: Iterable[Any], what: str) -> dict[str, Any]:
    """Element -> value, from one per species block. Raises LevelError where two blocks of an element differ."""
    found: dict[str, Any] = {}
    for symbol, value in zip(symbols, values, strict=True):
        if found.setdefault(symbol, value) != value:
            raise LevelError(f"{what} of {symbol} differs between its species blocks: {found[symbol]} and {value}")
    return found


def hubbard_of_incar(incar: Mapping[str, Any], symbols: list[str]) -> dict[str, Hubbard]:
    """Element -> +U, from the INCAR and the symbols of the species blocks in the order of the POSCAR.

    Raises LevelError where the numbers of LDAUU, LDAUJ and LDAUL are not one per block, or two blocks of one element
    differ.
    """
    tags = _tags(incar)
    if not tags.get("LDAU"):
        return {}
    columns = {name: _blocks(tags.get(name), len(symbols), name) for name in ("LDAUU", "LDAUJ", "LDAUL")}
    l_values = columns["LDAUL"] or [2.0] * len(symbols)  # VASP's default
    u_values, j_values = (columns[name] or [0.0] * len(symbols) for name in ("LDAUU", "LDAUJ"))
    rows = zip(u_values, j_values, l_values, strict=True)
    values = [Hubbard(u, j, int(shell)) if shell >= 0 and (u or j) else Hubbard(0.0) for u, j, shell in rows]
    return per_element(symbols, values, "U")


def kpts_of_run(incar: Mapping[str, Any], comment: str = "", centre: str = "") -> dict[str, Any]:
    """The rule behind a mesh: KSPACING, or what our own KPOINTS say in their first line; else that there is none.

    ``comment``: first line of KPOINTS, empty where there is no such file, which VASP prefers to KSPACING. ``centre``:
    that of :func:`centring`, where known.
    """
    tags = _tags(incar)
    if rule := kpoints_rule(comment):
        return {**rule, "centre": centre} if SHIFTED in centre else rule
    if not comment and "KSPACING" in tags:
        return {"kspacing": float(tags["KSPACING"]), "centre": "gamma" if tags.get("KGAMMA", True) else "monkhorst"}
    return {"mesh": "on each label", "centre": centre or "not stated"}


SHIFTED = "shifted by"


def centring(style: str, shift: Iterable[float] = ()) -> str:
    """``gamma`` or ``monkhorst`` of a regular mesh, by the style of its KPOINTS file; empty for other styles.

    ``shift``: the last line of that file, in divisions of the mesh; what is not whole moves the points, and is said.
    """
    name = {"g": "gamma", "m": "monkhorst"}.get(style[:1].lower(), "")
    parts = [round(float(part) % 1, 6) % 1 for part in shift]
    return f"{name}, {SHIFTED} {' '.join(f'{part:g}' for part in parts)}" if name and any(parts) else name


RULE = "spinmultinet "
"""Opens the first line of our KPOINTS files, which goes on with the rule as JSON."""


def kpoints_comment(rule: Mapping[str, Any]) -> str:
    """First line of a KPOINTS file, from which an import reads the ``rule`` of the level again."""
    return RULE + json.dumps(rule, sort_keys=True)


def kpoints_rule(comment: str) -> dict[str, Any]:
    """Inverse of :func:`kpoints_comment`; empty for the KPOINTS of others."""
    if not comment.startswith(RULE):
        return {}
    try:
        rule = json.loads(comment.removeprefix(RULE))
    except ValueError:
        return {}
    return rule if isinstance(rule, dict) else {}


def _tags(incar: Mapping[str, Any]) -> dict[str, Any]:
    """Tags in capitals, ENCUT also by its old name; of a list of one, as some vasprun.xml have them, the one."""
    single = {k: v[0] if isinstance(v, list | tuple) and len(v) == 1 else v for k, v in incar.items()}
    tags = {str(key).upper(): value for key, value in single.items()}
    return {"ENCUT": tags["ENMAX"], **tags} if "ENMAX" in tags else tags


def _functional(tags: Mapping[str, Any], titels: Iterable[str]) -> str:
    meta = str(tags.get("METAGGA") or "").strip().upper()
    gga = str(tags.get("GGA") or "").strip().upper()
    families = {titel.split()[0] for titel in titels if titel.strip()}
    if len(families) > 1:
        raise LevelError(f"POTCARs of several kinds are mixed: {', '.join(sorted(families))}")
    if meta not in ("", "NONE", "--"):
        name = meta
    elif gga in ("", "--", "NONE"):
        family = next(iter(families), "")
        name = _POTCAR_FUNCTIONALS.get(family, f"that of the POTCARs ({family})" if family else "unknown")
    else:
        name = _FUNCTIONALS.get(gga, f"GGA={gga}")
    return f"{name}-hybrid" if tags.get("LHFCALC") else name


def _hubbard(plus_u: Mapping[str, Hubbard], kind: int) -> dict[str, Any]:
    """U per element; only U - J counts in Dudarev's form (LDAUTYPE 2)."""
    dudarev = kind == 2
    level: dict[str, Any] = {"hubbard_u": {e: value.u - value.j if dudarev else value.u for e, value in plus_u.items()}}
    if plus_u and not dudarev:
        level |= {"hubbard_type": kind, "hubbard_j": {e: value.j for e, value in plus_u.items()}}
    if shells := {e: value.l for e, value in plus_u.items() if value.l != 2}:
        level["hubbard_l"] = shells
    return level


def _telling(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Tags that decide numbers and have no default value; smearing always, as VASP's default suits few."""
    found = {key: _plain(key, value) for key, value in tags.items() if key not in COST_TAGS | _OTHERWISE}
    found = {key: value for key, value in found.items() if DEFAULTS.get(key) != value}
    if not found.get("LHFCALC"):
        found = {key: value for key, value in found.items() if key not in EXCHANGE_TAGS}
    if isinstance(found.get("EFERMI"), str):  # LEGACY, MIDGAP: where in the gap it is said to be; a number is imposed
        del found["EFERMI"]
    smearing = int(tags.get("ISMEAR", 1))
    found["ISMEAR"] = smearing
    if smearing > -4:  # tetrahedra have no width
        found["SIGMA"] = float(tags.get("SIGMA", 0.2))
    if "RWIGS" in tags and int(tags.get("LORBIT") or 0) < 10:
        found["RWIGS"] = _plain("", tags["RWIGS"])  # the spheres that moments are projected on
    if int(tags.get("ISYM", 2)) <= 0:
        found.pop("SYMPREC", None)  # of a symmetry that is not used
    if float(tags.get("EDIFF", LOOSE)) > LOOSE:
        found["EDIFF"] = float(tags["EDIFF"])
    if found.get("LSORBIT"):
        found.pop("LNONCOLLINEAR", None)  # follows
    return dict(sorted(found.items()))


def _plain(key: str, value: Any) -> Any:
    """The value as JSON has it, and as everybody else writes it."""
    if key == "PREC":
        return _PRECISIONS.get(str(value)[:1].lower(), str(value).lower())
    if isinstance(value, str) and (text := value.strip(". ").upper()) in _LOGICALS:
        return _LOGICALS[text]
    if isinstance(DEFAULTS.get(key), bool) and isinstance(value, str):
        return text[:1]
    if isinstance(value, bool | str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain("", part) for part in value]
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _blocks(value: Any, number: int, name: str) -> list[float] | None:
    """One number per species block; None where the tag is not there."""
    if value is None:
        return None
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) < number:
        raise LevelError(f"{name} has {len(values)} values for {number} species blocks")
    return [float(entry) for entry in values[:number]]
