"""Exactness in float64 over random structures, weights and options; derivatives; and spin channels that are alive."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from spinmultinet import SpinMultiNetError, build_model
from spinmultinet.evaluate import predict
from spinmultinet.testing import (
    check_all,
    check_embedding,
    check_forces,
    check_magnetic_forces,
    check_smooth,
    check_spin_matters,
    check_stress,
    check_time_reversal,
    predictor,
    random_structure,
)

# Options, and components of the moments. The variants of the paper's tables are among them.
VARIANTS = {
    "collinear": ({}, 1),
    "vectors": ({}, 3),
    "parity": ({"parity": True}, 3),
    "deep": ({"layers": 3, "l_max": 1}, 1),
    "matrices per species": ({"species_channels": 2}, 3),
    "no spin": ({"spin": False}, 1),
    "no moments": ({"moments": False}, 1),
    "soc": ({"soc": True}, 3),
    "deep soc": ({"soc": True, "layers": 3, "parity": True, "channels": 2}, 3),
}
seeds = st.integers(0, 2**32 - 1)


def make(seed=0, species=("Ni", "O"), **changes):
    options = {
        "layers": 2,
        "channels": 3,
        "l_max": 2,
        "cutoff": 3.5,
        "radial_hidden": [6],
        "dtype": "float64",
    } | changes
    return build_model(options, species, seed).eval()


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=3, deadline=None)
@given(seed=seeds)
def test_symmetries_and_derivatives_are_exact(variant, seed):
    """Energy, forces, stress, moments and magnetic forces; as if trained on constrained moments."""
    rng = np.random.default_rng(seed)
    options, axes = VARIANTS[variant]
    model = make(seed, **options)
    model.metadata["moment_role"] = "constraint"
    atoms = random_structure(rng, n_atoms=int(rng.integers(2, 5)), periodic=rng.random() < 0.8, axes=axes)
    check_all(predictor(model), atoms, rng, spin_orbit=model.options.soc)


@settings(max_examples=3, deadline=None)
@given(seed=seeds)
def test_invariant_variant_cannot_tell_moments_from_reversed_ones(seed):
    """The ablation of the paper: energies are still invariant, but moments come out the same for m and -m."""
    atoms = random_structure(np.random.default_rng(seed))
    p = predictor(make(seed, time_reversal="invariant"))
    flipped = atoms.copy()
    flipped.arrays["magmom_in"] *= -1
    a, b = p(atoms), p(flipped)
    np.testing.assert_allclose(a["energy"], b["energy"], atol=1e-10)
    np.testing.assert_allclose(a["magmoms"], b["magmoms"], atol=1e-10)
    assert np.abs(a["magmoms"]).max() > 1e-6
    with pytest.raises(AssertionError, match="moments"):
        check_time_reversal(p, atoms)


@pytest.mark.parametrize("options", [{}, {"parity": True, "layers": 3}, {"spin": False}], ids=str)
@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_one_model_takes_scalars_and_the_same_as_vectors(options, seed):
    rng = np.random.default_rng(seed)
    model = make(seed, **options)
    model.metadata["moment_role"] = "constraint"
    check_embedding(predictor(model), random_structure(rng), rng.normal(size=3), tol=1e-10)


@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_angles_between_moments_matter(seed):
    """Without spin-orbit coupling too; and a right angle is not half-way between parallel and antiparallel."""
    p = predictor(make(seed))
    energies = []
    for angle in (0.0, np.pi / 2, np.pi):
        pair = Atoms("NiNi", [[0, 0, 0], [2.2, 0, 0]])
        pair.set_array("magmom_in", 2.0 * np.array([[0, 0, 1], [np.sin(angle), 0, np.cos(angle)]]))
        energies.append(p(pair)["energy"])
    assert abs(energies[0] - energies[2]) > 1e-6
    assert abs(energies[0] + energies[2] - 2 * energies[1]) > 1e-8


@pytest.mark.parametrize(("options", "axes"), [({}, 1), ({}, 3), ({"soc": True}, 3)], ids=["scalars", "vectors", "soc"])
@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_spin_channels_are_alive(options, axes, seed):
    rng = np.random.default_rng(seed)
    p = predictor(make(seed, **options))
    check_spin_matters(p, random_structure(rng, n_atoms=4, axes=axes), site=2)
    # An isolated cation, and one that sees only O: without on-site paths both would always predict zero.
    for symbols, where in (("Ni", [[0, 0, 0]]), ("NiO", [[0, 0, 0], [2.0, 0, 0]])):
        lone = Atoms(symbols, where)
        moments = np.zeros((len(lone), axes))
        moments[0] = 1.5
        lone.set_array("magmom_in", moments[:, 0] if axes == 1 else moments)
        assert np.abs(p(lone)["magmoms"][0]).max() > 1e-6
        check_time_reversal(p, lone)


def test_superexchange_is_seen_within_two_layers():
    """Ni-O-Ni with the two Ni out of each other's reach: their relative sign changes the energy only through O."""
    p = predictor(make(cutoff=2.5))
    chain = Atoms("NiONi", [[0, 0, 0], [2.0, 0, 0], [4.0, 0, 0]])
    chain.set_array("magmom_in", np.array([2.0, 0.0, 2.0]))
    check_spin_matters(p, chain, site=2)


