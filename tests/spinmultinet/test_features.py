"""Features of structures: invariance, gradients against autograd, every kind of model."""

import numpy as np
import pytest
import torch

from spinmultinet import SpinMultiNetError, build_model
from spinmultinet.data import collate
from spinmultinet.evaluate import graphs_of
from spinmultinet.features import gradient_features, structure_features
from spinmultinet.testing import random_structure

SPECIES = ["Ni", "O"]
KINDS = [structure_features, gradient_features]


@pytest.fixture
def model(tiny_options):
    return made(tiny_options)


def made(options, **changes):
    model = build_model(options.model_copy(update={"dtype": "float64", **changes}), SPECIES, seed=1)
    model.energy_readout.scale.copy_(torch.tensor([0.3, 0.7]))
    if model.moment_readout is not None:
        model.moment_readout.scale.copy_(torch.tensor([1.5, 0.2]))
    return model


def structure(axes=1, seed=0):
    return random_structure(np.random.default_rng(seed), SPECIES, 4, axes=axes)


def turned(atoms, matrix):
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ matrix.T)
    out.positions = atoms.positions @ matrix.T
    return out


def random_rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def changed(atoms, what):
    out = atoms.copy()
    if what == "rotation":
        return turned(atoms, random_rotation(3))
    if what == "inversion":
        return turned(atoms, -np.eye(3))
    if what == "permutation":
        return atoms[[2, 0, 3, 1]]
    if what == "translation":
        out.positions += [0.3, -1.2, 0.7]
    if what == "time reversal":
        out.arrays["magmom_in"] = -atoms.arrays["magmom_in"]
    if what == "rotation of spins":
        out.arrays["magmom_in"] = atoms.arrays["magmom_in"] @ random_rotation(5).T
    if what == "supercell":
        return atoms.repeat((2, 1, 1))
    return out


SYMMETRIES = ["rotation", "inversion", "permutation", "translation", "time reversal", "supercell"]


@pytest.mark.parametrize("features", KINDS)
@pytest.mark.parametrize(
    ("axes", "what"), [(3, "rotation of spins"), *((axes, what) for axes in (1, 3) for what in SYMMETRIES)]
)
def test_symmetries_leave_features_as_they_are(model, features, axes, what):
    atoms = structure(axes)
    first, second = features(model, [atoms, changed(atoms, what)])
    np.testing.assert_allclose(second, first, rtol=0, atol=1e-9 * np.abs(first).max())


@pytest.mark.parametrize("features", KINDS)
def test_another_ordering_has_other_features(model, features):
    atoms = structure()
    other = atoms.copy()
    other.arrays["magmom_in"] = atoms.arrays["magmom_in"] * [1, -1, 1, 1]
    first, second = features(model, [atoms, other])
    assert np.abs(first - second).max() > 1e-3 * np.abs(first).max()


@pytest.mark.parametrize("axes", [1, 3])
def test_gradients_are_those_of_autograd(model, axes):
    frames = [structure(axes, seed) for seed in range(3)]
    found = gradient_features(model, frames, forces=0)
    channels = model.options.channels
    for atoms, row in zip(frames, found, strict=True):
        out = model.train()(collate(graphs_of(model, [atoms])))
        (energy,) = torch.autograd.grad(
            out["energy"].sum() / len(atoms), model.energy_readout.weight, retain_graph=True
        )
        np.testing.assert_allclose(row[: 2 * channels].reshape(2, channels).sum(0), energy.numpy(), atol=1e-10)
        squares = np.zeros((2, channels))
        for site, moment in enumerate(out["moments"]):
            for component in moment:
                (slope,) = torch.autograd.grad(component, model.moment_readout.weight, retain_graph=True)
                squares[SPECIES.index(atoms.symbols[site])] += slope.numpy() ** 2
        np.testing.assert_allclose(row[2 * channels :], np.sqrt(squares / len(atoms)).ravel(), atol=1e-10)


def test_force_block_is_the_root_mean_square_of_forces_under_random_weights(model):
    atoms = structure()
    found = gradient_features(model, [atoms], forces=3)[0, 8:14].reshape(2, 3)
    weights = np.random.default_rng(0).normal(size=(4, 3))
    weights /= np.linalg.norm(weights, axis=0)
    for k in range(3):
        with torch.no_grad():
            model.energy_readout.weight.copy_(torch.as_tensor(weights[:, k]))
        forces = model.eval()(collate(graphs_of(model, [atoms])))["forces"].numpy()
        for z, symbol in enumerate(SPECIES):
            mine = forces[np.array(atoms.get_chemical_symbols()) == symbol]
            assert found[z, k] == pytest.approx(np.sqrt(np.sum(mine**2) / len(atoms)), rel=1e-9)


@pytest.mark.parametrize(
    ("changes", "learned", "gradients"),
    [
        pytest.param({}, 16, 24, id="odd"),
        pytest.param({"moments": False}, 16, 16, id="no moments"),
        pytest.param({"time_reversal": "invariant"}, 8, 24, id="no odd sector"),
        pytest.param({"spin": False}, 8, 24, id="no spin"),
    ],
)
def test_every_kind_of_model(tiny_options, changes, learned, gradients):
    model = made(tiny_options, **changes)
    frames = [structure(seed=seed) for seed in range(3)]
    for found, columns in (
        (structure_features(model, frames), learned),
        (gradient_features(model, frames, forces=4), gradients),
    ):
        assert found.shape == (3, columns)
        assert np.isfinite(found).all()
        assert np.ptp(found, axis=0).max() > 0


def test_vectors_and_numbers_share_a_call(model):
    frames = [structure(), structure(3, 1), structure(1, 2)]
    together = gradient_features(model, frames)
    for atoms, row in zip(frames, together, strict=True):
        np.testing.assert_allclose(row, gradient_features(model, [atoms])[0], atol=1e-12)


def test_order_batches_and_progress(model):
    frames = [structure(seed=seed) for seed in range(70)]
    told = []
    found = structure_features(model, frames, told.append)
    assert told == [pytest.approx(64 / 70), 1.0]
    np.testing.assert_allclose(found[[69, 3]], structure_features(model, [frames[69], frames[3]]), atol=1e-12)


def test_model_is_left_as_it_was(model):
    model.train()
    gradient_features(model, [structure()])
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_sketch_keeps_scalar_products_roughly_and_is_the_same_every_time(model):
    frames = [structure(seed=seed) for seed in range(20)]
    full = gradient_features(model, frames)
    small = gradient_features(model, frames, sketch=20)
    assert small.shape == (20, 20)
    np.testing.assert_array_equal(small, gradient_features(model, frames, sketch=20))
    ratio = np.linalg.norm(small, axis=1) / np.linalg.norm(full, axis=1)
    assert ratio.min() > 0.4
    assert ratio.max() < 1.8
    np.testing.assert_array_equal(gradient_features(model, frames, sketch=10_000), full)


def test_no_frames_and_unknown_species(model):
    assert structure_features(model, []).shape[0] == 0
    frames = [structure(), structure()]
    frames[1].symbols[:] = "Fe"
    with pytest.raises(SpinMultiNetError, match="structure 1: species Fe unknown"):
        structure_features(model, frames)
