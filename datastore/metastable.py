"""Labels of one state that was started several times: the lowest is kept, the others are tagged with their excitation.

With +U the self-consistent cycle has several solutions for one geometry and one order of the signs (another t2g orbital
holds the hole, another spin state), and which one it ends in depends on the start. They are found by comparison of
labels with the same :func:`state_key`. Pure functions; :mod:`datastore.ingest` applies them to a store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datastore.errors import DataError
from datastore.outliers import PREFIX as OUTLIER
from datastore.quality import ASKED, other_spin_state, with_verdict
from datastore.schema import FloatArray, SpinConfig, SpinPoint, content_hash
from datastore.upgrade import LOOK, checked
from datastore.verdicts import automatic_reasons

METASTABLE = "metastable"
REPEAT = "repeat"
PREFIXES = (METASTABLE, REPEAT)
"""First words of the reasons found here; such reasons are found anew when further labels come."""

SAME_ENERGY = 0.0005
"""eV/atom. Two results of one state differ by less."""

SAME_MOMENTS = 0.02
"""muB per site. The same for converged moments, modulo one reversal of all of them."""

KEY_FIELDS = ("point_id", "species", "lattice", "positions", "magmoms_in")
"""What :func:`key_of_document` reads."""

DIGITS = 5
"""Of lattice (Angstrom), fractional coordinates and directions of moments: written and read again they stay equal."""


@dataclass(frozen=True)
class Finding:
    """What the comparison says of one label that is not the ground label."""

    reason: str
    ground: str
    """point_id of the label that is kept."""
    excitation: float | None
    """eV/atom above it; None for a repeat of the same state."""


def state_key(config: SpinConfig) -> str:
    """What labels must share to be compared: sites, geometry and signs (directions) of the input moments.

    Sites in order; positions modulo lattice vectors, rounded; moments modulo one reversal of all, whatever their
    magnitudes, without those below 0.01 muB. Level of theory, cell and role of the moments are the caller's business.
    """
    return _key(config.species, config.lattice, config.positions, config.magmoms_in)


def key_of_document(document: Mapping[str, Any]) -> str:
    """:func:`state_key` of a stored label of which only KEY_FIELDS were read. Raises DataError where it is damaged."""
    checked(dict(document), point_id=str, species=list)
    try:
        return _key(document["species"], *(np.array(document[name], dtype=np.float64) for name in KEY_FIELDS[2:]))
    except (KeyError, ValueError, TypeError, IndexError, np.linalg.LinAlgError) as error:
        raise DataError(f"document {document['point_id']} is damaged: {error}; {LOOK}") from error


def _key(species: Sequence[str], lattice: FloatArray, positions: FloatArray, moments: FloatArray) -> str:
    fractional = np.linalg.solve(lattice.T, positions.T).T
    lengths = np.linalg.norm(moments.reshape(len(moments), -1), axis=1)
    present = np.where(lengths < ASKED, np.inf, lengths)
    directions = (moments.reshape(len(moments), -1) / present[:, None]).round(DIGITS) + 0.0
    first = directions.ravel()[np.flatnonzero(directions)[:1]]
    if first.size and first[0] < 0:
        directions = 0.0 - directions
    geometry = [lattice.round(DIGITS) + 0.0, (fractional % 1.0).round(DIGITS) % 1.0, directions]
    return content_hash([list(species), *(array.tolist() for array in geometry)])


def is_comparable(point: SpinPoint) -> bool:
    """Whether a label takes part: free moments, not rejected by hand, and at most its spin state is objected to.

    A flipped label ended in another ordering; what was salvaged from it takes part there.
    """
    by_hand = bool(point.decision) and point.verdict == "rejected"
    return point.moment_role == "guess" and not by_hand and set(_of_rules(point)) <= {other_spin_state(point)}


def find_metastable(points: Iterable[SpinPoint]) -> dict[str, Finding]:
    """The labels beside which a better one of the same state is kept, as point_id -> finding.

    ``points``: labels of one cell, role and level of theory; those that are not :func:`is_comparable` are passed over.
    The ground label is the lowest in free energy of those that no rule rejects (or that were accepted by hand). Labels
    within SAME_ENERGY of it that agree in moments are repeats, of which the usual guess is kept. All others are
    metastable; a label in another spin state may lie below the ground label. The order of ``points`` does not matter.
    """
    groups: defaultdict[tuple[object, ...], list[SpinPoint]] = defaultdict(list)
    for point in points:
        if is_comparable(point):
            # Another k mesh shifts energies by more than many states are apart.
            groups[state_key(point), *(point.kpoints or ())].append(point)
    return {name: finding for group in groups.values() for name, finding in _judged(group).items()}


def tagged(point: SpinPoint, finding: Finding | None) -> SpinPoint:
    """The label with the finding as reason for rejection, or without any where there is none. Pure and idempotent.

    A label that is found to be metastable was compared with others of its parent in vain: reasons of outliers go.
    Manual decisions are for :meth:`~datastore.stores.SpinStore.put_point`.
    """
    reasons = [r for r in automatic_reasons(point) if not r.startswith(PREFIXES)]
    fields: dict[str, object] = {"excitation": None, "ground": ""}
    if finding is not None:
        reasons = [*(r for r in reasons if not r.startswith(OUTLIER)), finding.reason]
        fields = {"excitation": finding.excitation, "ground": finding.ground}
    return with_verdict(point, reasons).model_copy(update=fields)


def is_tagged(point: SpinPoint, finding: Finding | None) -> bool:
    """Whether the label says what was found; ``tagged`` would change nothing then."""
    wanted = (None, "") if finding is None else (finding.excitation, finding.ground)
    told = [reason for reason in automatic_reasons(point) if reason.startswith(PREFIXES)]
    return (point.excitation, point.ground) == wanted and told == ([] if finding is None else [finding.reason])


def _judged(group: list[SpinPoint]) -> dict[str, Finding]:
    """Findings among labels of one state."""
    able = sorted((p for p in group if p.overruled or not _of_rules(p)), key=lambda p: (p.free_energy, _preference(p)))
    if not able or len(group) < 2:
        return {}
    lowest = {p.point_id for p in able if _same_state(p, able[0])}
    ground = min((p for p in able if p.point_id in lowest), key=_preference)
    return {p.point_id: _finding(p, ground, p.point_id in lowest) for p in group if p is not ground}


def _preference(point: SpinPoint) -> tuple[object, ...]:
    """Of equal results the one of the usual guess is kept, and rather a real label than a salvaged one.

    Reversed moments come last, so that they decide nothing else.
    """
    lengths = np.abs(point.magmoms_in).tolist()
    return bool(point.start), bool(point.salvaged_from), point.occupations, lengths, point.point_id


def _finding(point: SpinPoint, ground: SpinPoint, repeat: bool) -> Finding:
    name, how, above = ground.point_id, _started(point, ground), _above(point, ground)
    if repeat:
        return Finding(f"{REPEAT}: the same state as label {name}, {how}", name, None)
    where = "above" if above >= 0 else "below"
    return Finding(f"{METASTABLE}: {1e3 * abs(above):.1f} meV/atom {where} label {name}, {how}", name, above)


def _started(point: SpinPoint, ground: SpinPoint) -> str:
    if point.occupations != ground.occupations:
        return "started from other occupations"
    equal = _departure(point.magmoms_in, ground.magmoms_in) < ASKED
    return "started from the same moments" if equal else "started from other moments"


def _above(point: SpinPoint, ground: SpinPoint) -> float:
    """eV/atom of free energy."""
    return (point.free_energy - ground.free_energy) / len(point.species)


def _same_state(a: SpinPoint, b: SpinPoint) -> bool:
    return abs(_above(a, b)) <= SAME_ENERGY and _departure(a.magmoms_out, b.magmoms_out) <= SAME_MOMENTS


def _departure(a: FloatArray, b: FloatArray) -> float:
    """Largest difference of a site's moments, muB, modulo one reversal of all."""
    return min(float(np.linalg.norm((a - s * b).reshape(len(a), -1), axis=1).max()) for s in (1.0, -1.0))


def _of_rules(point: SpinPoint) -> list[str]:
    """Reasons of the rules on the label alone."""
    return [r for r in automatic_reasons(point) if not r.startswith((*PREFIXES, OUTLIER))]
