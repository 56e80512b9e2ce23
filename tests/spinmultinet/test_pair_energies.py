"""Differences of energy between orderings of one geometry."""

import pytest

from spinmultinet.pair_energies import pair_energies


def energies(frames):
    return [a.calc.results["energy"] for a in frames]


def test_right_energies_have_no_error(nio):
    found = pair_energies(nio, energies(nio))
    assert found["n"] == 12
    assert found["mae"] == pytest.approx(0.0, abs=1e-9)
    assert found["right_order"] == 1.0
    (kind,) = found["per_orderings"]
    assert kind == "FM - AFM-II"
    assert found["per_orderings"][kind]["label"] == pytest.approx(found["per_orderings"][kind]["predicted"])
    assert found["per_orderings"][kind]["label"] > 10  # meV/atom: NiO is antiferromagnetic


def test_a_common_shift_cancels_and_a_swap_does_not(nio):
    right = pair_energies(nio, energies(nio))
    assert pair_energies(nio, [e + 5.0 for e in energies(nio)])["mae"] == pytest.approx(0.0, abs=1e-9)
    swapped = energies(nio)
    for k in range(0, len(nio), 2):
        assert nio[k].info["pair_id"] == nio[k + 1].info["pair_id"]
        swapped[k], swapped[k + 1] = swapped[k + 1], swapped[k]
    found = pair_energies(nio, swapped)
    assert found["right_order"] == 0.0
    assert found["per_orderings"]["FM - AFM-II"]["predicted"] == pytest.approx(
        -right["per_orderings"]["FM - AFM-II"]["label"]
    )


def test_structures_without_energy_or_partner_are_left_out(nio):
    del nio[0].calc.results["energy"]
    nio[0].calc.results.pop("free_energy", None)
    assert pair_energies(nio, [0.0] * len(nio))["n"] == 11
    assert pair_energies(nio[:1], [0.0]) is None
