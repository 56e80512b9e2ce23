"""Verdicts on single labels: pure functions from a SpinPoint to reasons; :mod:`datastore.outliers` compares labels.

A rule is a function ``(point) -> str | None`` in :data:`RULES`; the string is the reason for rejection. A rejected
label is kept and stays queryable, but never enters a training set. Site numbers in reasons count from 0.

Moments are compared per *magnetic site* (every cation, and every anion that was given a moment), because an imbalance
summed over the cell hides flips: ``+-+-`` and ``++--`` have the same sum. Energies do not change when all moments are
reversed at once (time reversal), so one global flip is never a difference. Vector moments are compared by the
angle to the input, also modulo one reversal; a rigid rotation of all spins counts as a change, because with
spin-orbit coupling it is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datastore.levels import CHANGED, has_vectors
from datastore.outliers import find_outliers as find_outliers
from datastore.outliers import outlier_group as outlier_group
from datastore.schema import FloatArray, SpinConfig, SpinPoint

# "The labels" below are the 125 PBE+U labels of NiO and MnO in tests/data/gpaw_nio_mno.extxyz (tests/datastore/
# test_quality.py checks the ranges quoted); those of Co are from 54 further labels made in the same way.

ANIONS = frozenset({"N", "P", "O", "S", "Se", "Te", "F", "Cl", "Br", "I"})

ASKED = 0.01
"""muB. Input moments below this ask for no moment."""

COLLAPSED = 0.3
"""muB. A converged moment below this is none: the labels have at most 0.16 on oxygen, and at least 1.7 on a metal."""

MIN_COSINE = 0.9
"""Vector moments within 26 degrees of the input (modulo one reversal) keep their direction."""

UNPAIRED = {"V": 3, "Cr": 4, "Mn": 5, "Fe": 4, "Co": 3, "Ni": 2, "Cu": 1}
"""Unpaired electrons of the divalent high-spin ion on an octahedral site (Hund's rule), which is its moment in muB."""

PROJECTED = 0.9
"""Share of the moment inside the projection sphere: the labels have Mn 4.46-4.54, Co 2.57-2.69, Ni 1.73-1.83."""

GAP = 0.1
"""eV. Above it the occupation is integer in each spin channel, and so is the total moment of a collinear cell."""

INTEGER_TOLERANCE = 0.05
"""muB per cell. Smearing and density integration leave less than this."""

STRESS_ASYMMETRY = 1e-3
"""eV/Angstrom^3 (0.16 GPa). A larger antisymmetric part means a torque on the cell: rows mixed up or not converged."""

STRESS_LIMIT = 1.0
"""eV/Angstrom^3 (160 GPa). The labels stay below 0.22; kB in place of eV/Angstrom^3 is a factor of 1602."""

NET_FORCE = 0.01
"""eV/Angstrom per atom of the summed forces. The labels (700 eV) stay below 0.0012 (egg-box included)."""

CONSTRAINT_TOLERANCE = 0.1
"""Moments held as a constraint may leave it by 0.1 muB + 10 %."""

PHYSICS_KEYS = (
    "ISMEAR|SIGMA|ISYM|KSPACING|KGAMMA|ENCUT|PREC|GGA|METAGGA|LDAU[UJL]?|LDAUTYPE|MAGMOM|NUPDOWN|ISPIN|LSORBIT|LMAXMIX"
    "|LASPH|LREAL|NELECT|POTCAR|smearing|occupations|ecut|xc|setups|hubbard|k-?points?"
)
"""Settings whose change changes the numbers. Mixing, algorithm and iteration limits only change the way there."""

_Index = NDArray[np.intp]


def magnetic_sites(config: SpinConfig) -> _Index:
    """Indices of the sites whose moments are compared: cations, and anions asked to carry more than 0.3 muB."""
    lengths = _lengths(config.magmoms_in)
    cation = np.array([symbol not in ANIONS for symbol in config.species])
    return np.flatnonzero(cation | (lengths >= COLLAPSED))


def name_ordering(config: SpinConfig, magmoms_out: ArrayLike) -> str:
    """Name of the ordering that came out, modulo one global reversal.

    ``magmoms_out``: (N,) or (N, 3) converged moments, muB. Returns ``config.ordering`` where the magnetic sites kept
    signs (directions) and presence of a moment; else the :func:`sign_pattern` of what came out.
    """
    out = np.asarray(magmoms_out, dtype=np.float64)
    if not any(len(sites) for sites in _changes(config, out).values()):
        return config.ordering
    return sign_pattern(config, out)


def sign_pattern(config: SpinConfig, magmoms: FloatArray) -> str:
    """Name of an ordering by the signs of its moments, (N,) or (N, 3) in muB, modulo one global reversal.

    ``NM`` (no moments), ``FM``, a pattern over the magnetic sites in site order such as ``AFM[+--+]`` or ``FiM[++-+]``
    (of each element as many up as down, or not; first moment up; ``0`` = none), or ``NC`` for non-collinear vectors.
    """
    sites = magnetic_sites(config)
    moments = magmoms[sites]
    present = _lengths(moments) >= COLLAPSED
    if not present.any():
        return "NM"
    signs = _signs(moments, present)
    if signs is None:
        return "NC"
    if np.all(signs > 0):
        return "FM"
    # Moments of different elements seldom cancel: Ni up and Mn down is a ferrimagnet, however many there are of each.
    symbols = np.array(config.species)[sites]
    kind = "AFM" if all(signs[symbols == symbol].sum() == 0 for symbol in set(symbols)) else "FiM"
    return f"{kind}[{''.join('-0+'[s + 1] for s in signs)}]"


def judge(point: SpinPoint) -> SpinPoint:
    """The point with the verdict of all :data:`RULES`; earlier reasons are replaced. Pure and idempotent."""
    reasons = [reason for rule in RULES if (reason := rule(point)) is not None]
    return with_verdict(point, reasons)


def with_verdict(point: SpinPoint, reasons: Sequence[str]) -> SpinPoint:
    """The point rejected for ``reasons``, or accepted where there are none; without any manual decision."""
    verdict = "rejected" if reasons else "accepted"
    fields = {"verdict": verdict, "verdict_reasons": list(reasons), "decision": "", "overruled": []}
    return point.model_copy(update=fields)


def moment_changes(point: SpinPoint) -> dict[str, list[int]]:
    """Sites by what became of their moments (``flipped``, ``turned``, ``moment appeared``, ``collapsed``).

    Against the moments asked for, modulo one reversal of all.
    """
    return {what: sites.tolist() for what, sites in _changes(point, point.magmoms_out).items()}


def signs_changed(point: SpinPoint) -> str | None:
    """A magnetic site flipped or turned against the others, or a moment appeared where none was asked."""
    changes = _changes(point, point.magmoms_out)
    parts = [f"{what}: {_sites(sites)}" for what, sites in changes.items() if what != "collapsed" and len(sites)]
    return "; ".join(parts) or None


def moment_collapsed(point: SpinPoint) -> str | None:
    """A site asked to be magnetic ended with less than 0.3 muB."""
    sites = _changes(point, point.magmoms_out)["collapsed"]
    return f"moment collapsed: {_sites(sites)}" if len(sites) else None


def other_spin_state(point: SpinPoint) -> str | None:
    """A relaxed moment outside the high-spin window of its element, such as low-spin Co or swapped Mn and Ni.

    The lower bound is halfway to the next spin state (two electrons paired), times the projected share; the upper
    bound is the full moment plus 0.5 for larger projection spheres. Only for divalent cations (as many anions as
    cations) and moments that were free to relax; collapsed moments have their own rule.
    """
    anions = sum(symbol in ANIONS for symbol in point.species)
    if point.moment_role == "constraint" or 2 * anions != len(point.species):
        return None
    lengths, found = _lengths(point.magmoms_out), []
    for site in magnetic_sites(point):
        unpaired = UNPAIRED.get(point.species[site])
        asked = _lengths(point.magmoms_in)[site] >= ASKED
        if unpaired is None or not asked or lengths[site] < COLLAPSED:
            continue
        low, high = PROJECTED * (unpaired - 1), unpaired + 0.5
        if not low <= lengths[site] <= high:
            state = "low spin" if lengths[site] < low else "moment too large"
            found.append(f"{state}: site {site} {point.species[site]} {lengths[site]:.2f} muB, not {low:g}-{high:g}")
    return "; ".join(found) or None


def constraint_broken(point: SpinPoint) -> str | None:
    """A moment that was to be held is not at its input value (one global reversal is none here: it was held)."""
    if point.moment_role != "constraint":
        return None
    sites = magnetic_sites(point)
    asked, found = point.magmoms_in[sites], point.magmoms_out[sites]
    limit = CONSTRAINT_TOLERANCE * (1.0 + _lengths(asked))
    broken = sites[_lengths(found - asked) > limit]
    return f"constraint not held: {_sites(broken)}" if len(broken) else None


def fractional_total_moment(point: SpinPoint) -> str | None:
    """The total moment of a collinear cell with a band gap is no integer: occupations did not converge.

    Spin-orbit coupling mixes the channels, so that nothing has to be whole; labels made with vectors are not asked.
    """
    if point.band_gap is None or point.band_gap <= GAP or point.magmoms_in.ndim != 1:
        return None
    if has_vectors(point.level_of_theory):
        return None
    if abs(point.total_moment - round(point.total_moment)) <= INTEGER_TOLERANCE:
        return None
    return f"total moment {point.total_moment:.3f} muB is no integer although the gap is {point.band_gap:.2f} eV"


def stress_not_symmetric(point: SpinPoint) -> str | None:
    """The stress tensor has an antisymmetric part."""
    if point.stress is None:
        return None
    excess = float(np.abs(point.stress - point.stress.T).max())
    return f"stress is not symmetric by {excess:.2g} eV/A^3" if excess > STRESS_ASYMMETRY else None


def stress_too_large(point: SpinPoint) -> str | None:
    """A stress no deformed crystal bears: most likely it is in other units."""
    largest = 0.0 if point.stress is None else float(np.abs(point.stress).max())
    return f"stress of {largest:.3g} eV/A^3: in other units?" if largest > STRESS_LIMIT else None


def net_force(point: SpinPoint) -> str | None:
    """The forces do not sum to zero."""
    net = float(np.abs(point.forces.sum(axis=0)).max()) / len(point.species)
    return f"net force {net:.2g} eV/A per atom" if net > NET_FORCE else None


def unconverged(point: SpinPoint) -> str | None:
    """The engine says at the end of its corrections that the calculation did not converge."""
    said = [text for text in point.corrections if _UNCONVERGED.search(text)]
    return f"not converged: {'; '.join(said)}" if said else None


def changed_physics(point: SpinPoint) -> str | None:
    """A correction on the way to convergence changed what was computed, and the level of theory does not say so.

    A label whose level does (:data:`datastore.levels.CHANGED`) is a good one of another level.
    """
    said = point.level_of_theory.get(CHANGED)
    accounted = {_setting(key) for key in said} if isinstance(said, dict) else set()
    changed = [text for text in point.corrections if {_setting(k) for k in _PHYSICS.findall(text)} - accounted]
    return f"corrections changed the physics: {'; '.join(changed)}" if changed else None


RULES: tuple[Callable[[SpinPoint], str | None], ...] = (
    signs_changed,
    moment_collapsed,
    other_spin_state,
    constraint_broken,
    fractional_total_moment,
    stress_not_symmetric,
    stress_too_large,
    net_force,
    unconverged,
    changed_physics,
)
"""The verdict: a label is accepted where every rule returns None."""


_UNCONVERGED = re.compile(r"\b(not converged|unconverged|no convergence)\W*$", re.IGNORECASE)
_PHYSICS = re.compile(rf"(?<![A-Za-z_])({PHYSICS_KEYS})(?![A-Za-z_])", re.IGNORECASE)


def _setting(name: str) -> str:
    """One spelling of a setting's name: ``k-points`` is ``KPOINTS``."""
    return name.upper().replace("-", "")


def _lengths(moments: FloatArray) -> FloatArray:
    """(N,) magnitudes of collinear or vector moments, muB."""
    return np.abs(moments) if moments.ndim == 1 else np.linalg.norm(moments, axis=1)


def _changes(config: SpinConfig, out: FloatArray) -> dict[str, _Index]:
    """Site indices by kind of change against the input, under the global sign that leaves fewest changes."""
    if out.shape != config.magmoms_in.shape:
        raise ValueError(f"magmoms_out has shape {out.shape}, expected {config.magmoms_in.shape}")
    sites = magnetic_sites(config)
    asked, found = config.magmoms_in[sites], out[sites]
    wanted = _lengths(asked) >= ASKED
    # A constraint may hold a moment below the usual limit, so half of it counts as still there.
    limit = np.minimum(COLLAPSED, _lengths(asked) / 2) if config.moment_role == "constraint" else COLLAPSED
    present = _lengths(found) >= np.where(wanted, limit, COLLAPSED)
    cosine = _cosines(asked, found)
    both = wanted & present
    compared = cosine[both]
    # In a tie the first site keeps its sign, so that a reversed result gives the same sites.
    best = min((1.0, -1.0), key=lambda sign: (int(np.sum(sign * compared < MIN_COSINE)), sign * compared[:1].sum() < 0))
    return {
        "flipped": sites[both & (best * cosine < 0)],
        "turned": sites[both & (best * cosine >= 0) & (best * cosine < MIN_COSINE)],
        "moment appeared": sites[~wanted & present],
        "collapsed": sites[wanted & ~present],
    }


def _cosines(a: FloatArray, b: FloatArray) -> FloatArray:
    """(N,) cosine of the angle between two sets of moments; 0 where one of them has no length."""
    dot = a * b if a.ndim == 1 else np.sum(a * b, axis=1)
    norm = _lengths(a) * _lengths(b)
    return np.divide(dot, norm, out=np.zeros_like(norm), where=norm > 0)


def _signs(moments: FloatArray, present: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """Signs along the first moment that is present, 0 where there is none; None for non-collinear moments."""
    first = int(np.flatnonzero(present)[0])
    cosine = np.where(present, _cosines(moments, np.broadcast_to(moments[first], moments.shape)), 0.0)
    if np.any(present & (np.abs(cosine) < MIN_COSINE)):
        return None
    return np.sign(cosine).astype(np.int64)


def _sites(indices: Iterable[int]) -> str:
    numbers = [str(int(i)) for i in indices]
    return f"{'site' if len(numbers) == 1 else 'sites'} {', '.join(numbers)}"
