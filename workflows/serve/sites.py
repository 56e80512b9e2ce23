"""One label: its sites with what became of their moments, facts about it, and the other orderings of its geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from datastore import SpinStore
from datastore.decisions import decisions
from datastore.errors import DataError
from datastore.levels import level_name
from datastore.quality import magnetic_sites, moment_changes
from datastore.queries import above_lowest, find
from datastore.schema import Decision, FloatArray, SpinPoint
from workflows.names import short_name

MOST_MEMBERS = 200
"""Labels of one geometry that are listed."""


@dataclass(frozen=True)
class Member:
    """A label of the same geometry, and its energy above the lowest accepted one of its level of theory, meV/atom."""

    point_id: str
    ordering: str
    found: str
    verdict: str
    level: str
    above: float
    shown: bool
    """Whether it is the label that the page is about."""


@dataclass(frozen=True)
class Found:
    """All that the page of a label shows."""

    point: SpinPoint
    members: list[Member]
    decisions: list[Decision]


def find_label(store: SpinStore, point_id: str) -> Found:
    """A label by its whole id. Raises DataError where there is none."""
    point = store.get_point(point_id)
    if point is None:
        raise DataError("there is no label of this id in the store")
    return Found(point, members(store, point), list(decisions(store, point_id)))


def members(store: SpinStore, point: SpinPoint) -> list[Member]:
    """The labels of the geometry of ``point`` in all orderings, lowest first in each level of theory."""
    if not point.pair_id:
        return []
    labels = list(find(store, limit=MOST_MEMBERS, pair_id=point.pair_id))
    found = [
        Member(
            label.point_id,
            short_name(label.ordering),
            short_name(label.ordering_found),
            label.verdict,
            level_name(label.level_of_theory),
            1e3 * above,
            label.point_id == point.point_id,
        )
        for label, above in zip(labels, above_lowest(labels), strict=True)
    ]
    return sorted(found, key=lambda member: (member.level, member.above, member.point_id))


def per_atom(point: SpinPoint) -> float:
    """Free energy, eV/atom."""
    return point.free_energy / len(point.species)


def site_rows(point: SpinPoint) -> list[dict[str, Any]]:
    """A row per site: element, moments asked for and found (muB), what changed, size of the force (eV/Angstrom)."""
    changes = {int(site): what for what, sites in moment_changes(point).items() for site in sites}
    forces = np.linalg.norm(point.forces, axis=1)
    charges = [f"{charge:.2f}" for charge in point.charges or ()] or [""] * len(point.species)
    return [
        {
            "site": number,
            "element": symbol,
            "asked": _moment(point.magmoms_in, number),
            "found": _moment(point.magmoms_out, number),
            "change": changes.get(number, ""),
            "force": f"{forces[number]:.3f}",
            "charge": charges[number],
        }
        for number, symbol in enumerate(point.species)
    ]


def reversed_signs(point: SpinPoint) -> bool:
    """Whether what changed is counted against the reversed input: the others point the other way."""
    changed = {site for sites in moment_changes(point).values() for site in sites}
    kept = [site for site in magnetic_sites(point) if site not in changed]
    return any(float(np.sum(point.magmoms_in[site] * point.magmoms_out[site])) < 0 for site in kept)


def facts(point: SpinPoint) -> list[tuple[str, str]]:
    """Name and value, with its unit, of what there is to say about a label besides its sites."""
    largest = float(np.linalg.norm(point.forces, axis=1).max())
    stress = "none" if point.stress is None else f"{-160.21766 * float(np.trace(point.stress)) / 3:.2f} GPa"
    gap = "not given" if point.band_gap is None else f"{point.band_gap:.2f} eV" if point.band_gap else "0 (a metal)"
    parameters = ", ".join(f"{key} {_short(value)}" for key, value in point.deformation_parameters.items())
    return [
        ("free energy", f"{per_atom(point):.5f} eV/atom"),
        ("energy", f"{point.energy:.5f} eV per cell, extrapolated to zero smearing"),
        ("largest force", f"{largest:.3f} eV/Å"),
        ("pressure", stress),
        ("total moment", f"{point.total_moment:+.3f} μB per cell"),
        ("band gap", gap),
        ("cell", f"{point.cell}, {len(point.species)} atoms, {_volume(point):.2f} Å³/atom"),
        ("deformation", f"{point.deformation}{f' ({parameters})' if parameters else ''}"),
        ("parent", point.parent or "none"),
        ("campaign", f"{point.campaign or 'none'}, round {point.generation}"),
        ("moments", "relax from the given ones" if point.moment_role == "guess" else "held at the given ones"),
        ("engine", f"{point.engine} {point.engine_version}"),
        ("level of theory", f"{level_name(point.level_of_theory)} ({point.level_id})"),
        ("took", ", ".join(f"{name} {value:.4g}" for name, value in point.timings.items()) or "not recorded"),
    ]


def theory_rows(theory: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The level of theory as lines, parts of parts with dots between."""
    rows: list[tuple[str, str]] = []
    for name, value in theory.items():
        if isinstance(value, dict) and value:
            rows += theory_rows(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", _short(value)))
    return rows


def _volume(point: SpinPoint) -> float:
    return abs(float(np.linalg.det(point.lattice))) / len(point.species)


def _moment(moments: FloatArray, site: int) -> str:
    values = np.atleast_1d(moments[site])
    return ", ".join(f"{value:+.2f}" for value in values)


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
