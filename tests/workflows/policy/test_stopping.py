"""When active learning stops: a table of histories, and what never happens."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.learning import StopOptions
from workflows.policy.stopping import Limits, Round, decide

LIMITS = Limits(rounds=5, labels=10)


def rounds(*energies: float, labels: int = 10, hours: float = 1.0) -> list[Round]:
    """One round per energy error on the random test set, each with ``labels`` more labels."""
    return [
        Round(k, 20 + labels * k, hours * (k + 1), {"random": {"energy": energy, "forces": 10 * energy}})
        for k, energy in enumerate(energies)
    ]


@pytest.mark.parametrize(
    ("history", "stop", "stops", "why"),
    [
        (rounds(9.0), {}, False, "round 1 of at most 5 follows"),
        (rounds(9, 8, 7, 6, 5, 4), {}, True, "no round is left of at most 5"),
        (
            rounds(9, 4.5),
            {"targets": {"random": {"energy": 5}}},
            True,
            "all targets are met: energy on random 4.5, target 5 meV/atom",
        ),
        (
            rounds(9, 4.5),
            {"targets": {"random": {"energy": 5, "forces": 40}}},
            False,
            "round 2 of at most 5 follows; not met: forces on random 45, target 40 meV/Angstrom",
        ),
        (
            rounds(9.0),
            {"targets": {"orderings": {"energy": 5}}},
            False,
            "round 1 of at most 5 follows; not met: energy on orderings no labels, target 5 meV/atom",
        ),
        (
            rounds(9, 9, 9, 9, 9, 9),
            {"targets": {"random": {"energy": 5}}},
            True,
            "no round is left of at most 5; not met: energy on random 9, target 5 meV/atom",
        ),
        (rounds(9, 8), {"labels": 40}, False, "round 2 of at most 5 follows"),
        (rounds(9, 8), {"labels": 39}, True, "10 more labels than the 30 so far would pass the budget of 39"),
        (rounds(9, 8), {"core_hours": 2}, True, "the labels have cost 2 core hours, the budget is 2"),
        (rounds(9, 8), {"core_hours": 2.1}, False, "round 2 of at most 5 follows"),
        (
            rounds(10, 9.5, 9),
            {"min_gain": 0.01},
            True,
            "a new label lowered the errors by 0.5 % over the last 2 rounds, less than 1 %",
        ),
        (
            rounds(10, 9.5, 9),
            {"min_gain": 0.004},
            False,
            "round 3 of at most 5 follows; a new label lowered the errors by 0.5 %",
        ),
        (rounds(10, 12), {"min_gain": 0.01}, False, "round 2 of at most 5 follows"),
        (
            rounds(10, 12),
            {"min_gain": 0.01, "patience": 1},
            True,
            "a new label lowered the errors by -2 % over the last round, less than 1 %",
        ),
    ],
    ids=lambda value: None if isinstance(value, list | dict | bool) else value[:40],
)
def test_table(history, stop, stops, why):
    assert decide(history, StopOptions.model_validate(stop), LIMITS) == (stops, why)


def test_targets_that_are_met_end_the_campaign_whatever_the_budget_says():
    stop = StopOptions.model_validate({"targets": {"random": {"energy": 10}}, "labels": 1, "core_hours": 0.1})
    assert decide(rounds(9.0), stop, LIMITS)[1].startswith("all targets are met")


def test_only_errors_with_a_target_count_for_the_gain():
    """Forces get worse, the target is on the energy."""
    history = [Round(k, 20 + k, 0, {"random": {"energy": 10.0 - k, "forces": 10.0 + 5 * k}}) for k in range(3)]
    wanted = {"min_gain": 0.05, "targets": {"random": {"energy": 1}}}
    assert not decide(history, StopOptions.model_validate(wanted), LIMITS)[0]
    assert decide(history, StopOptions.model_validate({"min_gain": 0.05}), LIMITS)[0]


@pytest.mark.parametrize("broken", [math.inf, math.nan])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_error_that_is_not_finite_meets_no_target_and_gains_nothing(broken, at):
    energies = [3.0, 2.0, 1.0]
    energies[at] = broken
    wanted = StopOptions.model_validate({"targets": {"random": {"energy": 5}}, "min_gain": 1e-9})
    stop, why = decide(rounds(*energies), wanted, LIMITS)
    assert why.startswith(
        "all targets are met" if at < 2 else "round 3 of at most 5 follows; not met: energy on random"
    )
    assert stop == (at < 2)
    assert not decide(rounds(*energies), StopOptions(min_gain=1e-9), LIMITS)[0]  # unknown, not zero


def test_without_a_round_there_is_none():
    assert decide(rounds(9.0), StopOptions(), Limits(0, 10)) == (True, "no round is left of at most 0")


errors = st.floats(0.1, 100)


@given(st.lists(errors, min_size=1, max_size=6), errors, st.floats(1.01, 10))
def test_a_looser_target_is_met_no_later(energies, target, looser):
    def stops_for_targets(limit: float) -> bool:
        stop = StopOptions.model_validate({"targets": {"random": {"energy": limit}}})
        return decide(rounds(*energies), stop, LIMITS)[1].startswith("all targets")

    assert stops_for_targets(target * looser) or not stops_for_targets(target)


@given(st.lists(errors, min_size=3, max_size=6), st.floats(1e-4, 0.5), st.floats(0.1, 10))
def test_the_unit_of_an_error_does_not_decide(energies, gain, unit):
    stop = StopOptions(min_gain=gain)
    scaled = [
        Round(r.generation, r.labels, 0.0, {t: {k: v * unit for k, v in e.items()} for t, e in r.errors.items()})
        for r in rounds(*energies)
    ]
    verdicts = {decide(history, stop, Limits(100, 1))[1][:20] for history in (rounds(*energies), scaled)}
    assert len(verdicts) == 1
