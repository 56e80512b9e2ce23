"""Reading moments and labels, neighbour lists, batches, refusals."""

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from spinmultinet import SpinMultiNetError
from spinmultinet.data import (
    _reversed,
    batches,
    check_training_set,
    collate,
    fingerprint,
    input_moments,
    labels,
    neighbours,
    species_of,
    to_graph,
    unit_doubts,
)


def test_moments_come_from_the_array_then_from_ase_then_nowhere():
    atoms = Atoms("NiO", [[0, 0, 0], [2, 0, 0]])
    with pytest.raises(SpinMultiNetError, match="magmom_in"):
        input_moments(atoms, "frame 3")
    atoms.set_initial_magnetic_moments([1.0, 0.0])
    assert input_moments(atoms).tolist() == [1.0, 0.0]
    atoms.set_array("magmom_in", np.array([-2.0, 0.0]))
    assert input_moments(atoms).tolist() == [-2.0, 0.0]
    assert input_moments(Atoms("Ni"), required=False).tolist() == [0.0]


def test_moments_that_are_not_finite_name_the_atom():
    atoms = Atoms("NiO", [[0, 0, 0], [2, 0, 0]])
    atoms.set_array("magmom_in", np.array([1.0, np.nan]))
    with pytest.raises(SpinMultiNetError, match="atom 1"):
        input_moments(atoms)


def test_vector_moments_to_a_collinear_model_are_refused_and_the_reverse_is_embedded():
    atoms = Atoms("Ni")
    atoms.set_array("magmom_in", np.array([[0.0, 0.0, 1.0]]))
    with pytest.raises(SpinMultiNetError, match="collinear"):
        to_graph(atoms, ["Ni"], 3.0, 1)
    del atoms.arrays["magmom_in"]
    atoms.set_array("magmom_in", np.array([1.5]))
    assert to_graph(atoms, ["Ni"], 3.0, 3).moments.tolist() == [[0.0, 0.0, 1.5]]


def test_unknown_species_is_named():
    atoms = Atoms("NiMn", [[0, 0, 0], [2, 0, 0]], magmoms=[1, 1])
    with pytest.raises(SpinMultiNetError, match="Mn unknown to the model, which knows Ni, O"):
        to_graph(atoms, ["Ni", "O"], 3.0)


@pytest.mark.parametrize("cutoff", [2.5, 5.0])
@pytest.mark.parametrize("pbc", [True, False, [True, True, False]])
def test_neighbours_agree_with_ase(cutoff, pbc):
    atoms = bulk("NiO", "rocksalt", a=4.17) * (1, 2, 1)
    atoms.rattle(0.1, seed=1)
    atoms.pbc = pbc
    i, j, shift, reverse = neighbours(atoms, cutoff)
    vectors = atoms.positions[j] - atoms.positions[i] + shift
    np.testing.assert_array_equal(vectors[reverse], -vectors)
    assert (reverse != np.arange(len(i))).all()  # an atom and its own image too are a pair
    ri, rj, rd = neighbor_list("ijD", atoms, cutoff)
    ours = sorted((a, b, *np.round(v, 6)) for a, b, v in zip(i, j, vectors, strict=True))
    theirs = sorted((a, b, *np.round(v, 6)) for a, b, v in zip(ri, rj, rd, strict=True))
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(np.array(ours, float), np.array(theirs, float), atol=1e-5)


def test_a_pair_without_its_reverse_leaves_all_pairs_alone():
    """Rounding at the cutoff: the search then gives (0, 1) and (1, 0), but only one direction of a third pair."""
    i, j = np.array([0, 0, 1]), np.array([1, 1, 0])
    shifts = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 0]])
    assert _reversed(i, j, shifts).tolist() == [0, 1, 2]
    both = np.array([[0, 0, 0], [0, 0, 1], [0, 0, -1], [0, 0, 0]])
    assert _reversed(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]), both).tolist() == [3, 2, 1, 0]


def test_periodic_without_cell_is_refused():
    with pytest.raises(SpinMultiNetError, match="cell"):
        neighbours(Atoms("Ni", pbc=True), 3.0)


def test_labels_survive_extended_xyz(tmp_path, nio):
    ase.io.write(tmp_path / "a.extxyz", nio[:1])
    again = ase.io.read(tmp_path / "a.extxyz")
    first, second = labels(nio[0], 1, ""), labels(again, 1, "")
    for key, value in first.items():
        np.testing.assert_allclose(second[key], value, atol=1e-7)
        assert np.isfinite(value).all() or key == "magnetic_forces"
    np.testing.assert_allclose(first["stress"][0][0, 1], nio[0].calc.results["stress"][5])


def test_free_energy_is_preferred(nio):
    atoms = nio[0]
    atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 0.5
    assert labels(atoms, 1, "")["energy"][0] == atoms.calc.results["energy"] - 0.5


@pytest.mark.parametrize("per_atom", [-1e5, 1e5, 1e8])
def test_energies_in_a_wrong_unit_are_refused(nio, per_atom):
    nio[0].calc.results["energy"] = per_atom * len(nio[0])
    with pytest.raises(SpinMultiNetError, match="total energies in eV"):
        labels(nio[0], 1, "structure 0")


def test_energies_that_differ_too_much_are_noticed(nio):
    for atoms in nio:
        atoms.calc.results["energy"] *= 1000  # meV taken for eV
    (note,) = unit_doubts(nio)
    assert note.startswith("energies of NiO span")
    assert note.endswith("they must be total energies in eV, all from one kind of calculation")
    assert unit_doubts(nio, labelled=False) == []


