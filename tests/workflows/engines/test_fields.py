"""Checks of settings say what is wrong and how to mend it."""

import math

import pytest

from workflows.engines.fields import check_amounts, check_element, check_meshes


@pytest.mark.parametrize(
    ("symbol", "hint"), [("NI", "did you mean 'Ni'"), ("Xx", "not a chemical element"), ("X", "not a chemical element")]
)
def test_what_is_no_element(symbol, hint):
    with pytest.raises(ValueError, match=hint):
        check_element(symbol)


@pytest.mark.parametrize("number", [-0.1, math.inf, math.nan])
def test_amounts_are_finite_and_not_negative(number):
    check_amounts({"Ni": 6.2, "O": 0.0})
    with pytest.raises(ValueError, match=r"Ni is .*a finite number, 0 or more"):
        check_amounts({"O": 0.0, "Ni": number})


def test_meshes_have_a_division_in_each_direction():
    check_meshes({"all8": (4, 2, 2)})
    with pytest.raises(ValueError, match=r"'all8' is \[4, 0, 2\]"):
        check_meshes({"all8": (4, 0, 2)})
