"""What custodian did to a run: ``custodian.json`` and the input files before and after -> :class:`Corrections`.

The files have the last word. custodian copies the inputs to ``*.orig`` before it begins; what differs at the end has
changed, whoever changed it. Which of custodian's actions mean what:

=====================================================  =====================================================
action of a handler                                    the label
=====================================================  =====================================================
ISMEAR, SIGMA; ISYM; SYMPREC while ISYM is on; KPOINTS  another level of theory (``level_changes``)
(mesh, centring), KSPACING, KGAMMA; LREAL; PREC; ENCUT;
LDAU*; GGA; ISPIN, NUPDOWN, NELECT; any other tag that
is not in ``levels.COST_TAGS``
SYMPREC without symmetry; ALGO, NELM*, mixing (AMIX,    a correction: the way to the same numbers
BMIX, AMIN, IMIX), ISTART, ICHARG, TIME, NBANDS, NCORE,
NPAR, KPAR, POTIM, IBRION, tighter EDIFF; WAVECAR or
CHGCAR deleted
POSCAR, MAGMOM, M_CONSTR, LAMBDA, RWIGS, NSW, ISIF;     none: it is no longer what was asked for
ICHARG of 10 and more, which holds the density          (:func:`departure`)
a setting changed and changed back                      as asked; the history says which
=====================================================  =====================================================

NBANDS is no setting of a level: VASP rounds it up to a multiple of the processes, and a handler only raises it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import Incar, Kpoints

from workflows.engines.vasp.levels import COST_TAGS, kpts_of_run, level_of_run
from workflows.engines.vasp.output_files import OutputError, read_bytes

LOG = "custodian.json"
ORIGINAL = ".orig"

HANDLER_FAILED = "the handler failed"
"""Stands for the error of a handler that raised one itself."""

OF_THE_CONFIGURATION = ("MAGMOM", "I_CONSTRAINED_M", "M_CONSTR", "LAMBDA", "RWIGS", "NSW", "ISIF")
"""Tags that say what is computed; a run that changed one is no run of the configuration."""

HELD_DENSITY = 10
"""ICHARG from which on VASP does not update the density."""

MOVED = 1e-4
"""Angstrom. A CONTCAR of a static run repeats its POSCAR to 1e-10; VASP 5.2 and converters write 6 digits."""

ENTRIES, LENGTH = 10, 160
"""A history has at most so many entries, of texts so long: below 2 kB but for long lists of errors."""

_NAMELESS = frozenset({"EDIFF", "SYMPREC"})
"""Belong to a level only where they are loose, or where there is symmetry."""

_U = ("LDAU", "LDAUTYPE", "LDAUU", "LDAUJ", "LDAUL")


@dataclass(frozen=True)
class Corrections:
    """What happened to a run.

    ``texts``: one line per correction that lasted. ``history``: per correction its ``handler``, ``errors`` and
    ``actions``. ``level_changes``: setting that decides numbers -> its value at the end.
    """

    texts: list[str]
    history: list[dict[str, Any]]
    level_changes: dict[str, Any]


def read_corrections(folder: Path, of_final_files: bool = False) -> Corrections:
    """The corrections of the run in ``folder``, from ``custodian.json``, ``INCAR``, ``KPOINTS`` and their ``.orig``.

    Each may be gzipped, and each may be missing: a run without custodian has no corrections. ``of_final_files``: the
    label's level of theory is read from the files as they ended, as in an import; then nothing has changed against it.
    Raises OutputError, which names the file, where INCAR or a file packed by gzip is damaged.
    """
    log = read_log(folder)
    changes = {} if of_final_files else level_changes(folder)
    known = of_final_files or _incar(folder, ORIGINAL) is not None
    texts = [text for entry in log if (text := _text(entry, changes, known))]
    if unsaid := {key: value for key, value in changes.items() if not any(key in text for text in texts)}:
        texts.append(f"changed on disk: {_settings(unsaid)}")
    return Corrections(list(dict.fromkeys(texts)), _history(log), changes)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """custodian's corrections in the order they were made: ``handler``, ``errors`` and ``actions`` of each.

    A log that was cut off by a kill, or is none, counts as one entry that says so.
    """
    try:
        content = _read(folder / LOG)
        runs = [] if content is None else json.loads(content)
        return [_entry(correction) for run in runs for correction in run["corrections"]]
    except (ValueError, TypeError, KeyError, AttributeError, OutputError):
        return [{"handler": "", "errors": [f"{LOG} cannot be read"], "actions": []}]


def level_changes(folder: Path) -> dict[str, Any]:
    """Settings that decide numbers and differ between ``*.orig`` and the files now -> the value now, JSON-able."""
    before, after = _incar(folder, ORIGINAL), _incar(folder, "")
    changes: dict[str, Any] = {}
    if before is not None and after is not None:
        old, new = _telling(before), _telling(after)
        changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        changes = {key: after.get(key, "VASP's default") for key in changed}
    meshes = [_mesh(_read(folder / f"KPOINTS{suffix}")) for suffix in (ORIGINAL, "")]
    if before is not None and meshes[0] != meshes[1]:
        changes["KPOINTS"] = meshes[1] or "no file"
    return changes


def departure(folder: Path) -> str | None:
    """How the run in ``folder`` left what was asked for: moved sites, another start of the moments; None if it did not.

    Sites may move in a relaxation (NSW > 0), and wrap around the cell.
    """
    try:
        return _departure(folder)
    except OutputError as error:
        return str(error)


def _departure(folder: Path) -> str | None:
    before, after = _incar(folder, ORIGINAL), _incar(folder, "")
    if before is None or after is None:
        return "INCAR or the copy of it from before the run is missing"
    for tag in OF_THE_CONFIGURATION:
        if before.get(tag) != after.get(tag):
            return f"{tag} was changed"
    if _held(before) != _held(after):
        return f"ICHARG was changed to {after.get('ICHARG', 'its default')}; from 10 on the density is held"
    texts = [_read(folder / f"POSCAR{suffix}") for suffix in (ORIGINAL, "")]
    if texts[0] is None or texts[1] is None:
        return "POSCAR or the copy of it from before the run is missing"
    return None if texts[0] == texts[1] else _moved(texts[0], texts[1], relaxed=bool(before.get("NSW", 0)))


def _held(incar: Mapping[str, Any]) -> bool:
    """Whether the density is that of a file, and the energy not that of the ground state."""
    return bool(incar.get("ICHARG", 0) >= HELD_DENSITY)


def _moved(before: str, after: str, relaxed: bool) -> str | None:
    try:
        old, new = (Structure.from_str(text, fmt="poscar") for text in (before, after))
    except (ValueError, IndexError) as error:
        return f"POSCAR cannot be read ({str(error).splitlines()[0]})"
    if [site.specie.symbol for site in old] != [site.specie.symbol for site in new]:
        return "the sites of POSCAR were reordered"
    if relaxed:
        return None
    if np.abs(old.lattice.matrix - new.lattice.matrix).max() > MOVED:
        return "the cell of POSCAR was changed"
    shift = old.frac_coords - new.frac_coords
    distance = np.linalg.norm((shift - np.round(shift)) @ old.lattice.matrix, axis=1)
    return f"site {int(distance.argmax())} of POSCAR was moved" if distance.max() > MOVED else None


def _telling(incar: Mapping[str, Any]) -> dict[str, Any]:
    """The tags that decide numbers, without those that have VASP's default."""
    level = level_of_run(incar, {}, {}, kpts_of_run(incar))
    found = {**level["incar"], **{tag: incar[tag] for tag in _U if tag in incar and incar.get("LDAU")}}
    found |= {tag: incar[tag] for tag in ("ENCUT", "GGA", "METAGGA", "KSPACING", "KGAMMA") if tag in incar}
    return found


