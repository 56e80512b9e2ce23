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
    check_forces,
    check_spin_matters,
    check_stress,
    check_time_reversal,
    predictor,
    random_structure,
)

VARIANTS = {
    "collinear": {},
    "parity": {"parity": True},
    "deep": {"layers": 3, "l_max": 1},
    "three axes": {"spin_axes": 3},
    "no spin": {"spin": False},
    "no moments": {"moments": False},
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
@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_symmetries_and_derivatives_are_exact(variant, seed):
    rng = np.random.default_rng(seed)
    options = VARIANTS[variant]
    model = make(seed, **options)
    atoms = random_structure(
        rng, n_atoms=int(rng.integers(2, 5)), periodic=rng.random() < 0.8, axes=options.get("spin_axes", 1)
    )
    check_all(predictor(model), atoms, rng)


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


@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_spin_rotation_turns_moments_only(seed):
    """Three axes without spin-orbit coupling: spin space rotates on its own, improper rotations included."""
    rng = np.random.default_rng(seed)
    atoms = random_structure(rng, axes=3)
    p = predictor(make(seed, spin_axes=3))
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = atoms.copy()
    turned.arrays["magmom_in"] = atoms.arrays["magmom_in"] @ q.T
    a, b = p(atoms), p(turned)
    for key in ("energy", "forces", "stress"):
        np.testing.assert_allclose(a[key], b[key], atol=1e-9)
    np.testing.assert_allclose(a["magmoms"] @ q.T, b["magmoms"], atol=1e-9)


@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_collinear_is_embedded_noncollinear(seed):
    rng = np.random.default_rng(seed)
    atoms = random_structure(rng)
    flat, full = make(seed), make(seed, spin_axes=3)
    full.load_state_dict(flat.state_dict())
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    vector = atoms.copy()
    del vector.arrays["magmom_in"]
    vector.set_array("magmom_in", atoms.arrays["magmom_in"][:, None] * axis)
    a, b = predict(flat, [atoms])[0], predict(full, [vector])[0]
    for key in ("energy", "forces", "stress"):
        np.testing.assert_allclose(a[key], b[key], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(a["magmoms"][:, None] * axis, b["magmoms"], atol=1e-10)


@settings(max_examples=5, deadline=None)
@given(seed=seeds)
def test_spin_channels_are_alive(seed):
    rng = np.random.default_rng(seed)
    p = predictor(make(seed))
    atoms = random_structure(rng, n_atoms=4)
    check_spin_matters(p, atoms, site=2)
    # An isolated cation, and one that sees only O: without on-site paths both would always predict zero.
    for symbols, where in (("Ni", [[0, 0, 0]]), ("NiO", [[0, 0, 0], [2.0, 0, 0]])):
        lone = Atoms(symbols, where)
        lone.set_array("magmom_in", np.array([1.5, 0.0][: len(lone)]))
        assert abs(p(lone)["magmoms"][0]) > 1e-6
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


@pytest.mark.parametrize("quantity", ["energy", "forces"])
def test_smooth_as_an_atom_crosses_the_cutoff(quantity):
    """Energy and forces are continuous at the cutoff, whatever the moments; the envelope is C2."""
    p = predictor(make(cutoff=3.0))

    def at(distance):
        atoms = Atoms("NiNi", [[0, 0, 0], [distance, 0, 0]])
        atoms.set_array("magmom_in", np.array([2.0, -1.0]))
        return np.asarray(p(atoms)[quantity]).ravel()[0]

    inside, edge, outside = at(3.0 - 1e-4), at(3.0), at(3.0 + 1e-4)
    assert outside == edge
    assert abs(inside - edge) < 1e-6
    assert abs(at(2.9) - edge) > 1e-5  # but a neighbour inside does act


def test_magnetic_forces_against_finite_differences():
    from spinmultinet.data import to_graph

    atoms = random_structure(np.random.default_rng(8), axes=3)
    model = make(spin_axes=3)
    found = model(to_graph(atoms, model.species, 3.5, 3), magnetic_forces=True)["magnetic_forces"].numpy()
    p, step = predictor(model), 1e-4
    for axis in range(3):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.arrays["magmom_in"][1, axis] += sign * step
            energies.append(p(moved)["energy"])
        assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(found[1, axis], abs=1e-6)


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
    frames = [random_structure(np.random.default_rng(k), n_atoms=2 + k % 3) for k in range(5)]
    model = make()
    together = predict(model, frames)
    for atoms, p in zip(frames, together, strict=True):
        alone = predict(model, [atoms])[0]
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
