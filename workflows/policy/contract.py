"""The contract of selection rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, Self

import numpy as np

from workflows.learning import RuleName, SelectOptions
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

    name: ClassVar[RuleName]
    needs: ClassVar[frozenset[Need]] = frozenset()

    @classmethod
    def of(cls, options: SelectOptions) -> Self:
        """The rule with what the campaign file says about it."""
        return cls()

    @abstractmethod
    def begin(self, pool: Pool, rng: np.random.Generator) -> Scores:
        """Scores of ``pool``; ``rng`` is the only source of chance. Raises PoolError where the pool lacks a need."""
