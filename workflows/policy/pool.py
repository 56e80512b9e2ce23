"""What selection knows: candidates, what a model says about each, and what is labelled already."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class PoolError(ValueError):
    """A pool that nothing can be chosen from; the message names what is missing or wrong, and the remedy."""


@dataclass(frozen=True)
class Candidate:
    """A configuration that could be labelled.

    ``source``: where it came from (deformations, relaxations, md, spin-moves, files). ``twin``: the same for
    configurations that symmetry or time reversal makes one, of which only one is ever taken; empty: it has none.
    ``state``: the same for spin states that count as one, as the many names of signs that a spin move gives may be one
    by symmetry (:func:`workflows.exploration.states.state_names`); empty: the ordering. ``price``: core seconds that
    its label is expected to cost. Spreads are standard deviations over the committee, 0 without one: ``energy`` in
    eV/atom, ``forces`` in eV/Angstrom (largest over atoms), ``moments`` in muB (largest over atoms).
    """

    config_id: str
    pair_id: str
    ordering: str
    deformation: str
    formula: str = ""
    source: str = "deformations"
    twin: str = ""
    state: str = ""
    price: float = 1.0
    energy: float = 0.0
    forces: float = 0.0
    moments: float = 0.0

    @property
    def spins(self) -> str:
        """What counts as its ordering."""
        return self.state or self.ordering


@dataclass(frozen=True)
class Pool:
    """Candidates [n], what a model says about them, and about the ``known`` labels [m] of its training set.

    ``features`` and ``gradients`` have one row per candidate, ``known_features`` and ``known_gradients`` one per label;
    None where no rule asked for them (see ``Rule.needs``). ``factors``: per task, what turns a spread into the expected
    error (:mod:`spinmultinet.calibration`); empty without a calibration. ``known_twins``: what the ``twin`` of labelled
    configurations is; candidates with one of these are never taken. ``known``: the labelled configurations.
    """

    candidates: list[Candidate]
    features: FloatArray | None = None
    gradients: FloatArray | None = None
    known_features: FloatArray | None = None
    known_gradients: FloatArray | None = None
    factors: dict[str, float] = field(default_factory=dict)
    known_twins: frozenset[str] = frozenset()
    known: tuple[Candidate, ...] = ()

    def __post_init__(self) -> None:
        """Raises PoolError where features do not fit the candidates or those of the known labels."""
        _check_rows("features", len(self), self.features, self.known_features)
        _check_rows("gradients", len(self), self.gradients, self.known_gradients)

    def __len__(self) -> int:
        return len(self.candidates)


@dataclass(frozen=True)
class Choice:
    """A selected candidate, its score when it was taken, and the reason for people."""

    candidate: Candidate
    score: float
    reason: str


def _check_rows(what: str, n: int, rows: FloatArray | None, known: FloatArray | None) -> None:
    if rows is not None and len(rows) != n:
        raise PoolError(f"{what} have {len(rows)} rows, but there are {n} candidates; give one row each")
    both = [one for one in (rows, known) if one is not None and len(one)]
    if len({one.shape[1] for one in both}) > 1:
        raise PoolError(f"{what} of candidates and of known labels have different columns; take them from one model")
    if not all(np.all(np.isfinite(one)) for one in both):
        raise PoolError(f"{what} are not finite: the model cannot predict a structure; drop it, or train again")
