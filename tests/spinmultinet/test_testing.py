"""The asserts themselves: each must catch the fault it is for."""

import numpy as np
import pytest

from spinmultinet import build_model, testing


def base(atoms):
    """A tiny exact 'model': pairs through 1/r^2, moments (scalars or vectors) coupled to neighbours."""
    m = atoms.arrays["magmom_in"].reshape(len(atoms), -1)
    d = atoms.positions[:, None] - atoms.positions[None]
    r2 = (d**2).sum(-1) + np.eye(len(atoms))
    pairs = (1 - np.eye(len(atoms))) / r2
    w = (1 + m @ m.T) * pairs
    forces = 2 * (w / r2)[:, :, None] * d
    out = {"energy": 0.5 * w.sum(), "forces": forces.sum(1), "stress": np.full((3, 3), np.nan)}
    per_moment = {"magmoms": 0.8 * m, "magnetic_forces": -pairs @ m}
    return out | {k: v.reshape(atoms.arrays["magmom_in"].shape) for k, v in per_moment.items()}


def spoiled(key, value):
    def predict(atoms):
        out = base(atoms)
        out[key] = out[key] + value(atoms)
        return out

    return predict


@pytest.fixture
def atoms():
    return testing.random_structure(np.random.default_rng(0), periodic=False)


@pytest.mark.parametrize("axes", [1, 3])
def test_a_sound_model_passes(axes):
    atoms = testing.random_structure(np.random.default_rng(0), periodic=False, axes=axes)
    testing.check_all(base, atoms, np.random.default_rng(1))
    if axes == 1:
        testing.check_embedding(base, atoms, [1.0, 2.0, -0.5])
    else:
        testing.check_all(base, atoms, np.random.default_rng(1), spin_orbit=True)


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


def first_component(a):
    return 1e-3 * a.arrays["magmom_in"].reshape(len(a), -1)[:, 0] ** 2


def along_a_bond(a):
    """Anisotropy: no separate rotation of the spins leaves it alone, a joint one does."""
    bond = a.positions[1] - a.positions[0]
    return 1e-3 * ((a.arrays["magmom_in"] @ bond) ** 2).sum()


def towards_a_neighbour(a):
    """A polar vector where an axial one belongs: right under rotations, wrong under inversion."""
    return 1e-3 * (a.arrays["magmom_in"] @ (a.positions[1] - a.positions[0])).sum() ** 3


def test_broken_rotations_of_vectors_are_caught():
    atoms = testing.random_structure(np.random.default_rng(0), periodic=False, axes=3)
    turn, inversion = np.roll(np.eye(3), 1, axis=0), -np.eye(3)
    anisotropic = spoiled("energy", along_a_bond)
    testing.check_joint_rotation(anisotropic, atoms, turn)
    testing.check_joint_rotation(anisotropic, atoms, inversion)
    with pytest.raises(AssertionError, match="spin rotation: energy"):
        testing.check_spin_rotation(anisotropic, atoms, turn)
    with pytest.raises(AssertionError, match="joint rotation: energy"):
        testing.check_joint_rotation(spoiled("energy", lambda a: first_component(a).sum()), atoms, turn)
    polar = spoiled("energy", towards_a_neighbour)
    testing.check_joint_rotation(polar, atoms, turn)
    with pytest.raises(AssertionError, match="joint rotation: energy"):
        testing.check_joint_rotation(polar, atoms, inversion)
    fixed = spoiled("magmoms", lambda a: np.array([1e-3, 0, 0]))
    for check in (testing.check_spin_rotation, testing.check_joint_rotation):
        with pytest.raises(AssertionError, match="moments"):
            check(fixed, atoms, turn)


def test_an_embedding_that_differs_is_caught(atoms):
    preferred = spoiled("energy", lambda a: first_component(a).sum())
    with pytest.raises(AssertionError, match="embedding: energy"):
        testing.check_embedding(preferred, atoms, [0.0, 0.0, 1.0])


def test_wrong_magnetic_forces_are_caught(atoms):
    testing.check_magnetic_forces(base, atoms, 1)
    with pytest.raises(AssertionError, match="magnetic force on atom 1"):
        testing.check_magnetic_forces(spoiled("magnetic_forces", lambda a: 1e-3), atoms, 1)


@pytest.mark.parametrize(
    ("depth", "message"),
    [(lambda r: 1e-3 * (r < 3.0), "at the cutoff"), (lambda r: 1e-3 / r, "beyond"), (lambda r: 0.0, "not act")],
)
def test_steps_at_the_cutoff_are_caught(depth, message):
    def predict(atoms):
        return {"energy": depth(atoms.positions[1, 0]), "forces": np.zeros((2, 3))}

    with pytest.raises(AssertionError, match=message):
        testing.check_smooth(predict, 3.0, np.array([2.0, -1.0]))


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
