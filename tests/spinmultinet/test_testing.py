"""The asserts themselves: each must catch the fault it is for."""

import numpy as np
import pytest

from spinmultinet import build_model, testing


def base(atoms):
    """A tiny exact 'model': pairs through 1/r^2, moments coupled to neighbours."""
    m = atoms.arrays["magmom_in"]
    d = atoms.positions[:, None] - atoms.positions[None]
    r2 = (d**2).sum(-1) + np.eye(len(atoms))
    w = (1 + np.outer(m, m)) / r2 * (1 - np.eye(len(atoms)))
    forces = 2 * (w / r2)[:, :, None] * d
    return {"energy": 0.5 * w.sum(), "forces": forces.sum(1), "stress": np.full((3, 3), np.nan), "magmoms": 0.8 * m}


def spoiled(key, value):
    def predict(atoms):
        out = base(atoms)
        out[key] = out[key] + value(atoms)
        return out

    return predict


@pytest.fixture
def atoms():
    return testing.random_structure(np.random.default_rng(0), periodic=False)


def test_a_sound_model_passes(atoms):
    testing.check_all(base, atoms, np.random.default_rng(1))


@pytest.mark.parametrize(
    "predict",
    [
        spoiled("energy", lambda a: 1e-3 * a.positions[0, 0]),
        spoiled("energy", lambda a: 1e-3 * a.arrays["magmom_in"].sum()),
        spoiled("energy", lambda a: 1e-3 * np.linalg.norm(a.positions[0] - a.positions[1])),
        spoiled("energy", lambda a: 1e-3 * np.linalg.det(a.positions[1:4] - a.positions[0])),
        spoiled("forces", lambda a: 1e-3),
        spoiled("magmoms", lambda a: 1e-3),
        spoiled("magmoms", lambda a: 1e-3 * np.arange(len(a))),
    ],
)
def test_a_broken_symmetry_is_caught(predict, atoms):
    with pytest.raises(AssertionError):
        testing.check_all(predict, atoms, np.random.default_rng(1))


def test_dead_spin_is_caught(atoms):
    testing.check_spin_matters(base, atoms, 1)
    with pytest.raises(AssertionError, match="dead"):
        testing.check_spin_matters(lambda a: {"energy": 1.0}, atoms, 1)


def test_wrong_stress_and_extensivity_are_caught():
    model = build_model({"layers": 1, "channels": 2, "l_max": 1, "cutoff": 3.0, "dtype": "float64"}, ["Ni", "O"])
    good = testing.predictor(model)
    atoms = testing.random_structure(np.random.default_rng(3))
    testing.check_stress(good, atoms)
    testing.check_supercell(good, atoms)
    with pytest.raises(AssertionError, match="stress"):
        testing.check_stress(lambda a: {**good(a), "stress": 1.01 * good(a)["stress"] + 1e-4}, atoms)
    with pytest.raises(AssertionError, match="supercell"):
        testing.check_supercell(lambda a: {**good(a), "energy": good(a)["energy"] + 1.0}, atoms)


def test_random_structures_are_reproducible_and_not_too_close():
    a, b = (testing.random_structure(np.random.default_rng(5), axes=3) for _ in range(2))
    assert a == b
    assert a.arrays["magmom_in"].shape == (4, 3)
    assert not a.arrays["magmom_in"][0].any()