def _mesh(text: str | None) -> str:
    """Readable mesh of a KPOINTS file, such as ``Gamma 4x4x2``; empty where there is no file."""
    if text is None:
        return ""
    try:
        kpoints = Kpoints.from_str(text)
    except (ValueError, IndexError):
        return text
    style = str(kpoints.style).split(".")[-1]
    shift = "" if not any(kpoints.kpts_shift) else f" shifted by {list(kpoints.kpts_shift)}"
    mesh = "; ".join("x".join(f"{n:g}" for n in row) for row in kpoints.kpts)
    return f"{style} {mesh}{shift}"


def _entry(correction: Mapping[str, Any]) -> dict[str, Any]:
    handler = correction.get("handler")
    name = handler.get("@class", "") if isinstance(handler, Mapping) else str(handler or "")
    # What custodian says of a handler that failed has an address of memory in it.
    errors = [HANDLER_FAILED] if correction.get("skipped") else [str(error) for error in correction.get("errors") or []]
    return {"handler": name, "errors": errors, "actions": list(correction.get("actions") or [])}


def _text(entry: Mapping[str, Any], changes: Mapping[str, Any], known: bool) -> str:
    """One line on a correction. A setting that ended as the level of theory says is not named, but counted.

    Where it is not ``known`` how settings ended, all are named.
    """
    steps = list(_steps(entry["actions"]))
    named = [step for step in steps if not known or _lasts(step[0], step[1], changes)]
    said = [_said(*step) for step in named]
    if others := len(steps) - len(named):
        whose = "setting that ended" if others == 1 else "settings that ended"
        said.append(f"{others} {whose} as the level of theory says (see history)")
    return f"custodian: {', '.join(sorted(entry['errors']))} -> {', '.join(said)}"[: 2 * LENGTH] if said else ""


