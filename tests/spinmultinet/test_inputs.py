"""Scalars or vectors, given or converged moments, and warnings about angles a model never saw."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from spinmultinet import SpinMultiNetCalculator, SpinMultiNetError, build_model
from spinmultinet.evaluate import predict
from spinmultinet.inputs import NoncollinearWarning, graph_of, graphs_of, spin_axes


def pair(moments, key="magmom_in"):
    atoms = Atoms("NiNi", [[0, 0, 0], [2.2, 0, 0]])
    atoms.set_array(key, np.asarray(moments, dtype=float))
    return atoms


def model_with(tiny_options, **changes):
    return build_model({**tiny_options.model_dump(), "dtype": "float64", **changes}, ["O", "Ni"]).eval()


SCALARS, VECTORS = [2.0, -2.0], [[2.0, 0, 0], [0, 2.0, 0]]


@pytest.mark.parametrize("key", ["magmom_in", "initial_magmoms", "magmom_out", "magnetic_forces"])
def test_vectors_are_found_wherever_they_are(key):
    assert spin_axes([pair(SCALARS, key)]) == 1
    assert spin_axes([pair(SCALARS), pair(VECTORS, key)]) == 3


def test_vectors_among_results_are_found():
    atoms = pair(SCALARS)
    atoms.calc = SinglePointCalculator(atoms, magmoms=np.array(VECTORS))
    assert spin_axes([atoms]) == 3


def test_moments_keep_their_kind_and_a_training_set_has_one(tiny_options):
    model = model_with(tiny_options)
    assert graph_of(model, pair(SCALARS)).moments.shape == (2, 1)
    assert graph_of(model, pair(VECTORS)).moments.shape == (2, 3)
    flat, full = graphs_of(model, [pair(SCALARS), pair(VECTORS)], "training")
    np.testing.assert_array_equal(flat.moments, [[0, 0, 2], [0, 0, -2]])
    np.testing.assert_array_equal(full.moments, VECTORS)


def test_names_in_errors(tiny_options):
    with pytest.raises(SpinMultiNetError, match=r"^training structure 1: no input moments"):
        graphs_of(model_with(tiny_options), [pair(SCALARS), Atoms("Ni")], "training")


def test_vectors_have_no_place_in_an_invariant_model_that_predicts_moments(tiny_options):
    model = model_with(tiny_options, time_reversal="invariant")
    graph_of(model, pair(SCALARS))
    with pytest.raises(SpinMultiNetError, match="numbers without direction"):
        graph_of(model, pair(VECTORS))
    assert graph_of(model_with(tiny_options, time_reversal="invariant", moments=False), pair(VECTORS)) is not None


def test_spin_orbit_coupling_wants_vectors_unless_all_moments_are_zero(tiny_options):
    model = model_with(tiny_options, soc=True)
    assert graph_of(model, pair([0.0, 0.0])).moments.shape == (2, 3)
    with pytest.raises(SpinMultiNetError, match=r"structure: the moments are signed scalars.*give vectors \[N, 3\]"):
        graph_of(model, pair(SCALARS))


def test_converged_moments_are_the_input_where_there_are_any(tiny_options):
    model = model_with(tiny_options, moments=False, input_moments="converged")
    atoms = pair(SCALARS)
    np.testing.assert_array_equal(graph_of(model, atoms).moments[:, 0], SCALARS)
    atoms.set_array("magmom_out", np.array([1.7, -1.6]))
    assert graph_of(model, atoms).moments[:, 0].tolist() == [1.7, -1.6]
    assert atoms.arrays["magmom_in"].tolist() == SCALARS
    vectors = pair(VECTORS)
    vectors.calc = SinglePointCalculator(vectors, magmoms=1.1 * np.array(VECTORS))
    np.testing.assert_array_equal(graph_of(model, vectors).moments, 1.1 * np.array(VECTORS))
    given = model_with(tiny_options, moments=False)
    assert predict(model, [atoms])[0]["energy"] == predict(given, [pair([1.7, -1.6])])[0]["energy"]


@pytest.mark.parametrize("changes", [{}, {"moments": False, "spin": False}], ids=["moments", "no spin"])
def test_converged_moments_as_input_exclude_predicting_them(tiny_options, changes):
    with pytest.raises(SpinMultiNetError, match=r"^model options: ModelOptions: input_moments: converged needs"):
        model_with(tiny_options, input_moments="converged", **changes)


def test_a_model_of_collinear_data_warns_once_of_moments_that_are_not_parallel(tiny_options):
    model = model_with(tiny_options)
    model.metadata["spin_axes"] = 1
    along = np.outer(SCALARS, [0.6, 0.0, 0.8])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(model, [pair(SCALARS), pair(along)])  # the same state twice
    with pytest.warns(NoncollinearWarning, match="biquadratic"):
        predict(model, [pair(VECTORS)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(model, [pair(VECTORS)])
        other = model_with(tiny_options)
        other.metadata["spin_axes"] = 3
        predict(other, [pair(VECTORS)])


def test_the_calculator_takes_both(tiny_options):
    calculator = SpinMultiNetCalculator(model_with(tiny_options))
    energies = []
    for moments in (SCALARS, np.outer(SCALARS, [0.0, 0.6, 0.8])):
        atoms = Atoms("NiNi", [[0, 0, 0], [2.2, 0, 0]], magmoms=moments)
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        assert atoms.get_magnetic_moments().shape == np.shape(moments)
    assert energies[0] == pytest.approx(energies[1], abs=1e-10)


@pytest.mark.parametrize("kind", ["given", "converged"])
def test_wrong_labels_do_not_disturb_a_prediction(tiny_options, nio, kind):
    model = model_with(tiny_options, input_moments=kind, moments=False)
    before = predict(model, nio[:1])[0]["energy"]
    nio[0].calc.results |= {"free_energy": -4e5, "stress": np.zeros(5), "forces": np.zeros(3)}
    assert predict(model, nio[:1])[0]["energy"] == before
    with pytest.raises(SpinMultiNetError, match="stress has shape"):
        graphs_of(model, nio[:1], "training")
