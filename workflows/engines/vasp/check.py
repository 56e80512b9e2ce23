"""Before core hours are spent: do the files in a folder say what the configuration says, site by site?

Everything is taken from the files as they lie there, and compared with the configuration and the settings; nothing is
taken from the code that wrote them. atomate2's own comparison of inputs lets a missing MAGMOM and another order of
sites pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from datastore.schema import FloatArray, SpinConfig
from workflows.engines.interface import LabelError
from workflows.engines.vasp.levels import COST_TAGS
from workflows.engines.vasp.occupations import HELD, RELEASED, Matrices, read, read_file
from workflows.engines.vasp.potcars import PotcarFile
from workflows.engines.vasp.readback import (
    Sites,
    Tags,
    numbers,
    read_incar,
    read_kpoints,
    read_poscar,
    read_potcar,
    read_spec,
)
from workflows.engines.vasp.settings import VaspSettings
from workflows.engines.vasp.tags import AGREEING, ALGORITHMS, OWNED, converges

CLOSE = 1e-6
"""Angstrom, muB, eV: what is written has 16 digits."""

ELECTRONS = 0.5
"""A stated NELECT may differ by so much from the neutral cell; a forgotten species or POTCAR is one or more."""

_OF_THE_CONFIGURATION = {"MAGMOM", "M_CONSTR", "RWIGS", "LDAU", "LDAUTYPE", "LDAUU", "LDAUJ", "LDAUL", "NELECT"}
_ALWAYS = set(OWNED) | {"LORBIT"}
"""Tags that decide no number of a level, and yet what a run is."""

_MOST = 12
"""Differences spelled out in a message."""

T = TypeVar("T")


@dataclass
class _Check:
    """One folder against one configuration; ``found`` collects the differences."""

    folder: Path
    config: SpinConfig
    settings: VaspSettings
    found: list[str] = field(default_factory=list)

    def read(self, reader: Callable[[Path], T]) -> T | None:
        try:
            return reader(self.folder)
        except ValueError as error:
            self.found.append(str(error))
            return None

    def differ(self, what: str, expected: Any, found: Any) -> None:
        self.found.append(f"{what}: expected {_plain(expected)}, found {_plain(found)}")

    @property
    def vectors(self) -> bool:
        return self.settings.spins != "collinear"

    @property
    def held(self) -> bool:
        return self.config.moment_role == "constraint"


def check_inputs(
    folder: Path,
    config: SpinConfig,
    settings: VaspSettings,
    updates: Mapping[str, Any] | None = None,
    spec: bool = False,
) -> list[int]:
    """The caller's site of every site in POSCAR, found by its species and place.

    ``updates``: tags of a relaxation, or of a run that starts from occupation matrices, over those of a single point.
    A configuration with matrices passes with these only, and one without never with them. ``spec``: POTCAR.spec stands
    for the POTCAR. Raises LabelError (refused), whose one line names every difference between the files in ``folder``
    and the configuration: what, where, expected, found.
    """
    check = _Check(folder, config, settings)
    sites, tags = check.read(read_poscar), check.read(read_incar)
    order = _check_sites(check, sites) if sites else []
    if tags:
        _check_tags(check, tags, updates or {})
    if sites and tags:
        _check_moments(check, tags, sites, order)
        _check_hubbard(check, tags, sites.symbols)
    _check_kpoints(check)
    _check_occupations(check, updates or {}, order)
    if spec:
        _check_spec(check, sites, tags)
    else:
        _check_potcar(check, sites, tags)
    if check.found:
        more = f" (and {len(check.found) - _MOST} more)" if len(check.found) > _MOST else ""
        said = f"{'; '.join(check.found[:_MOST])}{more}"
        raise LabelError(f"the VASP inputs in {folder} do not say what the configuration says: {said}", "refused")
    return order


def _check_sites(check: _Check, sites: Sites) -> list[int]:
    """Compare lattice, species and positions; the caller's site of each site, -1 where there is none."""
    if sites.selective:
        check.differ("POSCAR, selective dynamics", None, "flags that hold sites")
    if len(set(sites.symbols)) < len(sites.symbols):
        check.differ("POSCAR, blocks", "one per species", " ".join(sites.symbols))
    if sorted(sites.species) != sorted(check.config.species):
        check.differ("POSCAR, species", " ".join(sorted(check.config.species)), " ".join(sorted(sites.species)))
    same = _check_lattice(check, sites)
    config = check.config
    theirs = config.positions @ np.linalg.inv(config.lattice)
    mine = sites.positions @ np.linalg.inv(config.lattice) if same else sites.fractional
    order: list[int] = []
    for number, symbol in enumerate(sites.species):
        away = mine[number] - theirs
        distances = np.linalg.norm((away - np.round(away)) @ config.lattice, axis=1)
        distances[[other != symbol for other in config.species]] = np.inf
        nearest = int(np.argmin(distances))
        if distances[nearest] > CLOSE:
            check.differ(
                f"POSCAR, place of site {number + 1} ({symbol})", "one of the configuration's", _off(distances)
            )
        elif nearest in order:
            check.differ(
                f"POSCAR, site {number + 1} ({symbol})", "a place of its own", f"that of {order.index(nearest) + 1}"
            )
        order.append(nearest if distances[nearest] <= CLOSE else -1)
    return order


