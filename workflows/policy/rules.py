"""Selection rules: each a small class behind one contract. Pure: a pool goes in, scores come out.

:func:`workflows.policy.batch.choose` takes the candidate with the highest score per price again and again, under the
rules of a batch; a rule says how much each candidate is still worth after those taken.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from workflows.learning import Task
from workflows.policy.pool import FloatArray, Pool

Need = Literal["spreads", "features", "gradients"]


class Scores(ABC):
    """What the candidates of one pool are worth, while a batch is taken from it."""

    @abstractmethod
    def values(self) -> FloatArray:
        """[n] worth of each candidate after those taken; at least 0, comparable within this call only."""

    @abstractmethod
    def take(self, index: int) -> None:
        """The candidate ``index`` is in the batch now."""

    @abstractmethod
    def reason(self, index: int) -> str:
        """Why ``index`` is worth what it is, in one line for people; asked before it is taken."""


class Rule(ABC):
    """A way to choose. ``needs``: what the pool must hold for it."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()

    @abstractmethod
    def begin(self, pool: Pool, rng: np.random.Generator) -> Scores:
        """Scores of ``pool``; ``rng`` is the only source of chance."""


class Spread(Rule):
    """The largest spread of the committee over ``tasks``, each in units of its median over all candidates.

    Query by committee; the units let no task decide by its size.
    """

    name = "spread"
    needs = frozenset({"spreads"})

    def __init__(self, tasks: Sequence[Task] = ("energy", "forces", "moments")):
        self.tasks = tuple(tasks)

    def begin(self, pool: Pool, rng: np.random.Generator) -> Scores:
        """Scores that do not change while a batch is taken."""
        return _Spreads(pool, self.tasks)


class _Spreads(Scores):
    def __init__(self, pool: Pool, tasks: tuple[Task, ...]):
        spreads = np.array([[getattr(c, task) for task in tasks] for c in pool.candidates]).reshape(-1, len(tasks))
        typical = np.maximum(np.median(spreads, axis=0), 1e-12) if len(spreads) else np.ones(len(tasks))
        self.relative = spreads / typical
        self.tasks = tasks

    def values(self) -> FloatArray:
        return np.max(self.relative, axis=1)

    def take(self, index: int) -> None:
        """Nothing: the committee knows of a label only when it is trained on it."""

    def reason(self, index: int) -> str:
        task = self.tasks[int(self.relative[index].argmax())]
        return f"spread of {task} is {self.relative[index].max():.1f} times the median candidate's"
