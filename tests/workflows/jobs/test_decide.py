"""What the rule of stopping is given: errors as stores keep them."""

from workflows.jobs.decide import _round
from workflows.learning import StopOptions
from workflows.policy.stopping import Limits, decide


def test_an_infinite_error_that_a_store_kept_as_null_meets_no_target():
    entries = [
        {"generation": k, "labels": 10 * (k + 1), "core_hours": 0.0, "errors": {"random": {"energy": error}}}
        for k, error in enumerate((2.0, None))
    ]
    stop = StopOptions.model_validate({"targets": {"random": {"energy": 5}}, "min_gain": 0.001, "patience": 1})
    stops, why = decide([_round(entry) for entry in entries], stop, Limits(5, 10))
    assert not stops
    assert "not met: energy on random inf, target 5 meV/atom" in why
