"""What is known about a run beforehand, for its progress bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workflows.campaign import CampaignOptions
    from workflows.engines import Engine
    from workflows.parents import ParentPlan
    from workflows.progress_view import Tally

SHORT_JOBS = 4
"""Jobs of a round besides exploration, labels and trainings: dataset, evaluation, promotion, decision."""

SHORT_JOBS_AFTER = 2
"""Further ones of each round but the first: the selection, and the test of the model in use on what it chose."""

TRAINING_START, TRAINING_STEP = 5.0, 0.006
"""Seconds before the first epoch, and per epoch and label (tiny model, four atoms): a guess until one is measured."""


def tally_of(options: CampaignOptions, engine: Engine, workers: int) -> Tally:
    """What is known about the run beforehand: how many labels and trainings, and about how long each takes."""
    from spinmultinet.hypers import read_config
    from workflows.parents import plan_parents
    from workflows.progress_view import OTHER, Tally

    parents = plan_parents(options.structures, engine)
    seconds = _seconds(options, engine, parents)
    planned = _planned(options, len(seconds))
    epochs = read_config(options.model)[1].epochs
    training = TRAINING_START + TRAINING_STEP * epochs * len(seconds)
    estimates = {"labels": sum(seconds) / max(1, len(seconds)) / engine.cores(), "training": training}
    if parents:
        planned[("parents", 0)] = len(parents)
        planned[(OTHER, 0)] += 1
        estimates["parents"] = sum(parent.seconds for parent in parents) / len(parents) / engine.cores()
    stop = options.active_learning.stop
    may_stop = bool(stop.targets or stop.min_gain or stop.labels or stop.core_hours)
    return Tally(workers, estimates, planned, may_stop=may_stop)


def _seconds(options: CampaignOptions, engine: Engine, parents: list[ParentPlan]) -> list[float]:
    """Core seconds of each first label: from the files of a campaign in chunks, where those were written."""
    from workflows.flows import CampaignMaker
    from workflows.parents import planned_structures
    from workflows.structures import generate

    written = CampaignMaker(options, engine).written()
    if written is not None:
        return [seconds for at in range(len(written)) for _, _, seconds in written.sizes(at)]
    return [engine.seconds_estimate(config) for config in generate(planned_structures(options.structures, parents))]


def _planned(options: CampaignOptions, first: int) -> dict[tuple[str, int], int]:
    """Jobs per stage and round if no decision ends the campaign early; ``first``: labels of generation 0."""
    from workflows.exploration import sources
    from workflows.progress_view import OTHER

    learning = options.active_learning
    planned = {("labels", 0): first, (OTHER, 0): SHORT_JOBS, ("training", 0): options.committee}
    for number in range(1, learning.rounds + 1):
        planned |= {("exploration", number): len(sources(options)), ("labels", number): learning.labels}
        planned |= {(OTHER, number): SHORT_JOBS + SHORT_JOBS_AFTER, ("training", number): options.committee}
    planned[(OTHER, learning.rounds)] += 1  # the conclusion
    planned[("training", learning.rounds)] *= 2 if options.baseline else 1
    return planned
