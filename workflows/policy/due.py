"""When a campaign's model is to be trained again. Pure: what is known in, reasons out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from workflows.learning import RetrainOptions


@dataclass(frozen=True)
class RetrainState:
    """What the decision depends on."""

    unseen: int = 0
    """Accepted labels that neither the model in use has seen nor a retraining that came to a decision since."""
    drift: Mapping[str, float] | None = None
    """Task -> error of the model in use on these labels, over that on the random test set; None: not calculated."""
    retracted: int = 0
    """Labels of the training set of the model in use that were rejected or replaced since, and that no retraining has
    come to a decision without."""
    age_days: float = 0.0
    """Of the model in use."""
    flags: Sequence[str] = ()
    """Reasons of the flags that nobody has answered with a retraining."""
    interrupted: str = ""
    """When a retraining began that came to no end; empty where none."""
    failed_hours: float | None = None
    """Since the last retraining failed; None where it did not, or where a flag was set later."""


def due(state: RetrainState, options: RetrainOptions) -> list[str]:
    """Why to train again now; empty where there is no reason.

    An interrupted retraining is finished first. After one that failed, nothing is due for ``retry_hours``. A flag is a
    reason by itself, and so are labels that are withdrawn from under the model; number, drift and age count only where
    there are labels that nobody has trained on. A drift that is not finite is above every bound.
    """
    if state.interrupted:
        return [f"the retraining that began at {state.interrupted} was interrupted"]
    if is_waiting(state, options):
        return []
    reasons = [f"flagged: {reason}" for reason in state.flags]
    if state.retracted:
        reasons.append(f"{state.retracted} labels that the model in use was made with were rejected or replaced")
    if not state.unseen:
        return reasons
    if options.new_points is not None and state.unseen >= options.new_points:
        reasons.append(f"{state.unseen} new labels (at least {options.new_points})")
    if options.drift is not None and state.drift and state.unseen >= options.least:
        task, drift = max(state.drift.items(), key=lambda item: (not isfinite(item[1]), item[1]))
        if not isfinite(drift):
            reasons.append(f"the error of {task} on {state.unseen} new labels is not finite")
        elif drift >= options.drift:
            reasons.append(
                f"the error of {task} on {state.unseen} new labels is {drift:.2f} times that on the random test set "
                f"(at least {options.drift:g})"
            )
    if options.age_days is not None and state.age_days >= options.age_days:
        reasons.append(f"the model in use is {state.age_days:.1f} days old (at least {options.age_days:g})")
    return reasons


def needs_drift(state: RetrainState, options: RetrainOptions) -> bool:
    """Whether the drift, which costs predictions of the model, could make due what is not due without it."""
    asked = options.drift is not None and state.unseen >= options.least
    return asked and state.drift is None and not is_waiting(state, options) and not due(state, options)


def is_waiting(state: RetrainState, options: RetrainOptions) -> bool:
    """Whether a failure was so shortly ago that nothing is tried again yet."""
    return state.failed_hours is not None and state.failed_hours < options.retry_hours
