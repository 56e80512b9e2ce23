"""Two levels of theory on the same configurations: what changes in energies, pair differences, forces and moments.

Total energies of two levels differ by a large constant per atom of each element, which says nothing. What is compared
are energies *relative to the other configurations of the same composition*: from E_B - E_A per atom, its mean over the
configurations of the composition (one constant per reduced formula) is taken away first. Differences between orderings
of one geometry, E(FM) - E(AFM), need no such constant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from datastore.batches import in_batches
from datastore.errors import DataError
from datastore.queries import Level
from datastore.schema import FloatArray, SpinPoint, point_id
from datastore.stores import SpinStore, explained
from datastore.upgrade import parse

CHUNK = 200
REFERENCE = "FM"
"""Ordering that pair differences are taken from: E(FM) - E(other)."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Deviation(_Row):
    """How level B departs from level A on a group of configurations that both accepted."""

    formula: str
    ordering: str
    deformation: str
    count: int
    energy_mean: float = Field(description="eV/atom, of E_B - E_A without the constant of the composition")
    energy_rms: float = Field(description="eV/atom, the same, root mean square")
    forces_rms: float = Field(description="eV/Angstrom, per component")
    stress_rms: float | None = Field(description="eV/Angstrom^3, per component; None without stress")


class PairDeviation(_Row):
    """Energy differences E(FM) - E(ordering) of one geometry at both levels, eV/atom."""

    formula: str
    ordering: str
    count: int
    mean_a: float
    mean_b: float
    mean: float = Field(description="of B minus A")
    rms: float = Field(description="of B minus A")


class MomentDeviation(_Row):
    """Converged moments of one element at both levels, muB, modulo one reversal of all moments of a cell."""

    element: str
    sites: int
    mean_a: float = Field(description="of the magnitudes")
    mean_b: float = Field(description="of the magnitudes")
    rms: float = Field(description="of the signed difference; of magnitudes for vector moments")


class Changed(_Row):
    """A configuration that ended in another ordering, or under another verdict, at the other level."""

    config_id: str
    formula: str
    ordering: str
    deformation: str
    found_a: str
    found_b: str
    reasons_a: list[str]
    reasons_b: list[str]


class Comparison(_Row):
    """Level B against level A."""

    level_a: str
    level_b: str
    name_a: str
    name_b: str
    common: int = Field(description="configurations labelled at both levels")
    accepted: int = Field(description="those accepted at both; everything but 'changed' is about them")
    constants: dict[str, float] = Field(description="formula -> mean of E_B - E_A, eV/atom, which was taken away")
    groups: list[Deviation]
    pairs: list[PairDeviation]
    moments: list[MomentDeviation]
    changed: list[Changed]


@dataclass(frozen=True)
class Parity:
    """Values at both levels, for a plot."""

    pairs: dict[str, FloatArray]
    """Ordering -> (n, 2) E(FM) - E(ordering) in eV/atom at A and B."""
    forces: FloatArray
    """(n, 2) components in eV/Angstrom at A and B."""


@dataclass(frozen=True)
class _Common:
    """Two labels of one configuration, reduced to what is compared."""

    key: tuple[str, str, str]
    pair_id: str
    energies: tuple[float, float]
    forces: FloatArray
    stress: FloatArray | None
    moments: dict[str, FloatArray]

    @property
    def shift(self) -> float:
        """E_B - E_A in eV/atom."""
        return self.energies[1] - self.energies[0]


def compare_levels(stores: tuple[SpinStore, SpinStore], levels: tuple[Level, Level]) -> tuple[Comparison, Parity]:
    """Compare the labels of ``levels[0]`` in ``stores[0]`` with those of ``levels[1]`` in ``stores[1]``.

    Raises DataError where no configuration has a label of both.
    """
    common: list[_Common] = []
    changed: list[Changed] = []
    number = 0
    for a, b in _both(stores, levels):
        number += 1
        if a.verdict == b.verdict == "accepted":
            common.append(_reduced(a, b))
        if (a.ordering_found, a.verdict) != (b.ordering_found, b.verdict):
            changed.append(_changed(a, b))
    if number == 0:
        raise DataError(
            f"no configuration is labelled at both {levels[0].name} and {levels[1].name}; "
            "make such labels with 'spinmultinet run CAMPAIGN --relabel PLACE'"
        )
    constants = _constants(common)
    pairs = _pair_energies(common)
    comparison = Comparison(
        level_a=levels[0].level_id,
        level_b=levels[1].level_id,
        name_a=levels[0].name,
        name_b=levels[1].name,
        common=number,
        accepted=len(common),
        constants=constants,
        groups=_groups(common, constants),
        pairs=[_pair_row(*key, values) for key, values in sorted(pairs.items())],
        moments=_moments(common),
        changed=changed,
    )
    by_ordering: defaultdict[str, list[FloatArray]] = defaultdict(list)
    for (_, ordering), values in sorted(pairs.items()):
        by_ordering[ordering].append(values)
    return comparison, Parity({o: _joined(v) for o, v in by_ordering.items()}, _joined([c.forces for c in common]))