def _lasts(file: str, key: str, changes: Mapping[str, Any]) -> bool:
    """Whether a step is one of the way, or left its mark on the level."""
    if file == "KPOINTS":
        return "KPOINTS" in changes
    return file != "INCAR" or key in changes or key in COST_TAGS | _NAMELESS


def _steps(actions: list[Any]) -> Iterator[tuple[str, str, Any]]:
    """(file, key, value) of custodian's actions; without a key the value says what was done with the file."""
    for action in actions:
        file = str(action.get("dict") or action.get("file") or "")
        for verb, content in (action.get("action") or {}).items():
            if verb == "_set" and file != "POSCAR":
                yield from ((file, str(key).upper() if file == "INCAR" else str(key), v) for key, v in content.items())
            elif verb == "_unset":
                yield from ((file, str(key), None) for key in content)
            elif verb == "_file_copy":
                yield str(content["dest"]), "", f"from {file}"
            else:
                yield file, "", {"_file_delete": "deleted", "_set": "changed"}.get(verb, verb)


def _said(file: str, key: str, value: Any) -> str:
    if key:
        return f"{file} {key} removed" if value is None else f"{file} {_settings({key: value})}"
    return f"{file} {value}"


def _settings(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


def _history(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The log in short; what a monitor said many times is said once, and of a long log the middle is left out."""
    short: list[dict[str, Any]] = []
    for entry in log:
        said = [_said(*step)[:LENGTH] for step in _steps(entry["actions"])]
        new = {**entry, "errors": [error[:LENGTH] for error in sorted(entry["errors"])], "actions": said}
        if not short or short[-1] != new:
            short.append(new)
    half = ENTRIES // 2
    return short if len(short) <= ENTRIES else [*short[:half], *short[-half:]]


def _incar(folder: Path, suffix: str) -> dict[str, Any] | None:
    """Tags of an INCAR, None where there is none. Raises OutputError for a damaged one, whose tags would be changes."""
    path = folder / f"INCAR{suffix}"
    text = _read(path)
    if text is None:
        return None
    try:
        tags = dict(Incar.from_str(text))
    except Exception as error:  # pymatgen raises whatever a damaged line leads to
        raise OutputError("unreadable", path, f"is no INCAR ({error}); copy it again, or remove it") from error
    if not tags:
        raise OutputError("unreadable", path, "has no tag; copy it again, or remove it")
    return tags


def _read(path: Path) -> str | None:
    """Text of a file or of its gzipped form, None where there is neither. Raises OutputError."""
    packed = path.with_name(f"{path.name}.gz")
    found = next((file for file in (path, packed) if file.is_file()), None)
    return None if found is None else read_bytes(found).decode(errors="replace")