def _off(distances: FloatArray) -> str:
    nearest = float(distances.min())
    return f"the nearest {nearest:.3g} Angstrom away" if math.isfinite(nearest) else "no such species there"


def _check_lattice(check: _Check, sites: Sites) -> bool:
    wanted = check.config.lattice * np.sign(np.linalg.det(check.config.lattice))
    off = float(np.abs(sites.lattice - wanted).max())
    if off > CLOSE:
        check.differ("POSCAR, lattice (Angstrom)", np.round(wanted, 4), np.round(sites.lattice, 4))
    return off <= CLOSE


def _check_tags(check: _Check, tags: Tags, updates: Mapping[str, Any]) -> None:
    for tag in tags.repeated:
        check.differ(f"INCAR, {tag}", "stated once", "several times")
    expected = {**check.settings.tags(), **updates, **(check.settings.constraint_tags() if check.held else {})}
    compared = ({*expected, *tags.values} - COST_TAGS | _ALWAYS | set(updates)) - _OF_THE_CONFIGURATION
    for tag in sorted(compared):
        found = tags.values.get(tag)
        said_anyhow = tag not in expected and tag in AGREEING and _same(AGREEING[tag], found)
        if not (_same(expected.get(tag), found) or said_anyhow):
            check.differ(f"INCAR, {tag}", expected.get(tag), found)
    if not converges(tags.values.get("ALGO")):
        check.differ("INCAR, ALGO", f"one of {', '.join(ALGORITHMS)}", tags.values.get("ALGO"))
    for tag in ("M_CONSTR", "RWIGS"):
        if not check.held and tag in tags.values:
            check.differ(f"INCAR, {tag}", None, tags.texts.get(tag))


def _check_moments(check: _Check, tags: Tags, sites: Sites, order: Sequence[int]) -> None:
    asked = check.config.magmoms_in
    if check.vectors and asked.ndim == 1:
        asked = np.stack([0 * asked, 0 * asked, asked], axis=1)
    for tag in ("MAGMOM", "M_CONSTR") if check.held else ("MAGMOM",):
        _check_list(check, tags, tag, asked, sites, order)


def _check_list(check: _Check, tags: Tags, tag: str, asked: FloatArray, sites: Sites, order: Sequence[int]) -> None:
    """Moments of ``tag`` against those asked for, (N,) or (N, 3) in the caller's order."""
    if tag not in tags.texts:
        return check.differ(f"INCAR, {tag}", f"{asked.size} numbers", None)
    try:
        values = np.array(numbers(tags.texts[tag]))
    except ValueError as error:
        return check.differ(f"INCAR, {tag}", "numbers", str(error))
    if values.size != asked.size:
        return check.differ(f"INCAR, {tag}", f"{asked.size} numbers", values.size)
    for number, site in enumerate(order):
        found = values.reshape(asked.shape)[number]
        if site >= 0 and np.abs(found - asked[site]).max() > CLOSE:
            where = f"INCAR, {tag} of site {number + 1} ({sites.species[number]}, the caller's {site})"
            check.differ(where, asked[site], found)
    return None