def _both(stores: tuple[SpinStore, SpinStore], levels: tuple[Level, Level]) -> Iterator[tuple[SpinPoint, SpinPoint]]:
    """Labels of both levels for every configuration that has them; memory does not grow."""
    first, second = stores
    with explained(first.uri):
        found = (parse(SpinPoint, d) for d in first.points.query({"level_id": levels[0].level_id}))
        for chunk in in_batches(found, CHUNK):
            ids = [point_id(point.config_id, levels[1].level_id) for point in chunk]
            others = {d["config_id"]: d for d in second.points.query({"point_id": {"$in": ids}})}
            for point in chunk:
                if point.config_id in others:
                    yield point, parse(SpinPoint, others[point.config_id])


def _reduced(a: SpinPoint, b: SpinPoint) -> _Common:
    n = len(a.species)
    stress = None if a.stress is None or b.stress is None else np.stack([a.stress.ravel(), b.stress.ravel()], axis=1)
    found_a, found_b = a.magmoms_out, b.magmoms_out
    if found_a.ndim == 2:
        found_a, found_b = np.linalg.norm(found_a, axis=1), np.linalg.norm(found_b, axis=1)
    elif found_a @ found_b < 0:
        found_b = -found_b
    species = np.array(a.species)
    both = np.stack([found_a, found_b], axis=1)
    return _Common(
        key=(a.formula, a.ordering, a.deformation),
        pair_id=a.pair_id,
        energies=(a.energy / n, b.energy / n),
        forces=np.stack([a.forces.ravel(), b.forces.ravel()], axis=1),
        stress=stress,
        moments={element: both[species == element] for element in sorted(set(a.species))},
    )


def _changed(a: SpinPoint, b: SpinPoint) -> Changed:
    return Changed(
        config_id=a.config_id,
        formula=a.formula,
        ordering=a.ordering,
        deformation=a.deformation,
        found_a=a.ordering_found,
        found_b=b.ordering_found,
        reasons_a=a.verdict_reasons,
        reasons_b=b.verdict_reasons,
    )


def _constants(common: list[_Common]) -> dict[str, float]:
    """formula -> mean of E_B - E_A, eV/atom."""
    shifts: defaultdict[str, list[float]] = defaultdict(list)
    for one in common:
        shifts[one.key[0]].append(one.shift)
    return {formula: float(np.mean(values)) for formula, values in sorted(shifts.items())}


def _groups(common: list[_Common], constants: dict[str, float]) -> list[Deviation]:
    members: defaultdict[tuple[str, str, str], list[_Common]] = defaultdict(list)
    for one in common:
        members[one.key].append(one)
    rows = []
    for (formula, ordering, deformation), group in sorted(members.items()):
        energies = np.array([one.shift - constants[formula] for one in group])
        stress = [one.stress for one in group if one.stress is not None]
        rows.append(
            Deviation(
                formula=formula,
                ordering=ordering,
                deformation=deformation,
                count=len(group),
                energy_mean=float(energies.mean()),
                energy_rms=_rms(energies),
                forces_rms=_rms(_difference(_joined([one.forces for one in group]))),
                stress_rms=_rms(_difference(_joined(stress))) if stress else None,
            )
        )
    return rows


def _pair_energies(common: list[_Common]) -> dict[tuple[str, str], FloatArray]:
    """(formula, ordering) -> (n, 2) E(FM) - E(ordering) of one geometry, eV/atom, at A and B."""
    reference = {one.pair_id: one for one in common if one.pair_id and one.key[1] == REFERENCE}
    found: defaultdict[tuple[str, str], list[FloatArray]] = defaultdict(list)
    for one in common:
        ferro = reference.get(one.pair_id)
        if ferro is not None and one.key[1] != REFERENCE:
            found[one.key[0], one.key[1]].append(np.array([ferro.energies]) - np.array([one.energies]))
    return {key: _joined(values) for key, values in found.items()}


def _pair_row(formula: str, ordering: str, values: FloatArray) -> PairDeviation:
    a, b = values.mean(axis=0).tolist()
    return PairDeviation(
        formula=formula,
        ordering=ordering,
        count=len(values),
        mean_a=a,
        mean_b=b,
        mean=b - a,
        rms=_rms(_difference(values)),
    )


def _moments(common: list[_Common]) -> list[MomentDeviation]:
    found: defaultdict[str, list[FloatArray]] = defaultdict(list)
    for one in common:
        for element, values in one.moments.items():
            found[element].append(values)
    rows = []
    for element, parts in sorted(found.items()):
        values = _joined(parts)
        a, b = np.abs(values).mean(axis=0).tolist()
        rows.append(
            MomentDeviation(element=element, sites=len(values), mean_a=a, mean_b=b, rms=_rms(_difference(values)))
        )
    return rows


def _joined(parts: list[FloatArray]) -> FloatArray:
    return np.concatenate(parts) if parts else np.zeros((0, 2))


def _difference(values: FloatArray) -> FloatArray:
    return values[:, 1] - values[:, 0]


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2)))
