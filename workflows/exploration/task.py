"""One source's turn in one generation: what it may use, its random numbers, and what of its work is on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastore.schema import SpinConfig, content_hash
from workflows.campaign import CampaignOptions
from workflows.finished import Finished
from workflows.progress import report

if TYPE_CHECKING:
    from spinmultinet.calculator import SpinMultiNetCalculator

Found = tuple[list[SpinConfig], dict[str, int]]
"""Candidates, and how many were dropped for which reason."""

FAILED = "failed"
"""Why a search ended early: numerical trouble. What it had found until then is kept."""

NUMERICAL = (ArithmeticError, ValueError, RuntimeError)
"""What numerical trouble raises, in numpy, scipy, ASE and the model."""

SEARCHING = 0.95
"""Share of the progress that is the search; the rest is the check of what it found."""


@dataclass
class Task:
    """What a source is given.

    ``members``: checkpoints of the committee ``model_id``. ``snapshot``: folder of its training set. ``known``:
    config_ids that have a label. ``folder`` is this task's own and holds unfinished work: a stopped search goes on from
    there.
    """

    options: CampaignOptions
    generation: int
    source: str
    members: list[str]
    model_id: str
    snapshot: str
    folder: Path
    known: frozenset[str] = frozenset()
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    """What the user should know of this search."""

    def seed(self, *branch: object) -> int:
        """A seed for ``branch``, from the campaign's seeds, the generation and the source; below 2^32."""
        root = [self.options.seed, self.options.structures.seed, self.generation, self.source]
        return int(content_hash([*root, *map(str, branch)], 8), 16)

    @cached_property
    def calculator(self) -> SpinMultiNetCalculator:
        """The committee, for moments of the campaign's role."""
        from spinmultinet.calculator import SpinMultiNetCalculator

        return SpinMultiNetCalculator(self.members, self.options.structures.moment_role)

    def run(self, parts: Mapping[str, Callable[[], Found]]) -> list[SpinConfig]:
        """Candidates of all ``parts`` (by name), one after the other; what each gave is on disk before the next."""
        finished = Finished(self.folder / "finished.jsonl", self.model_id)
        found: list[SpinConfig] = []
        for number, (name, part) in enumerate(parts.items()):
            report(SEARCHING * number / len(parts), f"{self.source}: {name}")
            if name not in finished:
                configs, dropped = part()
                finished.add(name, {"configs": [c.to_document() for c in configs], "dropped": dropped})
            found += [SpinConfig.from_document(document) for document in finished[name]["configs"]]
            self.dropped.update(finished[name]["dropped"])
        return found

    def provenance(self, **parameters: Any) -> dict[str, Any]:
        """``parameters`` of a candidate with the model that made it."""
        return {**parameters, "model_id": self.model_id}


def failure(error: Exception, started: bool) -> str:
    """FAILED, for a search that ``error`` ended. Raises ``error`` where the model refuses what a search starts from."""
    from spinmultinet.errors import SpinMultiNetError

    if isinstance(error, SpinMultiNetError) and not started:
        raise error
    return FAILED


def by_parent(configs: Iterable[SpinConfig]) -> dict[str, list[SpinConfig]]:
    """Configurations by the id of their parent, in their order."""
    groups: dict[str, list[SpinConfig]] = {}
    for config in configs:
        groups.setdefault(config.parent, []).append(config)
    return groups