def test_no_spin_baseline_ignores_the_ordering():
    atoms = random_structure(np.random.default_rng(3))
    p = predictor(make(spin=False))
    flipped = atoms.copy()
    flipped.arrays["magmom_in"][2] *= -1
    a, b = p(atoms), p(flipped)
    assert a["energy"] == b["energy"]
    np.testing.assert_allclose(a["magmoms"][2], -b["magmoms"][2])


def test_isolated_atoms_and_empty_neighbour_lists():
    p = predictor(make())
    far = Atoms("NiNi", [[0, 0, 0], [50, 0, 0]])
    far.set_array("magmom_in", np.array([2.0, 2.0]))
    one = far[:1]
    result = p(far)
    assert result["energy"] == pytest.approx(2 * p(one)["energy"])
    assert not result["forces"].any()
    assert np.isnan(result["stress"]).all()


@pytest.mark.parametrize("scale", [0.6, 1.0])
def test_cell_smaller_than_the_cutoff(scale):
    """Self-images are neighbours: a primitive cell and its supercell agree, derivatives too."""
    rng = np.random.default_rng(5)
    p = predictor(make(cutoff=4.0))
    atoms = Atoms(
        "NiO",
        [[0, 0, 0], [1.9 * scale, 0.1, 0]],
        cell=3.2 * scale * (np.eye(3) + 0.05 * rng.normal(size=(3, 3))),
        pbc=True,
    )
    atoms.set_array("magmom_in", np.array([2.0, 0.0]))
    a, b = p(atoms), p(atoms.repeat((2, 2, 1)))
    assert b["energy"] == pytest.approx(4 * a["energy"], abs=1e-9)
    check_forces(p, atoms)
    check_stress(p, atoms, tol=1e-5)


@pytest.mark.parametrize("moments", [[2.0, -1.0], [[2.0, 0, 0], [0, 1.0, 1.0]]], ids=["scalars", "vectors"])
@pytest.mark.parametrize("soc", [False, True])
def test_smooth_as_an_atom_crosses_the_cutoff(moments, soc):
    """Energy and forces are continuous at the cutoff, whatever the moments; the envelope is C2."""
    if soc and np.ndim(moments) == 1:
        moments = np.outer(moments, [0.6, 0.0, 0.8])
    check_smooth(predictor(make(cutoff=3.0, soc=soc)), 3.0, moments)


@pytest.mark.parametrize("soc", [False, True])
def test_magnetic_forces_on_a_site_without_moment(soc):
    """Where m = 0 too: |m| has no slope there, |m|^2 and the bounded moment have."""
    model = make(soc=soc)
    model.metadata["moment_role"] = "constraint"
    atoms = random_structure(np.random.default_rng(8), axes=3)
    assert not atoms.arrays["magmom_in"][0].any()
    check_magnetic_forces(predictor(model), atoms, 0)


def test_magnetic_forces_are_for_constrained_moments_only():
    atoms = random_structure(np.random.default_rng(8))
    assert "magnetic_forces" not in predictor(make())(atoms)


def test_float32_agrees_and_huge_energies_keep_their_digits():
    atoms = random_structure(np.random.default_rng(1))
    model = make(dtype="float32")
    model.energy_readout.shift.fill_(-98765.4321)
    double = make()
    double.load_state_dict({k: v.double() if v.is_floating_point() else v for k, v in model.state_dict().items()})
    a, b = predict(model, [atoms])[0], predict(double, [atoms])[0]
    assert a["energy"] == pytest.approx(b["energy"], abs=1e-4)
    np.testing.assert_allclose(a["forces"], b["forces"], atol=1e-4)


def test_batching_changes_nothing():
    """Scalars and vectors may come in one list; each prediction is of the kind of its input."""
    frames = [random_structure(np.random.default_rng(k), n_atoms=2 + k % 3, axes=1 + k % 2 * 2) for k in range(5)]
    model = make()
    together = predict(model, frames)
    for atoms, p in zip(frames, together, strict=True):
        alone = predict(model, [atoms])[0]
        assert p["magmoms"].shape == atoms.arrays["magmom_in"].shape
        for key in ("energy", "forces", "stress", "magmoms"):
            np.testing.assert_allclose(alone[key], p[key], atol=1e-10)


def test_building_is_deterministic_and_leaves_the_random_state_alone():
    import torch

    before = torch.random.get_rng_state()
    a, b, c = make(1), make(1), make(2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.energy_readout.weight, c.energy_readout.weight)


@pytest.mark.parametrize("species", [[], ["Ni", "Ni"], ["Qq"]])
def test_bad_species(species):
    with pytest.raises(SpinMultiNetError, match="species"):
        make(species=species)
