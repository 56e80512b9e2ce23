"""Rules that decide, as pure functions: which configurations to label next, and which to start again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Sign = Literal["committee", "neighbours", "spin-state", "always"]
"""What may speak for another, lower state of a label."""


@dataclass(frozen=True)
class Candidate:
    """A configuration that could be labelled, and how unsure the committee is about it.

    Spreads are standard deviations over the committee: ``energy`` in eV/atom, ``forces`` in eV/Angstrom (largest over
    atoms), ``moments`` in muB (largest over atoms).
    """

    config_id: str
    pair_id: str
    ordering: str
    deformation: str
    energy: float
    forces: float
    moments: float


@dataclass(frozen=True)
class Choice:
    """A selected candidate, its score and the reason for people."""

    candidate: Candidate
    score: float
    reason: str


def select(candidates: Sequence[Candidate], count: int) -> list[Choice]:
    """The ``count`` candidates the committee is least sure of, spread over orderings and deformations.

    The score is the largest of the three spreads, each in units of its median over all candidates, so that no task
    decides by its unit. Taken greedily by score; one geometry is taken once, and no (ordering, deformation) group
    gives more than its share plus one as long as others can still give.
    """
    scored = sorted(_score(candidates), key=lambda choice: (-choice.score, choice.candidate.config_id))
    groups = {_group(choice.candidate) for choice in scored}
    limit = math.ceil(count / max(1, len(groups))) + 1
    chosen: list[Choice] = []
    for most_per_group, geometry_once in ((limit, True), (count, True), (count, False)):
        taken = Counter(_group(choice.candidate) for choice in chosen)
        pairs = {choice.candidate.pair_id for choice in chosen}
        for choice in scored:
            candidate = choice.candidate
            fresh = candidate.pair_id not in pairs if geometry_once else choice not in chosen
            if len(chosen) < count and fresh and taken[_group(candidate)] < most_per_group:
                chosen.append(choice)
                taken[_group(candidate)] += 1
                pairs.add(candidate.pair_id)
    return chosen


@dataclass(frozen=True)
class Evidence:
    """What is known about the state that a label ended in. Energies in eV/atom; None where nothing can be said."""

    point_id: str
    above_committee: float | None = None
    """Free energy of the label minus that which a committee predicts that has not seen it."""
    spread: float | None = None
    """Of that prediction, a standard deviation over the committee."""
    above_surface: float | None = None
    """Height above the energy surface of its neighbours; None on it (:func:`datastore.outliers.above_surface`)."""
    spin_state: str = ""
    """Which sites are in another spin state than expected; empty where none is."""


@dataclass(frozen=True)
class Suspect:
    """A label that looks metastable."""

    point_id: str
    height: float
    """eV/atom that it may be too high: the largest that was found, 0 where no number speaks."""
    reason: str


def suspects(
    labels: Sequence[Evidence], when: Collection[Sign], energy: float, spreads: float, limit: int | None = None
) -> list[Suspect]:
    """The labels to start again, the highest first, at most ``limit``; ``when`` says which signs count.

    *committee*: the label lies above the prediction by more than ``energy`` (eV/atom) and ``spreads`` of it;
    *neighbours*: above the surface of its neighbours, out of the tolerance of that rule, and by more than ``energy``;
    *spin-state*: a site ended in another spin state; *always*: every label. The order of ``labels`` does not matter.
    """
    found = []
    for label in labels:
        signs = list(_signs(label, when, energy, spreads))
        if signs:
            height = max(height for height, _ in signs)
            found.append(Suspect(label.point_id, height, "; ".join(reason for _, reason in signs)))
    return sorted(found, key=lambda suspect: (-suspect.height, suspect.point_id))[:limit]


def _signs(label: Evidence, when: Collection[Sign], energy: float, spreads: float) -> Iterator[tuple[float, str]]:
    """Height and reason of each sign that a label shows."""
    above, spread, surface = label.above_committee, label.spread or 0.0, label.above_surface
    if "committee" in when and above is not None and above > max(energy, spreads * spread):
        yield above, f"{1e3 * above:.1f} meV/atom above the committee, whose spread is {1e3 * spread:.1f}"
    if "neighbours" in when and surface is not None and surface > energy:
        yield surface, f"{1e3 * surface:.1f} meV/atom above the surface of its neighbours"
    if "spin-state" in when and label.spin_state:
        yield 0.0, label.spin_state
    if "always" in when:
        yield 0.0, "every label"


def _group(candidate: Candidate) -> tuple[str, str]:
    return candidate.ordering, candidate.deformation


def _score(candidates: Sequence[Candidate]) -> list[Choice]:
    tasks = ("energy", "forces", "moments")
    if not candidates:
        return []
    spreads = np.array([[getattr(candidate, task) for task in tasks] for candidate in candidates])
    typical = np.maximum(np.median(spreads, axis=0), 1e-12)
    relative = spreads / typical
    worst = relative.argmax(axis=1)
    return [
        Choice(candidate, float(row[k]), f"spread of {tasks[k]} is {row[k]:.1f} times the median candidate's")
        for candidate, row, k in zip(candidates, relative, worst, strict=True)
    ]
