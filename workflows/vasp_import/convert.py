"""One finished run becomes a label: its level of theory from its own settings, its start from MAGMOM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError
from pymatgen.core import Element

from datastore.identity import geometry_id
from datastore.mapping import RefusedError
from datastore.quality import COLLAPSED, name_ordering
from datastore.schema import FloatArray, SpinConfig, SpinPoint
from workflows.engines.interface import CHANGED
from workflows.engines.vasp.levels import LevelError, hubbard_of_incar, level_of_run, per_element
from workflows.structures.naming import recognised_ordering

ENGINE = "vasp"

IMPORTER = "spinmultinet vasp import 2"
"""Written into every label; raised when the conversion changes, so that folders are read again."""

DEFAULT_START = 1.0
"""muB. VASP's MAGMOM for every ion where none is stated; pymatgen's sets put 0.6 on elements that they do not know."""

FROM_CHGCAR = 1
"""ICHARG with which the charge and spin density of a file are the start."""

OTHER_CELL = (3, 4, 5, 6, 7, 8)
"""ISIF with which the cell, and so the volume or shape, changes."""


@dataclass(frozen=True)
class Raw:
    """What a run says, by whatever way it was read. Units: eV, Angstrom, muB, seconds; stress eV/Angstrom^3, ASE sign.

    ``magmoms_in``: MAGMOM, None where the INCAR has none. ``symbols``, ``titels`` and ``potcars``
    (:func:`workflows.engines.vasp.potcars.identity`) are per species block. ``kpts``: the rule behind the mesh.
    ``n_ionic``: 0 where there were several steps and nobody says how many. ``own``: made by this program's input
    generator, which states a moment for every site on purpose. ``from_atoms``: the first density was that of atoms with
    MAGMOM, although ICHARG = 1 asks for that of a file: there was none. Of a document nobody knows.
    """

    species: Sequence[str]
    lattice: FloatArray
    positions: FloatArray
    magmoms_in: FloatArray | None
    magmoms_out: FloatArray
    energy: float
    free_energy: float
    forces: FloatArray
    stress: FloatArray | None
    total_moment: float | FloatArray | None
    incar: Mapping[str, Any]
    parameters: Mapping[str, Any]
    symbols: Sequence[str]
    titels: Sequence[str]
    potcars: Sequence[Mapping[str, str]]
    kpts: Mapping[str, Any]
    version: str
    n_ionic: int
    source: Mapping[str, Any]
    charges: FloatArray | None = None
    band_gap: float | None = None
    kpoints: list[int] | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    corrections: Sequence[str] = ()
    history: Sequence[dict[str, Any]] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    own: bool = False
    from_atoms: bool = False


def label(raw: Raw) -> SpinPoint:
    """The label of a run, not yet judged. Raises RefusedError."""
    _check_finite(raw)
    moments, notes = _start(raw)
    step = "single point" if raw.n_ionic == 1 else f"last of {raw.n_ionic or 'several'}"
    fields: dict[str, Any] = {
        "species": list(raw.species),
        "lattice": raw.lattice,
        "positions": raw.positions,
        "magmoms_in": moments,
        "moment_role": "constraint" if _number(raw, "I_CONSTRAINED_M") else "guess",
    }
    try:
        config = SpinConfig(**fields, ordering="")
        config = config.model_copy(
            update={
                "ordering": recognised_ordering(config),
                "pair_id": geometry_id(config.species, config.lattice, config.positions),
                "deformation": "unknown",
            }
        )
        return SpinPoint(
            **config.model_dump(),
            engine=ENGINE,
            engine_version=raw.version,
            level_of_theory=_level(raw),
            corrections=list(raw.corrections),
            history=list(raw.history),
            kpoints=raw.kpoints,
            timings=dict(raw.timings),
            energy=raw.energy,
            free_energy=raw.free_energy,
            forces=raw.forces,
            stress=raw.stress,
            magmoms_out=raw.magmoms_out,
            total_moment=_total(raw),
            charges=None if raw.charges is None else [float(q) for q in raw.charges],
            band_gap=raw.band_gap,
            ordering_found=name_ordering(config, raw.magmoms_out),
            verdict="accepted",
            source={"importer": IMPORTER, **raw.source, "step": step, **notes},
        )
    except LevelError as error:
        raise RefusedError("no level of theory", str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise RefusedError("invalid", f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _check_finite(raw: Raw) -> None:
    """Refuse numbers that are none, which would leave no trace in JSON. The label itself checks its arrays."""
    numbers = {name: getattr(raw, name) for name in ("energy", "free_energy", "total_moment", "charges", "band_gap")}
    for name, value in {**numbers, **raw.timings}.items():
        if value is not None and not np.all(np.isfinite(np.asarray(value, dtype=np.float64))):
            raise RefusedError("overflow", f"{name} is no finite number; the run diverged, or its file is damaged")


def turned(saxis: Any) -> bool:
    """Whether SAXIS is another axis than z, so that vectors are not Cartesian as VASP writes and reads them."""
    x, y, z = np.reshape(np.array(saxis or [0, 0, 1], dtype=np.float64), 3)
    return bool(abs(x) > _ON_AXIS * abs(z) or abs(y) > _ON_AXIS * abs(z) or z < 0)


_ON_AXIS = 1e-6


def _level(raw: Raw) -> dict[str, Any]:
    symbols = list(raw.symbols)
    potcars = per_element(symbols, [dict(content) for content in raw.potcars], "POTCAR")
    incar = {**raw.incar, **_radii(raw.incar.get("RWIGS"), symbols)}
    level = level_of_run(incar, hubbard_of_incar(incar, symbols), potcars, raw.kpts, raw.titels)
    if raw.n_ionic != 1 and _number(raw, "ISIF") in OTHER_CELL:
        # Its cutoff in Angstrom is that of another volume: energy and stress are not those of a single point.
        level["basis"] = "plane waves of the first cell of a relaxation"
    return {**level, CHANGED: dict(raw.changes)} if raw.changes else level


def _radii(values: Any, symbols: Sequence[str]) -> dict[str, list[str]]:
    """RWIGS by element and not by block: blocks differ from cell to cell."""
    radii = values if isinstance(values, list) else [values]
    if values is None or len(radii) != len(symbols):
        return {}
    return {"RWIGS": [f"{e} {radius:g}" for e, radius in sorted(per_element(symbols, radii, "RWIGS").items())]}


def _start(raw: Raw) -> tuple[FloatArray, dict[str, Any]]:
    """Moments that the run started from, or was held at, and what there is to say on them."""
    found = raw.magmoms_out
    if _number(raw, "I_CONSTRAINED_M"):
        return _held(raw), {}
    if (read := _continued(raw)) and not raw.own:
        settled = np.where(_lengths(found)[(...,) + (None,) * (found.ndim - 1)] >= COLLAPSED, found, 0.0)
        return settled, {"moments_in": f"those found: the run continued from a {read}"}
    stated = raw.magmoms_in
    notes: dict[str, Any] = {}
    if stated is None:
        stated = _default(raw)
        notes = {"moments_in": "VASP's default: the INCAR has no MAGMOM"}
    if stated.shape != found.shape:
        raise RefusedError("wrong shape", f"MAGMOM is {stated.shape}, the moments found are {found.shape}")
    return (stated, notes) if raw.own else _without_defaults(raw, stated, notes)


def _continued(raw: Raw) -> str:
    """What of an earlier run this one began with, which has the moments; MAGMOM then only says the symmetry."""
    if _number(raw, "ISTART"):
        return "wavefunction (ISTART > 0)"
    from_file = _number(raw, "ICHARG") == FROM_CHGCAR and not raw.from_atoms
    return "charge density (ICHARG = 1)" if from_file else ""


def _default(raw: Raw) -> FloatArray:
    """What VASP takes without MAGMOM. vasprun.xml tells, as it depends on NUPDOWN; else 1 muB on each ion, along z."""
    _check_frame(raw, "MAGMOM is not stated, and VASP's default is along SAXIS")
    told = np.array(raw.parameters.get("MAGMOM") or [], dtype=np.float64)
    if told.size == raw.magmoms_out.size:
        return told.reshape(raw.magmoms_out.shape)
    moments = np.zeros(raw.magmoms_out.shape)
    moments[(..., 2) if moments.ndim == 2 else ...] = DEFAULT_START
    return moments


def _without_defaults(raw: Raw, stated: FloatArray, notes: dict[str, Any]) -> tuple[FloatArray, dict[str, Any]]:
    """MAGMOM without the little that input sets put on every ion, where an s or p element ended without a moment.

    It breaks the symmetry, and asks for nothing: 0.6 muB on oxygen are no moment that collapses.
    """
    main_group = np.array([Element(symbol).block in "sp" for symbol in raw.species])
    lengths = _lengths(stated)
    idle = main_group & (lengths > 0) & (lengths <= DEFAULT_START) & (_lengths(raw.magmoms_out) < COLLAPSED)
    if not idle.any():
        return stated, notes
    moments = np.array(stated)
    moments[idle] = 0.0
    said = {"magmom": stated.tolist(), "magmom_set_to_zero": "s and p elements, 1 muB or less, none at the end"}
    return moments, {**notes, **said}


def _held(raw: Raw) -> FloatArray:
    """The moments of a constrained run: M_CONSTR, of which VASP takes the direction only for I_CONSTRAINED_M = 1."""
    if "M_CONSTR" in raw.incar:
        _check_frame(raw, "M_CONSTR is in the frame of SAXIS")
    stated = raw.incar.get("M_CONSTR", raw.magmoms_in)
    found = raw.magmoms_out
    if stated is None or np.size(stated) != found.size:
        raise RefusedError("constraint not stated", f"M_CONSTR has {np.size(stated)} numbers for {len(found)} ions")
    held = np.reshape(np.array(stated, dtype=np.float64), found.shape)
    if _number(raw, "I_CONSTRAINED_M") != 1:
        return held
    lengths = _lengths(held)
    scale = np.divide(_lengths(found), lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return held * scale[(...,) + (None,) * (found.ndim - 1)]


def _check_frame(raw: Raw, what: str) -> None:
    """Refuse vectors that nobody has turned to Cartesian ones; MAGMOM and the moments found have been."""
    if raw.magmoms_out.ndim > 1 and (turned(raw.incar.get("SAXIS")) or turned(raw.parameters.get("SAXIS"))):
        raise RefusedError("turned moments", f"{what}, which is not 0 0 1: they are not converted")


def _total(raw: Raw) -> float:
    total = raw.magmoms_out.sum(axis=0) if raw.total_moment is None else np.asarray(raw.total_moment)
    return float(total if np.ndim(total) == 0 else np.linalg.norm(total))


def _number(raw: Raw, tag: str) -> int:
    """An integer tag as the run had it: vasprun.xml's parameters know defaults and what VASP made of them."""
    for tags in (raw.parameters, raw.incar):
        value = tags.get(tag)
        if isinstance(value, int | float):
            return int(value)
    return 0


def _lengths(moments: FloatArray) -> FloatArray:
    return np.abs(moments) if moments.ndim == 1 else np.linalg.norm(moments, axis=1)
