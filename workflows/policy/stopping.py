"""When active learning has done enough: a pure rule on the errors, labels and costs of the rounds so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workflows.learning import StopOptions

UNITS = {"energy": "meV/atom", "forces": "meV/Angstrom", "moments": "muB"}
Errors = Mapping[str, Mapping[str, float]]
"""Test set -> task -> mean absolute error in UNITS; infinite, so above any target, where a prediction is no number."""


@dataclass(frozen=True)
class Round:
    """One round as the rule sees it. ``errors``: of the model in use after it, on the frozen tests; none without one.

    ``labels``: calculations asked for so far, those without a label included. ``core_hours``: what they cost.
    """

    generation: int
    labels: int
    core_hours: float = 0.0
    errors: Errors = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """What bounds the campaign besides ``stop``: most rounds, and labels that the next one would ask for."""

    rounds: int
    labels: int


def decide(history: Sequence[Round], stop: StopOptions, limits: Limits) -> tuple[bool, str]:
    """Whether to stop after the last of ``history`` (oldest first, at least one), and why in one line with numbers.

    Looked at in this order: targets, budget of labels, budget of core hours, gain per label, number of rounds.
    """
    now = history[-1]
    met, targets = _targets(now.errors, stop)
    if met:
        return True, f"all targets are met: {targets}"
    if stop.labels is not None and now.labels + limits.labels > stop.labels:
        return True, f"{limits.labels} more labels than the {now.labels} so far would pass the budget of {stop.labels}"
    if stop.core_hours is not None and now.core_hours >= stop.core_hours:
        return True, f"the labels have cost {now.core_hours:.3g} core hours, the budget is {stop.core_hours:g}"
    gain = _gain(history, stop)
    if gain is not None and stop.min_gain is not None and gain < stop.min_gain:
        return True, (
            f"a new label lowered the errors by {100 * gain:.2g} % over the last {_rounds(stop.patience)}, less than "
            f"{100 * stop.min_gain:.2g} %"
        )
    if now.generation >= limits.rounds:
        return True, f"no round is left of at most {limits.rounds}" + (f"; not met: {targets}" if targets else "")
    told = [f"not met: {targets}"] if targets else []
    told += [] if gain is None else [f"a new label lowered the errors by {100 * gain:.2g} %"]
    return False, "; ".join([f"round {now.generation + 1} of at most {limits.rounds} follows", *told])


def _rounds(number: int) -> str:
    return "round" if number == 1 else f"{number} rounds"


def _targets(errors: Errors, stop: StopOptions) -> tuple[bool, str]:
    """Whether there are targets and all are met; those that are met, else those that are not, in words."""
    rows = [
        (test, task, errors.get(test, {}).get(task), limit)
        for test, wanted in stop.targets.items()
        for task in UNITS
        if (limit := getattr(wanted, task)) is not None
    ]
    missed = [row for row in rows if row[2] is None or not row[2] <= row[3]]
    told = "; ".join(_told(*row, "no labels" if errors else "not known") for row in missed or rows)
    return bool(rows) and not missed, told


def _told(test: str, task: str, error: float | None, limit: float, missing: str) -> str:
    found = missing if error is None else f"{error:.3g}"
    return f"{task} on {test} {found}, target {limit:g} {UNITS[task]}"


def _gain(history: Sequence[Round], stop: StopOptions) -> float | None:
    """Share of the errors that one label took off over the last ``patience`` rounds; None where it cannot be said.

    Errors of different tasks and test sets count alike: the geometric mean of their ratios. Where targets are set,
    only errors that have one count.
    """
    if stop.min_gain is None or len(history) <= stop.patience:
        return None
    before, now = history[-1 - stop.patience], history[-1]
    ratios = [
        now.errors[test][task] / error
        for test, tasks in before.errors.items()
        for task, error in tasks.items()
        if 0 < error < math.inf and 0 < now.errors.get(test, {}).get(task, 0.0) < math.inf and _counts(test, task, stop)
    ]
    if not ratios:
        return None
    share = 1 - math.exp(sum(map(math.log, ratios)) / len(ratios))
    return share / max(1, now.labels - before.labels)


def _counts(test: str, task: str, stop: StopOptions) -> bool:
    targets = {name: wanted for name, wanted in stop.targets.items() if any(wanted.model_dump().values())}
    return not targets or any(name == test and getattr(wanted, task, None) for name, wanted in targets.items())
