"""Whether a new model takes the place of the one in use. Pure: errors and findings in, a decision with reasons out.

Errors of both models are compared on the same labels, geometry by geometry. A group may vote against the new model only
where its error grew by more than is allowed *and* by more than chance explains: by a paired t test over geometries
(labels of one geometry in several orderings are not independent), at a level that is divided by the number of groups
(Bonferroni), so that a model which is as good is rarely refused by accident, however many groups there are.

Predictions that are not finite, or are missing where the model in use has some, are infinite errors: they speak against
the new model whatever else it gained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import t as student

from workflows.learning import PromoteOptions

LEAST = {"energy": 0.01, "forces": 0.1, "moments": 1e-4}
"""Errors below count as this (meV/atom, meV/Angstrom, muB): forces that vanish by symmetry have errors of rounding."""


@dataclass(frozen=True)
class Compared:
    """Mean absolute errors of two models on the same labels: one task in one test set or group."""

    kind: Literal["test", "group"]
    name: str
    """Of a test set (``random``) or of a group (``ordering:AFM-II``)."""
    task: str
    unit: str
    labels: int
    geometries: int
    """Independent ones among the labels."""
    new: float
    """Infinite where a prediction is missing or not finite; so is ``old``."""
    old: float
    error: float
    """Standard error of ``new - old``, paired by geometry; 0 where there is one geometry only."""

    @property
    def finite(self) -> bool:
        """Whether both errors are numbers."""
        return math.isfinite(self.new) and math.isfinite(self.old)

    @property
    def growth(self) -> float:
        """Share by which the error grew; negative where it shrank. Infinite where the new one is not finite."""
        if not self.finite:
            return -1.0 if math.isfinite(self.new) else math.inf
        least = LEAST[self.task]
        return max(self.new, least) / max(self.old, least) - 1

    @property
    def chance(self) -> float:
        """Chance of such a growth, or a larger one, if both models were equally good (one-sided paired t test)."""
        if not self.finite:
            return 1.0 if math.isfinite(self.new) else 0.0
        if self.geometries < 2:
            return 1.0
        if self.error == 0:
            return 0.0 if self.new > self.old else 1.0
        return float(student.sf((self.new - self.old) / self.error, self.geometries - 1))

    def __str__(self) -> str:
        """One line: what was compared, both errors, growth, labels."""
        where = f"{self.task} on {'test set ' if self.kind == 'test' else ''}{self.name}"
        return f"{where}: {self.old:.4g} -> {self.new:.4g} {self.unit} ({self.growth:+.0%}, {self.labels} labels)"


@dataclass(frozen=True)
class Finding:
    """What one check of a model found."""

    name: str
    passed: bool
    text: str
    """One line with numbers."""


@dataclass(frozen=True)
class Judgement:
    """The decision, and lines for people."""

    against: list[str]
    """What speaks against the model; empty: it is promoted."""
    told: list[str]
    """What else was found."""

    @property
    def promote(self) -> bool:
        """Whether the model takes the place of the one in use."""
        return not self.against

    @property
    def reasons(self) -> list[str]:
        """All lines."""
        return [*self.against, *self.told]


def judge(compared: Sequence[Compared] | None, options: PromoteOptions, findings: Sequence[Finding]) -> Judgement:
    """Decide on a new model from errors beside those of the model in use and from the findings of its checks.

    ``compared`` None: there is nothing to compare with (the first model of a campaign), so the checks decide. Otherwise
    the geometric mean of the ratios of errors over test sets and tasks has to shrink by ``options.better``, and no test
    set or group may be worse by more than ``options.worse`` (see the top of the module).
    """
    failed = [f"check {finding.name} failed: {finding.text}" for finding in findings if not finding.passed]
    passed = [finding.name for finding in findings if finding.passed]
    against, told = ([], []) if compared is None else _comparison(compared, options)
    if passed:
        told = [*told, f"checks passed: {', '.join(passed)}"]
    return Judgement([*failed, *against], told)


def overall(compared: Sequence[Compared]) -> float | None:
    """Geometric mean of new over old error, over test sets and tasks; None where there are none.

    Infinite where a new one is not finite. Where only the old one is not, there is no ratio: the rest counts, and 0 is
    the answer where nothing is left.
    """
    tests = [row for row in compared if row.kind == "test"]
    if not tests:
        return None
    if not all(math.isfinite(row.new) for row in tests):
        return math.inf
    logs = [math.log1p(row.growth) for row in tests if row.finite]
    return math.exp(sum(logs) / len(logs)) if logs else 0.0


def worse(compared: Sequence[Compared], options: PromoteOptions) -> list[Compared]:
    """The test sets and groups with a say whose error grew by more than is allowed and than chance explains."""
    voting = [row for row in compared if row.labels >= options.least]
    return [row for row in voting if row.growth > options.worse and row.chance < options.chance / len(voting)]


def _comparison(compared: Sequence[Compared], options: PromoteOptions) -> tuple[list[str], list[str]]:
    """Lines that speak against the new model, and those that only tell."""
    ratio = overall(compared)
    if ratio is None:
        why = "no label of a test set that both models can predict and neither was trained on"
        return [f"{why}: nothing can be compared"], []
    broken = [f"{row.task} on {row.name}" for row in compared if not math.isfinite(row.new)]
    if broken:
        return [f"predictions are missing or not finite where there are labels: {', '.join(broken)}"], []
    tests = sum(row.kind == "test" for row in compared)
    line = f"errors changed by {ratio - 1:+.1%} in the geometric mean of {tests} test sets and tasks"
    not_better = not ratio <= 1 - options.better
    against = [f"{line}; they have to shrink by at least {options.better:.0%}"] if not_better else []
    bad = worse(compared, options)
    against += [
        f"{row}: more than {options.worse:.0%} is not allowed (chance of that by accident {row.chance:.1e})"
        for row in sorted(bad, key=lambda row: -row.growth)
    ]
    tolerated = sum(not row.growth <= options.worse for row in compared) - len(bad)
    told = [] if not_better else [line]
    if not bad:
        told.append(f"no group of {len(compared)} is worse by more than {options.worse:.0%} beyond chance")
    if tolerated:
        told.append(f"{tolerated} groups grew by more than that in too few labels to tell it from chance")
    return against, told