def _check_hubbard(check: _Check, tags: Tags, symbols: list[str]) -> None:
    """U, J and shell of every block of species."""
    u = [check.settings.hubbard_u.get(symbol, 0.0) for symbol in symbols]
    if not any(u):
        if tags.values.get("LDAU"):
            check.differ("INCAR, LDAU", False, True)
        return
    if tags.values.get("LDAU") is not True:
        check.differ("INCAR, LDAU", True, tags.values.get("LDAU"))
    if tags.values.get("LDAUTYPE") != 2:
        check.differ("INCAR, LDAUTYPE", 2, tags.values.get("LDAUTYPE"))
    shells = [float(check.settings.hubbard(symbol).l) for symbol in symbols]
    columns: dict[str, Sequence[float]] = {"LDAUU": u, "LDAUJ": [0.0] * len(u), "LDAUL": shells}
    for tag, expected in columns.items():
        try:
            found = numbers(tags.texts.get(tag, ""))
        except ValueError as error:
            check.differ(f"INCAR, {tag}", expected, str(error))
            continue
        if len(found) != len(expected):
            check.differ(f"INCAR, {tag}", f"{len(expected)} numbers, one per block", found)
            continue
        for symbol, wanted, value, plus_u in zip(symbols, expected, found, u, strict=True):
            if abs(wanted - value) > CLOSE and (tag != "LDAUL" or plus_u):
                check.differ(f"INCAR, {tag} of {symbol}", wanted, value)


def _check_kpoints(check: _Check) -> None:
    kpoints = check.read(read_kpoints)
    if kpoints is None:
        return
    if kpoints.style.name != "Gamma" or kpoints.num_kpts != 0:
        check.differ("KPOINTS, style", "Gamma", kpoints.style.name)
        return
    mesh = list(check.settings.mesh(check.config))
    if [float(n) for n in kpoints.kpts[0]] != [float(n) for n in mesh]:
        check.differ("KPOINTS, mesh", mesh, list(kpoints.kpts[0]))
    if any(float(shift) for shift in kpoints.kpts_shift):
        check.differ("KPOINTS, shift", [0, 0, 0], list(kpoints.kpts_shift))


def _check_occupations(check: _Check, updates: Mapping[str, Any], order: Sequence[int]) -> None:
    """The matrices of every site, where this run holds some."""
    asked, run = bool(check.config.occupations), dict(updates)
    if asked != (run in (HELD, RELEASED)):
        said = "a run that starts from occupation matrices", "one that does not"
        check.differ("INCAR", *(said if asked else reversed(said)))
    if not asked or run != HELD:
        return
    wanted, found = check.read(lambda _: read(check.config.occupations)) or {}, check.read(read_file) or {}
    names = {site + 1: number for number, site in enumerate(order, 1)}
    expected = {names.get(site, -site): each for site, each in wanted.items()}
    for number in sorted({*expected, *found}):
        there = found.get(number)
        if there is None or not there.same(expected.get(number), CLOSE):
            check.differ(f"OCCMATRIX, site {number}", _shown(expected.get(number)), _shown(there))


def _shown(matrices: Matrices | None) -> str | None:
    """The matrices in short, for a message."""
    return None if matrices is None else f"l = {matrices.l}, {np.round(matrices.values, 4).tolist()}"


def _check_spec(check: _Check, sites: Sites | None, tags: Tags | None) -> None:
    found = check.read(read_spec)
    stated = check.settings.tags().get("NELECT")
    if tags and not _same(stated, tags.values.get("NELECT")):
        check.differ("INCAR, NELECT", stated, tags.values.get("NELECT"))
    if sites is None or found is None:
        return
    names = [check.settings.potcars.get(symbol, "none named") for symbol in sites.symbols]
    if found != names:
        check.differ("POTCAR.spec", " ".join(names), " ".join(found))


