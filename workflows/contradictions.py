"""What a campaign file asks for and would never get: found when it is loaded, before anything is calculated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from workflows.learning import ActiveLearningOptions, RuleName
from workflows.structures.options import StructureOptions

SOURCES = ("relaxations", "dynamics", "spin_moves", "decorations")
"""Sources of candidates with options of their own."""


def misread(content: dict[str, Any]) -> Iterator[str]:
    """Keys of a file that would be taken for something else than what was meant; ``content``: as it was read."""
    learning = content.get("active_learning")
    explore = learning.get("explore") if isinstance(learning, dict) else None
    if not isinstance(explore, dict):
        return  # mistakes in the form are for the parser
    for name in SOURCES:
        if name in explore and explore[name] is None:
            yield f"active_learning.explore.{name} is empty; write {name}: {{}} for the defaults, or remove it"
    if "content" in explore:
        yield "active_learning.explore.content is filled in from files; remove it and name your structures in files"


def contradictions(learning: ActiveLearningOptions, structures: StructureOptions, committee: int) -> Iterator[str]:
    """What the rounds of a campaign could not do, one line each with the remedy; nothing where it has no rounds.

    ``committee``: number of members.
    """
    if learning.rounds == 0:
        return
    if committee == 1:
        yield from _without_spread(learning.select.rule)
    explore = learning.explore
    if explore.decorations is not None and not has_mixed_parents(structures):
        yield (
            "active_learning.explore.decorations needs a parent of mixed cations, such as species: {Mn: 0.5, Ni: 0.5}, "
            "and there is none; add one to structures.parents or remove decorations"
        )
    stop = learning.stop
    if stop.min_gain is not None and stop.patience >= learning.rounds:
        yield (
            f"active_learning.stop.min_gain looks back patience: {stop.patience} rounds, and can end none of "
            f"{learning.rounds}; lower patience, raise rounds, or remove min_gain"
        )


def without_candidates(learning: ActiveLearningOptions, structures: StructureOptions) -> Iterator[str]:
    """A line where rounds are asked for and no source could find a candidate for them; asked before a run only."""
    explore = learning.explore
    asked = explore.files or any(getattr(explore, name) is not None for name in SOURCES)
    if learning.rounds and not asked and all(deformation.kind == "none" for deformation in structures.deformations):
        yield (
            "active_learning.rounds have no candidates, as all of structures.deformations are none; add displacement, "
            "shear, tensile or volume, or a source under active_learning.explore, or set rounds: 0"
        )


def has_mixed_parents(structures: StructureOptions) -> bool:
    """Whether a parent has cations that can be placed in another way."""
    return any(isinstance(parent.species, dict) and len(parent.species) > 1 for parent in structures.parents)


def _without_spread(rule: RuleName) -> Iterator[str]:
    from workflows.policy.rules import RULES

    if "spreads" in RULES[rule].needs:
        free = ", ".join(sorted(name for name, known in RULES.items() if "spreads" not in known.needs))
        yield (
            f"active_learning.select.rule {rule} needs the spread of a committee, and committee: 1 has none; set "
            f"committee: 3, or another rule ({free})"
        )
