"""Each way to fail ends in a corrected label or a recorded reason: no hang, no traceback, no wrong label."""

import time

import numpy as np
import pytest

from tests.support.vasp_captures import NO_DATA
from tests.support.vasp_failures import (
    FAILURES,
    LABEL,
    LATER,
    OTHER_LEVEL,
    OUTCOMES,
    REJECTED,
    Failure,
    captured,
    run_failure,
)

REAL = captured() or [pytest.param(None, marks=pytest.mark.skip(reason=NO_DATA))]
UNDISTURBED = Failure("none", [], LABEL, "")


def check(failure, place, folder):
    began = time.monotonic()
    ending = run_failure(failure, place.faults, folder)
    assert (ending.outcome, ending.starts) == (failure.outcome, failure.starts), ending.text
    assert failure.says in ending.text
    assert "\n" not in ending.text
    assert "Traceback" not in ending.text
    assert time.monotonic() - began < 120
    return ending


@pytest.fixture(scope="module")
def right_label(tmp_path_factory):
    """The label of an undisturbed run, made once, where a test has the program at hand."""
    made = []

    def label(place):
        if not made:
            made.append(run_failure(UNDISTURBED, place.faults, tmp_path_factory.mktemp("right")).document)
        return made[0]

    return label


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_failure(vasp_on_path, tmp_path, failure, right_label):
    ending = check(failure, vasp_on_path, tmp_path / "job")
    point = ending.document
    if failure.outcome == LATER:  # the second try is begun in the same folder
        point = run_failure(UNDISTURBED, vasp_on_path.faults, tmp_path / "job").document
    if failure.outcome in (LABEL, LATER):
        right = right_label(vasp_on_path)
        assert point.verdict == right.verdict == "accepted"
        assert point.level_id == right.level_id
        assert point.energy == pytest.approx(right.energy, abs=1e-5)
        np.testing.assert_allclose(point.forces, right.forces, atol=1e-4)
        np.testing.assert_allclose(point.magmoms_out, right.magmoms_out, atol=1e-3)
    if failure.outcome not in (LATER, REJECTED) and failure.starts > 1:
        assert ending.document.history
        assert len(str(ending.document.history)) < 2000


@pytest.mark.parametrize("failure", REAL, ids=str)
def test_words_of_real_vasp(vasp_on_path, tmp_path, failure):
    check(failure, vasp_on_path, tmp_path / "job")


def test_every_outcome_is_in_the_table():
    assert {failure.outcome for failure in FAILURES} == OUTCOMES
    assert OTHER_LEVEL in OUTCOMES
