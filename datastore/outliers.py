"""Group rules: faults that no label shows alone, found by comparing the labels of one parent.

A label is far where it departs from its group by more than a floor *and* by more than 8 robust standard deviations
(1.4826 MAD). Four comparisons:

*One energy surface*: forces and stress are derivatives of the free energy, so between two deformations a and b of one
parent in one ordering, with w the work at fixed forces and stress on the straight path from a to b,

    E_b - E_a = (w_a + w_b) / 2 + third order,    w = -sum F . du + V sigma : deps    (trapezoid rule).

Labels that agree so lie on one surface; the largest set that does is believed, or of equal sets the lowest in energy
(the ground state is the minimum, so a metastable +U state lies above). Finds metastable states, drifted energies,
forces that belong to another energy or to other sites, labels of another level of theory.

*Pressure against volume*: within one parent and ordering the hydrostatic stress falls on one line; finds wrong signs
and units of the stress.

*Range* (:func:`outlier_group`): energy per atom and largest force against the median; finds gross errors where the
surface rule has nothing to say. So do *pairs*: E(FM) - E(AFM) of one geometry against the other pairs of its kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datastore.schema import FloatArray, SpinPoint

PREFIX = "outlier"
"""First word of every reason found here; such reasons are found anew when the group has grown."""

OUTLIER_Z = 8.0
"""Robust standard deviations. The energies of the labels, deformed by one protocol, reach 7.5."""

OUTLIER_FLOOR = {"energy": 0.25, "force": 3.0}
"""eV/atom and eV/Angstrom. Smaller departures from the median are legitimate: the labels reach 0.09 and 1.6."""

OUTLIER_MEMBERS = 8
"""Fewer members give no usable median deviation."""

SURFACE_FLOOR = 0.004
"""eV/atom. Right labels use up this part of it, and of the share below: 0.4 for first-principles labels of NiO and MnO,
0.9 with Co, and 0.75 for the spin-lattice engine's of strained mixtures (medians; benchmarks/label_faults.py)."""

SURFACE_SHARE = 0.05
"""Share of the change in work between two labels that the third order of the energy may take on top."""

SURFACE_REACH = 1.0
"""Angstrom. Sites further apart are not displaced copies of one parent."""

REFERENCES = 32
"""Labels of a group that the others are compared with: work and memory stay linear in the size of the group."""

PRESSURE_FLOOR = 0.06
"""eV/Angstrom^3 (10 GPa): more than the line misses where the volume goes from 0.9 to 1.1."""

PAIR_FLOOR = 0.020
"""eV/atom. The pairs of NiO and MnO stay within 0.011 of their median."""

PAIR_MEMBERS = 4

Found = dict[str, list[str]]


@dataclass(frozen=True)
class _Label:
    """What the comparisons need of a point; gradients in internal coordinates, so that no frame matters."""

    point_id: str
    free_energy: float
    largest_force: float
    lattice: FloatArray
    fractional: FloatArray
    by_site: NDArray[np.float32]
    """(N, 3) -dE/d(fractional coordinates), eV."""
    by_strain: FloatArray
    """(3, 3) V sigma, eV; NaN where the label has no stress."""
    surface: tuple[object, ...] | None
    pair_id: str
    ordering: str

    @property
    def n(self) -> int:
        return len(self.fractional)

    @property
    def volume(self) -> float:
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def pressure(self) -> float:
        """A third of the trace of the stress, eV/Angstrom^3 (ASE sign)."""
        return float(np.trace(self.by_strain)) / 3 / self.volume


def outlier_group(point: SpinPoint) -> tuple[str, ...]:
    """What the range is compared within: formula, cell, ordering asked, role of the moments, level."""
    return (point.formula, point.cell, point.ordering, point.moment_role, point.level_id)


def outlier_family(group: Sequence[str]) -> dict[str, str]:
    """Criteria for all labels that are judged together with an :func:`outlier_group`: those of all its orderings."""
    names = ("formula", "cell", "ordering", "moment_role", "level_id")
    return {name: value for name, value in zip(names, group, strict=True) if name != "ordering"}


def find_outliers(points: Iterable[SpinPoint]) -> Found:
    """Points that disagree with the other labels of their kind, as point_id -> reasons; see the top of this module.

    Keeps about 2 kB per label of 64 atoms. The answer does not depend on the order of ``points``. Constraint data and
    vector moments take part in the range rule only: there the energy also depends on the moments that were held.
    """
    groups: defaultdict[tuple[str, ...], list[_Label]] = defaultdict(list)
    for point in points:
        groups[outlier_group(point)].append(_label(point))
    found: defaultdict[str, list[str]] = defaultdict(list)
    settled: set[str] = set()
    families: defaultdict[tuple[str, ...], list[_Label]] = defaultdict(list)
    for group, members in sorted(groups.items()):
        members.sort(key=lambda label: label.point_id)
        families[(*group[:2], *group[3:])] += members
        for surface in _surfaces(members):
            reasons, judged = _off_surface(surface)
            _collect(found, reasons)
            _collect(found, _off_pressure(surface))
            settled |= judged
        _collect(found, ((point_id, text) for point_id, text in _out_of_range(members) if point_id not in settled))
    for members in families.values():
        _collect(found, _odd_pairs(members, settled))
    return dict(found)


