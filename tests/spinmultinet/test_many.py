"""Many structures and many moments at once give what one after the other gives, with any calculator."""

import numpy as np
import pytest

from spinmultinet import SpinMultiNetCalculator, build_model
from spinmultinet.many import States, results_of, states_of
from tests.support.heisenberg import Heisenberg


@pytest.fixture
def members(tiny_options):
    options = tiny_options.model_copy(update={"dtype": "float64"})
    return [build_model(options, ["O", "Ni"], k) for k in range(2)]


@pytest.fixture
def frames(nio):
    found = []
    for atoms in nio[:6]:
        moved = atoms.copy()
        moved.set_initial_magnetic_moments(moved.arrays.pop("magmom_in"))
        found.append(moved)
    return [*found, found[0].repeat((2, 1, 1))]


def test_a_list_of_structures_gives_the_results_of_each(members, frames):
    together = results_of(SpinMultiNetCalculator(members), frames)
    for atoms, results in zip(frames, together, strict=True):
        atoms.calc = SpinMultiNetCalculator(members)
        atoms.get_potential_energy()
        assert results.keys() == atoms.calc.results.keys()
        assert {"energy", "free_energy", "forces", "stress", "magmoms", "energy_std", "forces_std"} <= results.keys()
        for name, value in results.items():
            np.testing.assert_allclose(value, atoms.calc.results[name], atol=1e-10)
    assert "energy_std" not in results_of(SpinMultiNetCalculator(members[0]), frames)[0]


def test_structures_without_cell_have_no_stress_among_others_that_have(members, frames):
    frames[1].pbc = False
    found = results_of(SpinMultiNetCalculator(members), frames[:2])
    assert ["stress" in r for r in found] == ["stress_std" in r for r in found] == [True, False]


def test_states_are_energies_and_moments_of_each_member(members, frames):
    atoms, rng = frames[-1], np.random.default_rng(0)
    moments = np.abs(atoms.get_initial_magnetic_moments()) * rng.choice([1, -1], (5, len(atoms)))
    states = states_of(SpinMultiNetCalculator(members), atoms, moments)
    assert states.energies.shape == (2, 5)
    assert states.magmoms.shape == (5, len(atoms))
    for k, m in enumerate(moments):
        atoms.set_initial_magnetic_moments(m)
        single = [results_of(SpinMultiNetCalculator(member), [atoms])[0] for member in members]
        np.testing.assert_allclose(states.energies[:, k], [s["energy"] for s in single], atol=1e-10)
        np.testing.assert_allclose(states.magmoms[k], np.mean([s["magmoms"] for s in single], axis=0), atol=1e-10)


def test_reversal_of_all_moments_is_the_same_state(members, frames):
    m = frames[0].get_initial_magnetic_moments()
    states = states_of(SpinMultiNetCalculator(members), frames[0], np.array([m, -m]))
    np.testing.assert_allclose(states.energies[:, 0], states.energies[:, 1], atol=1e-10)
    np.testing.assert_allclose(states.magmoms[0], -states.magmoms[1], atol=1e-10)


def test_vectors_along_an_axis_are_the_scalars(members, frames):
    m = frames[0].get_initial_magnetic_moments()
    calculator = SpinMultiNetCalculator(members)
    scalar = states_of(calculator, frames[0], m[None])
    vector = states_of(calculator, frames[0], m[None, :, None] * np.array([0.6, 0, 0.8]))
    assert vector.magmoms.shape == (1, len(m), 3)
    np.testing.assert_allclose(scalar.energies, vector.energies, atol=1e-8)


def test_calculators_of_others_work_one_by_one(frames):
    calculator = Heisenberg((0.01,))
    m = np.array([frames[0].get_initial_magnetic_moments()] * 2)
    m[1, 1] *= -1
    states = states_of(calculator, frames[0], m)
    assert calculator.count == 2
    np.testing.assert_array_equal(states.magmoms, m)
    for k, results in enumerate(results_of(calculator, [frames[0]] * 2)):
        assert results["energy"] == states.energy[0] or k == 1
    assert states.spread_from(0).tolist() == [0.0, 0.0]


def test_the_spread_of_differences_forgets_what_members_agree_on():
    states = States(np.array([[0.0, 1.0, 2.0], [5.0, 6.0, 9.0]]), None)
    np.testing.assert_allclose(states.spread_from(0), [0.0, 0.0, np.sqrt(2)])
    np.testing.assert_allclose(states.energy, [2.5, 3.5, 5.5])
