"""The ASE calculator: properties, changes of the moments, committees, roles of the moments, refusals."""

import warnings

import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError

from spinmultinet import SpinMultiNetCalculator, SpinMultiNetError, build_model
from spinmultinet.checkpoint import save_model
from spinmultinet.evaluate import predict
from spinmultinet.levels import LevelWarning


@pytest.fixture
def model(tiny_options):
    return build_model(tiny_options.model_copy(update={"dtype": "float64"}), ["O", "Ni"], 0)


@pytest.fixture
def atoms(nio):
    atoms = nio[0].copy()
    atoms.set_initial_magnetic_moments(atoms.arrays.pop("magmom_in"))
    del atoms.info["moment_role"]
    return atoms


def test_all_properties_agree_with_the_model(model, atoms, nio):
    atoms.calc = SpinMultiNetCalculator(model)
    p = predict(model, nio[:1])[0]
    assert atoms.get_potential_energy() == p["energy"]
    assert atoms.get_potential_energy(force_consistent=True) == p["energy"]
    np.testing.assert_array_equal(atoms.get_forces(), p["forces"])
    np.testing.assert_allclose(atoms.get_stress(voigt=False), p["stress"])
    np.testing.assert_array_equal(atoms.get_magnetic_moments(), p["magmoms"])
    assert "energy_std" not in atoms.calc.results


def test_it_notices_changed_moments(model, atoms):
    atoms.calc = SpinMultiNetCalculator(model)
    first = atoms.get_potential_energy()
    moments = atoms.get_initial_magnetic_moments()
    moments[1] *= -1
    atoms.set_initial_magnetic_moments(moments)
    second = atoms.get_potential_energy()
    assert abs(first - second) > 1e-9
    atoms.set_initial_magnetic_moments(-moments)
    assert atoms.get_potential_energy() == pytest.approx(second, abs=1e-10)


def test_it_notices_a_changed_magmom_in(model, nio):
    atoms = nio[0].copy()
    atoms.calc = SpinMultiNetCalculator(model)
    first = atoms.get_potential_energy()
    atoms.arrays["magmom_in"][1] *= -1
    assert abs(atoms.get_potential_energy() - first) > 1e-9


def test_it_does_not_calculate_twice(model, atoms, monkeypatch):
    atoms.calc = SpinMultiNetCalculator(model)
    atoms.get_forces()
    monkeypatch.setattr(atoms.calc.committee, "predict", lambda frames: pytest.fail("calculated again"))
    atoms.get_potential_energy()
    atoms.get_magnetic_moments()


def test_committee_of_paths_reports_its_spread(tmp_path, tiny_options, atoms):
    paths = [save_model(build_model(tiny_options, ["O", "Ni"], k), tmp_path / f"{k}.pt") for k in range(2)]
    atoms.calc = SpinMultiNetCalculator(paths)
    atoms.get_potential_energy()
    r = atoms.calc.results
    assert r["energy_std"] > 0
    assert r["forces_std"].shape == r["magmoms_std"].shape == (4,)
    assert SpinMultiNetCalculator(paths[0]).model.species == ["O", "Ni"]


def test_molecules_have_no_stress(model, atoms):
    atoms.pbc = False
    atoms.calc = SpinMultiNetCalculator(model)
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError, match="periodic"):
        atoms.get_stress()


def test_missing_moments_are_an_error_unless_the_model_has_no_spin(model, atoms, tiny_options):
    del atoms.arrays["initial_magmoms"]
    atoms.calc = SpinMultiNetCalculator(model)
    with pytest.raises(SpinMultiNetError, match="initial_magnetic_moments"):
        atoms.get_potential_energy()
    atoms.calc = SpinMultiNetCalculator(build_model(tiny_options.model_copy(update={"spin": False}), ["O", "Ni"]))
    assert np.isfinite(atoms.get_potential_energy())
    assert not atoms.get_magnetic_moments().any()


def test_magnetic_forces_only_for_constrained_data(model, atoms):
    calculator = SpinMultiNetCalculator(model)
    with pytest.raises(SpinMultiNetError, match="-dE/dm is refused"):
        calculator.get_magnetic_forces(atoms)
    model.metadata["moment_role"] = "constraint"
    found = SpinMultiNetCalculator(model).get_magnetic_forces(atoms)
    step, energies = 1e-4, []
    for sign in (1, -1):
        moved = atoms.copy()
        m = moved.get_initial_magnetic_moments()
        m[0] += sign * step
        moved.set_initial_magnetic_moments(m)
        moved.calc = SpinMultiNetCalculator(model)
        energies.append(moved.get_potential_energy())
    assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(found[0], abs=1e-6)


def test_a_model_of_constraints_is_not_used_for_guesses_by_mistake(model, atoms):
    model.metadata["moment_role"] = "constraint"
    calculator = SpinMultiNetCalculator(model)
    with pytest.warns(LevelWarning, match="moments held at the initial ones"):
        calculator.get_potential_energy(atoms)
    moved = atoms.copy()
    moved.rattle(0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        calculator.get_potential_energy(moved)
        SpinMultiNetCalculator(model, moment_role="constraint").get_potential_energy(atoms)
        told = atoms.copy()
        told.info["moment_role"] = "constraint"
        SpinMultiNetCalculator(model).get_potential_energy(told)
    with pytest.raises(SpinMultiNetError, match="'guess' was asked for, the model's is 'constraint'"):
        SpinMultiNetCalculator(model, moment_role="guess")
    told.info["moment_role"] = "guess"
    with pytest.raises(SpinMultiNetError, match="not comparable"):
        SpinMultiNetCalculator(model).get_potential_energy(told)


def test_a_model_of_guesses_is_not_used_for_constraints(model, atoms):
    model.metadata["moment_role"] = "guess"
    assert SpinMultiNetCalculator(model).moment_role == "guess"
    with pytest.raises(SpinMultiNetError, match="'constraint' was asked for, the model's is 'guess'"):
        SpinMultiNetCalculator(model, moment_role="constraint")
    atoms.info["moment_role"] = "constraint"
    atoms.calc = SpinMultiNetCalculator(model)
    with pytest.raises(SpinMultiNetError, match="not comparable"):
        atoms.get_potential_energy()


def test_iterated_moments(model, atoms):
    model.moment_readout.prior.fill_(4.0)
    atoms.calc = SpinMultiNetCalculator([model, model], iterate=50)
    first = atoms.get_magnetic_moments()
    assert atoms.calc.results["moment_change"] < 1e-3
    assert atoms.calc.results["rounds"] > 1
    magnetic = atoms.get_initial_magnetic_moments() != 0
    moments = np.where(magnetic, first, 0.0)
    atoms.set_initial_magnetic_moments(moments)
    again = atoms.get_magnetic_moments()
    np.testing.assert_allclose(again[magnetic], first[magnetic], atol=2e-3)
    assert atoms.calc.results["rounds"] == 1
