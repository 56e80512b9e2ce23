"""Rules that decide, as pure functions: which configurations to label next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
