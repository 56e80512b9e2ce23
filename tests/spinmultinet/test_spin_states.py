"""Branches of |m|: seen in labels, parted where asked, counted where there are several."""

import json

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from spinmultinet import SpinMultiNetError
from spinmultinet.spin_states import GAP, boundaries_of, check_boundaries, spin_states

LOW, HIGH = (0.9, 1.2), (2.5, 2.6)


def row(label, predicted):
    label, predicted = np.array(label), np.array(predicted)
    lengths = {"label_length": np.abs(label), "predicted_length": np.abs(predicted)}
    return {"magnetic": np.ones(len(label), dtype=bool), "agrees": label * predicted > 0, **lengths}


def atoms(symbol, n):
    return Atoms([symbol] * n, positions=np.arange(3 * n).reshape(n, 3))


def test_low_and_high_spin_are_seen():
    label = [LOW[0], -LOW[1], HIGH[0], -HIGH[1]]
    found = spin_states([row(label, [1.0, -2.4, 2.0, 2.6])], [atoms("Co", 4)])
    assert found["boundaries"]["Co"] == [pytest.approx((LOW[1] + HIGH[0]) / 2)]
    low, high = found["per_element"]["Co"]["states"]
    assert (low["from"], low["to"], low["n"], low["right"]) == (*LOW, 2, 0.5)
    assert high["right"] == 0.5  # the second of them has the wrong sign
    assert found["right"] == 0.5
    assert found["commonest"] == 0.5
    json.dumps(found)


def test_one_branch_is_nothing_to_get_wrong():
    assert spin_states([row([1.7, -1.8], [0.1, 0.2])], [atoms("Ni", 2)]) is None
    both = spin_states(
        [row([1.7, -1.8], [0.1, 0.2]), row([LOW[0], HIGH[0]], [1.0, 2.5])], [atoms("Ni", 2), atoms("Co", 2)]
    )
    assert set(both["per_element"]) == {"Co"}
    assert both["n"] == 2


def test_boundaries_given_hold_even_where_labels_show_one_branch():
    found = spin_states([row([2.5, -2.6], [2.4, -1.0])], [atoms("Co", 2)], {"Co": [1.8]})
    assert found["right"] == 0.5
    assert found["commonest"] == 1.0
    with pytest.raises(SpinMultiNetError, match="Co"):
        spin_states([row([2.5], [2.4])], [atoms("Co", 1)], {"Co": [-1.0]})


def test_boundaries_of_elements_that_are_not_there_are_refused():
    frames = [atoms("Co", 2), atoms("Ni", 1)]
    frames[0].set_initial_magnetic_moments([1.0, 0.0])
    frames[1].set_array("magmom_in", np.zeros((1, 3)))
    check_boundaries({"Co": [1.8]}, frames)
    with pytest.raises(SpinMultiNetError, match=r"spin states of Ni, co: no such magnetic site.* have Co;"):
        check_boundaries({"Co": [1.8], "co": [1.8], "Ni": [0.9]}, frames)
    with pytest.raises(SpinMultiNetError, match="positive"):
        check_boundaries({"Co": [0.0]}, frames)


def test_a_collapsed_moment_has_a_state_but_no_sign():
    found = spin_states([row([0.01, 1.8], [-0.02, 1.7])], [atoms("Ni", 2)])
    assert found["right"] == 1.0


def test_models_without_moments():
    assert spin_states([{"magnetic": np.array([True])}], [atoms("Ni", 1)]) is None


@given(st.lists(st.floats(0, 5), min_size=1, max_size=30))
def test_boundaries_lie_in_the_middle_of_gaps(values):
    lengths = np.array(values)
    limits = boundaries_of(lengths)
    assert limits == sorted(limits)
    for x in limits:
        assert np.abs(lengths - x).min() >= GAP / 2 - 1e-9
    assert boundaries_of(np.concatenate([lengths, lengths])) == limits