def above_surface(points: Iterable[SpinPoint]) -> dict[str, float]:
    """Labels that lie above the energy surface of the others of their parent: point_id -> eV/atom above it.

    By the rule of :func:`find_outliers`; labels within its tolerance are left out, and so are those that have no
    others to be compared with. Does not depend on the order of ``points``.
    """
    groups: defaultdict[tuple[str, ...], list[_Label]] = defaultdict(list)
    for point in points:
        groups[outlier_group(point)].append(_label(point))
    found = {}
    for members in groups.values():
        for surface in _surfaces(sorted(members, key=lambda label: label.point_id)):
            for label, gaps, energies in _compared(surface):
                if np.median(np.abs(gaps)) > 1 and np.median(energies) > 0:
                    found[label.point_id] = float(np.median(energies)) / label.n
    return found


def _label(point: SpinPoint) -> _Label:
    lattice = np.array(point.lattice)
    comparable = point.moment_role == "guess" and point.magmoms_in.ndim == 1
    signs = np.sign(np.where(np.abs(point.magmoms_in) < 0.01, 0.0, point.magmoms_in)) if comparable else None
    if signs is not None and (first := signs[np.flatnonzero(signs)[:1]]).size:
        signs = signs * first[0]
    return _Label(
        point_id=point.point_id,
        free_energy=point.free_energy,
        largest_force=float(np.linalg.norm(point.forces, axis=1).max()),
        lattice=lattice,
        fractional=np.asarray(np.linalg.solve(lattice.T, point.positions.T).T, dtype=np.float64),
        by_site=(point.forces @ lattice.T).astype(np.float32),
        by_strain=np.full((3, 3), np.nan) if point.stress is None else point.stress * abs(np.linalg.det(lattice)),
        surface=None if signs is None else (tuple(point.species), tuple(signs.tolist())),
        pair_id=point.pair_id,
        ordering=point.ordering,
    )


def _surfaces(members: list[_Label]) -> Iterator[list[_Label]]:
    """Labels with the same elements and signs in the same site order; those judged by the range rule only are none."""
    surfaces: defaultdict[tuple[object, ...], list[_Label]] = defaultdict(list)
    for label in members:
        if label.surface is not None:
            surfaces[label.surface].append(label)
    return iter(surfaces.values())


def _out_of_range(members: list[_Label]) -> Iterator[tuple[str, str]]:
    if len(members) < OUTLIER_MEMBERS:
        return
    for index, departure in _far([m.free_energy / m.n for m in members], OUTLIER_FLOOR["energy"]):
        yield members[index].point_id, f"{PREFIX}: {departure:+.3f} eV/atom from the median of its group"
    for index, departure in _far([m.largest_force for m in members], OUTLIER_FLOOR["force"]):
        if departure > 0:  # small forces are just a nearly ideal crystal
            yield members[index].point_id, f"{PREFIX}: largest force {departure:+.2f} eV/A above its group"


def _off_pressure(surface: list[_Label]) -> Iterator[tuple[str, str]]:
    """Departures from the robust line (Theil-Sen) of pressure against the logarithm of the volume."""
    members = [label for label in surface if np.isfinite(label.pressure)]
    if len(members) < OUTLIER_MEMBERS:
        return
    volumes = np.log([m.volume for m in members])
    pressures = np.array([m.pressure for m in members])
    a, b = np.triu_indices(min(len(members), REFERENCES), 1)
    apart = np.abs(volumes[b] - volumes[a]) > 1e-3
    slopes = (pressures[b] - pressures[a])[apart] / (volumes[b] - volumes[a])[apart]
    slope = float(np.median(slopes)) if len(slopes) else 0.0
    for index, departure in _far(list(pressures - slope * volumes), PRESSURE_FLOOR):
        text = f"{PREFIX}: hydrostatic stress {departure:+.3f} eV/A^3 from that of its group at this volume"
        yield members[index].point_id, text


def _compared(members: list[_Label]) -> Iterator[tuple[_Label, FloatArray, FloatArray]]:
    """Each label with its gaps (in tolerances) and energies (eV per cell) above the believed references."""
    if len(members) < 2:
        return
    references = _References(members[:REFERENCES])
    energies, tolerances = map(np.array, zip(*(references.steps_to(label) for label in members), strict=True))
    gaps = energies / tolerances
    believed = _believed(gaps[: len(references.labels)])
    for index, label in enumerate(members):
        others = [i for i in believed if i != index and np.isfinite(gaps[index, i])]
        if others:
            yield label, gaps[index, others], energies[index, others]


