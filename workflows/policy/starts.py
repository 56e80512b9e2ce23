"""Which labels to start again from other moments: a pure rule."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Sign = Literal["committee", "neighbours", "spin-state", "always"]
"""What may speak for another, lower state of a label."""


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