def test_two_atoms_in_one_place_are_refused(nio):
    nio[0].positions[1] = nio[0].positions[3]
    with pytest.raises(SpinMultiNetError, match=r"structure 7: atoms 1 and 3 .* 0 Angstrom apart"):
        neighbours(nio[0], 3.0, "structure 7")


def test_an_unfit_moment_is_named_wherever_it_is_found_first(nio):
    nio[3].arrays["magmom_in"][1] = np.nan
    with pytest.raises(SpinMultiNetError, match=r"structure 3.*atom 1"):
        fingerprint(nio)


@pytest.mark.parametrize("shape", [(4, 1), (4, 3)])
def test_magnetic_forces_survive_extended_xyz(tmp_path, nio, shape):
    values = np.arange(np.prod(shape)).reshape(shape) / 7
    nio[0].set_array("magnetic_forces", values[:, 0] if shape[1] == 1 else values)
    ase.io.write(tmp_path / "a.extxyz", nio[:1])
    again = labels(ase.io.read(tmp_path / "a.extxyz"), shape[1], "")
    np.testing.assert_allclose(again["magnetic_forces"], values, atol=1e-7)


def test_magnetic_forces_of_guesses_are_refused(nio):
    nio[2].set_array("magnetic_forces", np.zeros(4))
    with pytest.raises(SpinMultiNetError, match=r"structure 2.* has magnetic_forces .1 in all.*'guess'.*constraint"):
        check_training_set(nio, [])
    for atoms in nio:
        atoms.info["moment_role"] = "constraint"
    assert check_training_set(nio, [])["moment_role"] == "constraint"


def test_values_per_atom_have_one_or_three_components(nio):
    nio[0].set_array("magnetic_forces", np.zeros((4, 2)))
    with pytest.raises(SpinMultiNetError, match=r"structure 0, magnetic_forces.*\(4, 2\)"):
        labels(nio[0], 1, "structure 0")


def test_forces_of_another_shape_are_refused(nio):
    nio[0].calc.results["forces"] = np.zeros(12)
    with pytest.raises(SpinMultiNetError, match=r"forces have shape \(12,\); expected \(4, 3\)"):
        labels(nio[0], 1, "structure 0")


def test_all_electron_energies_are_taken(nio):
    """Ni2O2 of an all-electron code: 2 (1507.7 + 74.8) hartree."""
    nio[0].calc.results["energy"] = -86_124.0
    assert labels(nio[0], 1, "")["energy"][0] == -86_124.0


def test_stress_in_gpa_is_noticed(nio):
    assert unit_doubts(nio) == []
    nio[3].calc.results["stress"] = np.full(6, 12.0)
    (note,) = unit_doubts(nio)
    assert "structure 3" in note
    assert "eV/Angstrom^3" in note
    nio[4].arrays["magmom_in"][:] = 1e3
    assert [n.split()[0] for n in unit_doubts(nio)] == ["stress", "moments"]


def test_absent_labels_are_nan():
    found = labels(Atoms("NiO"), 1, "")
    assert all(np.isnan(v).all() for v in found.values())


def test_collate_shifts_indices(nio):
    graphs = [to_graph(a, ["O", "Ni"], 3.0) for a in nio[:3]]
    both = collate(graphs)
    assert both.structure.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len(both.receiver) == sum(len(g.receiver) for g in graphs)
    assert torch.equal(both.edge_vectors(), torch.cat([g.edge_vectors() for g in graphs]))


def test_batches_keep_both_budgets(nio):
    graphs = [to_graph(a, ["O", "Ni"], 3.0) for a in nio[:6]]
    edges = len(graphs[0].receiver)
    assert list(batches(graphs, [5, 4, 3, 2, 1, 0], 4, 10**9)) == [[5, 4, 3, 2], [1, 0]]
    small = list(batches(graphs, range(6), 99, 2 * edges))
    assert [k for b in small for k in b] == list(range(6))
    assert all(len(b) == 1 or sum(len(graphs[k].receiver) for k in b) <= 2 * edges for b in small)
    assert len(small) > 1
    assert list(batches(graphs, range(2), 9, 1)) == [[0], [1]]


@pytest.mark.parametrize(("key", "value"), [("level_id", "other"), ("moment_role", "constraint")])
def test_mixed_training_sets_are_refused(nio, key, value):
    nio[3].info[key] = value
    with pytest.raises(SpinMultiNetError, match=f"mixes {key}.*{value}"):
        check_training_set(nio[:2], nio[2:])


def test_empty_and_unlabelled_training_sets_are_refused(nio):
    with pytest.raises(SpinMultiNetError, match="empty"):
        check_training_set([], [])
    nio[1].calc = None
    with pytest.raises(SpinMultiNetError, match="structure 1 has no finite energy"):
        check_training_set(nio, [])
    assert check_training_set(nio[:1], [])["moment_role"] == "guess"


def test_fingerprint_sees_labels_and_moments(nio):
    before = fingerprint(nio)
    assert fingerprint(nio) == before
    nio[0].arrays["magmom_in"][0] *= -1
    changed = fingerprint(nio)
    nio[0].calc.results["forces"][0, 0] += 1e-6
    assert len({before, changed, fingerprint(nio)}) == 3


def test_species_are_sorted_by_number():
    assert species_of([Atoms("NiO"), Atoms("Mn")]) == ["O", "Mn", "Ni"]
