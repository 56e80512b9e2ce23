"""When to train again, as a table."""

from math import inf, nan

import pytest
from pydantic import ValidationError

from workflows.learning import RetrainOptions
from workflows.policy.due import RetrainState, due, is_waiting, needs_drift

NONE = RetrainOptions(new_points=None, drift=None)
COUNT = RetrainOptions(new_points=20, drift=None)
DRIFT = RetrainOptions(new_points=None, drift=2.0, least=5)
AGE = RetrainOptions(new_points=None, drift=None, age_days=7)
ALL = RetrainOptions(new_points=20, drift=2.0, least=5, age_days=7)


def state(**fields):
    return RetrainState(**fields)


@pytest.mark.parametrize(
    ("options", "known", "expected"),
    [
        (ALL, state(), []),
        (COUNT, state(unseen=19), []),
        (COUNT, state(unseen=20), ["20 new labels (at least 20)"]),
        (NONE, state(unseen=10_000, drift={"energy": 99.0}, age_days=1e4), []),
        (DRIFT, state(unseen=5, drift=None), []),
        (DRIFT, state(unseen=4, drift={"forces": 3.0}), []),
        (DRIFT, state(unseen=5, drift={}), []),
        (DRIFT, state(unseen=5, drift={"energy": 1.99, "forces": 0.5}), []),
        (DRIFT, state(unseen=5, drift={"energy": 1.0, "forces": 2.0}), ["the error of forces on 5 new labels is 2.00"]),
        (DRIFT, state(unseen=5, drift={"energy": 9.0, "forces": 2.0}), ["the error of energy on 5 new labels is 9.00"]),
        (AGE, state(unseen=1, age_days=6.9), []),
        (AGE, state(unseen=0, age_days=70), []),
        (AGE, state(unseen=1, age_days=7), ["the model in use is 7.0 days old (at least 7)"]),
        (NONE, state(flags=["new U"]), ["flagged: new U"]),
        (NONE, state(retracted=2), ["2 labels that the model in use was made with were rejected or replaced"]),
        (ALL, state(retracted=2, failed_hours=0.1), []),
        (
            DRIFT,
            state(unseen=5, drift={"energy": nan, "forces": 0.5}),
            ["the error of energy on 5 new labels is not f"],
        ),
        (
            DRIFT,
            state(unseen=5, drift={"forces": 9.0, "energy": nan}),
            ["the error of energy on 5 new labels is not f"],
        ),
        (
            DRIFT,
            state(unseen=5, drift={"forces": inf, "energy": 9.0}),
            ["the error of forces on 5 new labels is not f"],
        ),
        (ALL, state(flags=["a", "b"]), ["flagged: a", "flagged: b"]),
        (
            ALL,
            state(unseen=30, drift={"energy": 3.0}, age_days=8, flags=["x"]),
            ["flagged", "30 new", "the err", "the"],
        ),
        (ALL, state(unseen=30, failed_hours=0.9), []),
        (ALL, state(unseen=30, failed_hours=1.0), ["30 new labels"]),
        (NONE, state(interrupted="2026-01-01"), ["the retraining that began at 2026-01-01 was interrupted"]),
        (ALL, state(interrupted="2026-01-01", failed_hours=0.1, unseen=30), ["the retraining that began at"]),
    ],
)
def test_due(options, known, expected):
    found = due(known, options)
    assert len(found) == len(expected)
    for reason, beginning in zip(found, expected, strict=True):
        assert reason.startswith(beginning)


@pytest.mark.parametrize(
    ("options", "known", "expected"),
    [
        (ALL, state(unseen=4), False),
        (ALL, state(unseen=5), True),
        (ALL, state(unseen=5, drift={}), False),
        (ALL, state(unseen=20), False),  # due anyway
        (ALL, state(unseen=5, age_days=8), False),
        (ALL, state(unseen=5, flags=["x"]), False),
        (ALL, state(unseen=5, failed_hours=0.5), False),
        (COUNT, state(unseen=5), False),
    ],
)
def test_the_model_is_asked_only_where_its_answer_decides(options, known, expected):
    assert needs_drift(known, options) is expected


def test_waiting_after_a_failure():
    assert is_waiting(state(failed_hours=0.5), ALL)
    assert not is_waiting(state(failed_hours=0.5), RetrainOptions(retry_hours=0))
    assert not is_waiting(state(), ALL)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "host/x", "http://", "https:///path"])
def test_a_webhook_is_a_web_address(url):
    with pytest.raises(ValidationError, match="http"):
        RetrainOptions(webhook=url)
    assert RetrainOptions(webhook="https://chat.example.org/hook?x=1").webhook