def _check_potcar(check: _Check, sites: Sites | None, tags: Tags | None) -> None:
    files = check.read(read_potcar)
    if sites is None or files is None:
        return
    if [file.element for file in files] != sites.symbols:
        check.differ("POTCAR, elements", " ".join(sites.symbols), " ".join(file.element for file in files))
        return
    for file in files:
        name = check.settings.potcars.get(file.element, "none named")
        expected = check.settings.potcar_hashes.get(file.element)
        if expected is not None and file.sha256 != expected:
            check.differ(f"POTCAR of {file.element}, hash", f"{expected} ({name})", f"{file.sha256} ({file.titel})")
        if expected is None and file.symbol != name:
            check.differ(f"POTCAR of {file.element}", name, file.symbol)
        if file.functional != "PBE":
            check.differ(f"POTCAR of {file.element}, functional", "PBE", file.functional)
    if tags:
        _check_electrons(check, tags, sites, files)
        _check_radii(check, tags, files)


def _check_electrons(check: _Check, tags: Tags, sites: Sites, files: Sequence[PotcarFile]) -> None:
    """Are the electrons those of the cell, and are there enough of them and of bands for the moments?"""
    neutral = sum(file.zval * count for file, count in zip(files, sites.counts, strict=True))
    stated = check.settings.tags().get("NELECT")
    electrons = float(tags.values.get("NELECT") or neutral)
    if abs(electrons - neutral) > ELECTRONS:
        check.differ("INCAR, NELECT", f"{neutral:g} within {ELECTRONS}", electrons)
    elif abs(electrons - (stated or neutral)) > CLOSE or (stated is not None and "NELECT" not in tags.values):
        check.differ("INCAR, NELECT", stated or f"{neutral:g}", tags.values.get("NELECT"))
    total = float(np.linalg.norm(check.config.magmoms_in.sum(axis=0)))
    if total > electrons:
        check.differ("INCAR, sum of MAGMOM", f"at most {electrons:g} electrons", round(total, 3))
    bands = tags.values.get("NBANDS")
    wanted = math.ceil(electrons if check.vectors else (electrons + total) / 2)
    if bands is not None and int(bands) < wanted:
        check.differ("INCAR, NBANDS", f"at least {wanted}", bands)


def _check_radii(check: _Check, tags: Tags, files: Sequence[PotcarFile]) -> None:
    """The spheres in which moments are held: stated ones, or those of the POTCARs."""
    if not check.held or check.settings.constraint is None:
        return
    stated = check.settings.constraint.radii
    try:
        found = numbers(tags.texts.get("RWIGS", ""))
    except ValueError:
        found = []
    if len(found) != len(files):
        check.differ("INCAR, RWIGS", f"{len(files)} numbers, one per block", tags.texts.get("RWIGS"))
        return
    for file, value in zip(files, found, strict=True):
        if abs(stated.get(file.element, file.rwigs) - value) > CLOSE:
            check.differ(f"INCAR, RWIGS of {file.element}", stated.get(file.element, file.rwigs), value)


def _same(expected: Any, found: Any) -> bool:
    if isinstance(expected, list) or isinstance(found, list):
        pair = [value if isinstance(value, list) else [value] for value in (expected, found)]
        return len(pair[0]) == len(pair[1]) and all(map(_same, *pair))
    if isinstance(expected, bool) or isinstance(found, bool) or expected is None or found is None:
        return expected is found
    if isinstance(expected, int | float) and isinstance(found, int | float):
        return math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-12)
    return str(expected).strip().casefold() == str(found).strip().casefold()


def _plain(value: Any) -> str:
    if value is None:
        return "nothing"
    return " ".join(str(np.round(value, 6).tolist() if isinstance(value, np.ndarray | np.floating) else value).split())
