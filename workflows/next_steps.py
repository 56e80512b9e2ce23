"""What a campaign will do next and when it will stop, in words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workflows.campaign import CampaignOptions
from workflows.campaign_jobs import CampaignJob
from workflows.learning import StopOptions

STEPS = {
    "parent": ("{n} lattice to relax", "{n} lattices to relax"),
    "structures": ("make the first configurations", ""),
    "chunk": ("add the labels of the next chunk", ""),
    "label": ("{n} label", "{n} labels"),
    "starts": ("start labels again that look metastable", ""),
    "dataset": ("take the labels into the dataset", ""),
    "honest": ("test the model in use on the new labels", ""),
    "train": ("train {n} model", "train {n} models"),
    "evaluate": ("evaluate on the frozen tests", ""),
    "promote": ("judge the new model against the one in use", ""),
    "decide": ("decide whether to go on", ""),
    "explore": ("explore for candidates", "explore for candidates in {n} ways"),
    "select": ("choose {labels} labels by rule {rule}", ""),
    "conclude": ("last evaluation, with the baseline", ""),
}
"""Kind of job -> words for one of it and for several."""


@dataclass(frozen=True)
class Left:
    """Work still to be done.

    ``labels``, ``seconds`` (core seconds, 10-90 % range ``low`` to ``high``) and ``trainings`` are known to come;
    ``labels_later``, ``seconds_later`` and ``trainings_later`` are at most, in ``rounds`` further rounds.
    ``training_each``: wall seconds of one of the newest trainings, None before the first.
    """

    labels: int
    seconds: float
    low: float
    high: float
    rounds: int
    labels_later: int
    seconds_later: float | None
    trainings: int
    trainings_later: int
    training_each: float | None


def labels_later(options: CampaignOptions, jobs: Sequence[CampaignJob], stopped: bool) -> tuple[int, int]:
    """Rounds that may still be added, and the most labels they may ask for."""
    learning = options.active_learning
    rounds = max(0, learning.rounds - _chosen(jobs))
    labels = rounds * learning.labels
    if learning.stop.labels is not None:
        labels = min(labels, max(0, learning.stop.labels - sum(job.kind == "label" for job in jobs)))
    return (0, 0) if stopped or not labels else (rounds, labels)


def _chosen(jobs: Sequence[CampaignJob]) -> int:
    """Rounds whose labels are jobs already."""
    return max((job.generation for job in jobs if job.kind == "label"), default=0)


def next_steps(options: CampaignOptions, unfinished: Sequence[CampaignJob], left: Left, stopped: str) -> list[str]:
    """Sentences: the jobs that are known, in their order; the rounds after them; what ends the campaign."""
    counts = Counter(job.kind for job in unfinished)
    learning = options.active_learning
    words = {"labels": learning.labels, "rule": learning.select.rule}
    steps = [_step(kind, count, words) for kind, count in counts.items()]
    if left.rounds:
        each = f"up to {left.rounds} {'round' if left.rounds == 1 else 'rounds'} of {learning.labels} labels"
        rule = "" if counts["select"] else f", chosen by rule {learning.select.rule}"
        steps.append(f"{each}{rule}")
    said = [", then ".join(steps)] if steps else []
    if stopped:
        return [*said, f"no further round: {stopped}"]
    return [*said, f"stops {'; '.join(stop_rules(learning.stop, learning.rounds))}"]


def _step(kind: str, count: int, words: Mapping[str, object]) -> str:
    one, several = STEPS.get(kind, (f"{kind} job", f"{{n}} {kind} jobs"))
    return (several if several and count > 1 else one).format(n=count, **words)


def stop_rules(stop: StopOptions, rounds: int) -> list[str]:
    """Each condition that ends the rounds."""
    rules = []
    if stop.targets:
        rules.append("once all targets are met")
    if stop.min_gain is not None:
        share = f"{100 * stop.min_gain:.3g} %"
        rules.append(f"once a label lowers the errors by less than {share} over {stop.patience} rounds")
    if stop.labels is not None:
        rules.append(f"before more than {stop.labels} labels")
    if stop.core_hours is not None:
        rules.append(f"once labels have cost {stop.core_hours:g} core hours")
    return [*rules, f"after {rounds} {'round' if rounds == 1 else 'rounds'}"]