def _off_surface(members: list[_Label]) -> tuple[list[tuple[str, str]], set[str]]:
    """Reasons, and the labels that at least two others of the believed surface speak for."""
    reasons, settled = [], set()
    for label, gaps, energies in _compared(members):
        if np.median(np.abs(gaps)) > 1:
            above = float(np.median(energies)) / label.n
            text = f"{above:+.3f} eV/atom off the energies, forces and stresses of {len(gaps)} labels of its parent"
            reasons.append((label.point_id, f"{PREFIX}: {text}"))
        elif len(gaps) > 1:
            settled.add(label.point_id)
    return reasons, settled


def _believed(gaps: FloatArray) -> list[int]:
    """Members of the largest set of references that agree; of equal sets the one lowest in energy.

    ``gaps``: (n, n), how far the label of the row lies above the surface through that of the column, in tolerances. A
    set is what agrees with one reference, so that no chain of small steps links two surfaces.
    """
    agrees = np.abs(np.nan_to_num(gaps, nan=np.inf)) <= 1
    height = np.array([np.median(row[np.isfinite(row)]) for row in gaps])
    centre = max(range(len(gaps)), key=lambda i: (int(agrees[i].sum()), -round(float(height[i]), 6), -i))
    return [int(i) for i in np.flatnonzero(agrees[centre])]


class _References:
    """Labels of one kind, stacked, from which steps are taken."""

    def __init__(self, labels: list[_Label]):
        self.labels = labels
        self.lattice = np.array([label.lattice for label in labels])
        self.fractional = np.array([label.fractional for label in labels])
        self.by_site = np.array([label.by_site for label in labels])
        self.by_strain = np.array([label.by_strain for label in labels])
        self.energy = np.array([label.free_energy for label in labels])

    def steps_to(self, label: _Label) -> tuple[FloatArray, FloatArray]:
        """Energy of ``label`` above the trapezoid rule from each reference, and the tolerance for it: (R,) eV per cell.

        NaN where the two are no deformations of one parent, or the work of a strain is unknown for want of a stress.
        """
        moved = label.fractional - self.fractional
        moved -= np.round(moved)
        moved -= moved.mean(axis=1, keepdims=True)  # the choice of origin costs no energy
        reach = np.linalg.norm(moved @ label.lattice, axis=2).max(axis=1)
        stretched = label.lattice - self.lattice
        strained = np.abs(stretched).max(axis=(1, 2)) > 1e-9  # where the lattice is the same no stress is needed
        start, end = -np.sum(self.by_site * moved, axis=(1, 2)), -np.sum(label.by_site * moved, axis=(1, 2))
        by_stress = np.sum(self.by_strain * np.linalg.solve(self.lattice, stretched), axis=(1, 2))
        start += np.where(strained, by_stress, 0.0)
        by_stress = np.sum(label.by_strain * np.linalg.solve(label.lattice, stretched), axis=(1, 2))
        end += np.where(strained, by_stress, 0.0)
        energy = label.free_energy - self.energy - (start + end) / 2
        tolerance = SURFACE_FLOOR * label.n + SURFACE_SHARE * np.abs(end - start)
        return np.where(reach > SURFACE_REACH, np.nan, energy), tolerance


def _odd_pairs(members: list[_Label], settled: set[str]) -> Iterator[tuple[str, str]]:
    """The upper member of a pair whose difference of energies is far from the other pairs of the two orderings."""
    by_pair: defaultdict[str, dict[str, _Label]] = defaultdict(dict)
    for label in members:
        if label.pair_id and label.surface is not None:
            by_pair[label.pair_id][label.ordering] = label
    kinds: defaultdict[tuple[str, str], list[tuple[_Label, _Label]]] = defaultdict(list)
    for pair in by_pair.values():
        names = sorted(pair)
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                kinds[first, second].append((pair[first], pair[second]))
    for (first, second), pairs in kinds.items():
        differences = [(one.free_energy - two.free_energy) / one.n for one, two in pairs]
        for index, departure in _far(differences, PAIR_FLOOR) if len(pairs) >= PAIR_MEMBERS else []:
            # A wrong electronic state lies too high, never too low.
            suspect = pairs[index][0 if departure > 0 else 1]
            if suspect.point_id not in settled:
                text = f"{PREFIX}: E({first}) - E({second}) departs by {departure:+.3f} eV/atom from the other pairs"
                yield suspect.point_id, text


def _collect(found: defaultdict[str, list[str]], reasons: Iterable[tuple[str, str]]) -> None:
    for point_id, reason in reasons:
        found[point_id].append(reason)


def _far(values: Sequence[float], floor: float) -> list[tuple[int, float]]:
    departures = np.array(values) - np.median(values)
    limit = max(OUTLIER_Z * 1.4826 * float(np.median(np.abs(departures))), floor)
    return [(int(i), float(departures[i])) for i in np.flatnonzero(np.abs(departures) > limit)]
