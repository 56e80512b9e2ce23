"""Sentences on what comes next, from jobs and options alone."""

from pathlib import Path

import pytest

from tests.support.cli import tiny_campaign
from workflows.campaign import CampaignOptions, load_campaign
from workflows.campaign_jobs import CampaignJob
from workflows.next_steps import STEPS, Left, labels_later, next_steps, stop_rules

NOTHING = Left(0, 0.0, 0.0, 0.0, 0, 0, 0.0, 0, 0, None)


def jobs(**counts: int) -> list[CampaignJob]:
    return [CampaignJob(f"{kind}{k}", f"{kind} 2", kind, 2, "waiting") for kind, n in counts.items() for k in range(n)]


@pytest.fixture
def options(tmp_path: Path, monkeypatch) -> CampaignOptions:
    monkeypatch.chdir(tmp_path)
    stop = {"targets": {"pairs": {"energy": 3.0}}, "labels": 30, "min_gain": 0.005, "core_hours": 2}
    path = tiny_campaign(
        tmp_path,
        active_learning={"rounds": 6, "labels": 5, "candidates": 8, "stop": stop, "select": {"rule": "random"}},
    )
    return load_campaign(path)[0]


def test_known_jobs_in_their_order_then_rounds_then_stops(options):
    left = Left(3, 1.0, 1.0, 1.0, 4, 20, 5.0, 2, 4, None)
    steps, stops = next_steps(options, jobs(label=3, train=2, decide=1), left, "")
    assert steps == (
        "3 labels, then train 2 models, then decide whether to go on, then up to 4 rounds of 5 "
        "labels, chosen by rule random"
    )
    assert stops == (
        "stops once all targets are met; once a label lowers the errors by less than 0.5 % over 2 rounds; "
        "before more than 30 labels; once labels have cost 2 core hours; after 6 rounds"
    )


def test_a_decision_to_stop_is_told_instead(options):
    steps = next_steps(options, jobs(train=1, conclude=1), NOTHING, "all targets are met")
    assert steps == ["train 1 model, then last evaluation, with the baseline", "no further round: all targets are met"]


def test_every_kind_has_words_and_an_unknown_one_too(options):
    for kind in STEPS:
        for n in (1, 3):
            (steps, _) = next_steps(options, jobs(**{kind: n}), NOTHING, "enough")
            assert "{" not in steps
    assert next_steps(options, jobs(relabel=2), NOTHING, "enough")[0] == "2 relabel jobs"


def test_later_labels_are_bounded_by_rounds_and_by_the_budget(options):
    assert labels_later(options, jobs(label=3), stopped=False) == (4, 20)
    assert labels_later(options, jobs(label=18), stopped=False) == (4, 12)
    assert labels_later(options, jobs(label=30), stopped=False) == (0, 0)
    assert labels_later(options, jobs(label=3), stopped=True) == (0, 0)


def test_without_rules_there_are_the_rounds(options):
    plain = options.active_learning.stop.__class__()
    assert stop_rules(plain, 1) == ["after 1 round"]
