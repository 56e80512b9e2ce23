"""Spin-orbit coupling: the operators themselves, and the physics a network with them has and one without lacks."""

import numpy as np
import pytest
import torch
from ase import Atoms
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spinmultinet import SpinMultiNetError, build_model
from spinmultinet.nn.coupling import hidden_irreps
from spinmultinet.nn.soc import SPIN, Path, SpinOrbit, operator, paths
from spinmultinet.testing import predictor

seeds = st.integers(0, 2**32 - 1)
LEVI_CIVITA = torch.tensor(np.cross(np.eye(3)[:, None], np.eye(3)[None]))  # [a, b, c] of (e_a x e_b)_c


def make(seed=0, **changes):
    options = {"layers": 2, "channels": 3, "cutoff": 4.5, "radial_hidden": [6], "dtype": "float64", "soc": True}
    return build_model(options | changes, ["Ni", "O"], seed).eval()


def energy(model, symbols, positions, moments, **cell):
    atoms = Atoms(symbols, positions, **cell)
    atoms.set_array("magmom_in", np.asarray(moments, dtype=float))
    return predictor(model)(atoms)["energy"]


def test_couplings_of_natural_parity_up_to_l_2():
    found = set(paths(hidden_irreps(2, False), [0, 1, 2]))
    squares = {Path(1, 1, 1), Path(2, 2, 1), Path(1, 1, 2), Path(2, 2, 2)}
    assert found == squares | {Path(0, 2, 2), Path(2, 0, 2)}
    assert set(paths(hidden_irreps(2, False), [0, 1])) == {Path(1, 1, 1), Path(1, 1, 2)}


@pytest.mark.parametrize("parity", [False, True])
def test_operators_are_joint_scalars_and_not_separate_ones(parity):
    """(D_l'(R) x R) Op = Op (D_l(R) x R), inversion included; R on the spins alone does not commute."""
    torch.manual_seed(0)
    irreps = hidden_irreps(3, parity)
    rotation = o3.rand_matrix().double()
    for p in paths(irreps, list(range(len(irreps)))):
        source, target = irreps[p.source], irreps[p.target]
        assert source.p == target.p
        matrix, one = operator(source, target, p.rank), torch.eye(3, dtype=torch.float64)
        spin = SPIN.D_from_matrix(rotation)
        after = torch.kron(target.D_from_matrix(rotation), spin) @ matrix
        torch.testing.assert_close(after, matrix @ torch.kron(source.D_from_matrix(rotation), spin), atol=1e-6, rtol=0)
        alone = torch.kron(torch.eye(target.dim).double(), rotation) @ matrix
        assert (alone - matrix @ torch.kron(torch.eye(source.dim).double(), rotation)).abs().max() > 1e-2
        assert (matrix**2).sum().item() == pytest.approx(target.dim * one.shape[0])


def test_rank_one_is_the_product_l_s():
    """For l = 1: (L_k)_ab (S_k)_st summed over k, with generators -i eps_kab and -i eps_kst."""
    expected = -torch.einsum("kab,kst->asbt", LEVI_CIVITA, LEVI_CIVITA).reshape(9, 9)
    found = operator(o3.Irrep("1o"), o3.Irrep("1o"), 1)
    ratio = (found * expected).sum() / (expected**2).sum()
    torch.testing.assert_close(found, ratio * expected)


def test_from_quadrupole_to_axial_vector_is_the_dipole_field():
    """Y_2(r) b, a neighbour's moment seen along r, becomes a field along 3 r (r.b) - b."""
    r = torch.nn.functional.normalize(torch.tensor([0.3, -0.7, 0.5], dtype=torch.float64), dim=0)
    b = torch.tensor([0.2, 0.9, -0.4], dtype=torch.float64)
    y = o3.spherical_harmonics(2, r, normalize=False)
    field = operator(o3.Irrep("2e"), o3.Irrep("0e"), 2) @ torch.outer(y, b).flatten()
    expected = 3 * r * (r @ b) - b
    torch.testing.assert_close(torch.linalg.cross(field, expected), torch.zeros(3).double(), atol=1e-6, rtol=0)
    assert field.norm() > 0.1


def test_block_is_additive_and_odd():
    torch.manual_seed(1)
    block = SpinOrbit(hidden_irreps(2, False), [0, 1, 2], 4, 0.3).double()
    odd = {k: torch.randn(5, 2 * k + 1, 3, 4, dtype=torch.float64) for k in range(3)}
    out, back = block(odd), block({k: -x for k, x in odd.items()})
    for k in odd:
        torch.testing.assert_close(out[k], -back[k])
        assert (out[k] - odd[k]).abs().max() > 1e-4
    torch.nn.init.zeros_(block.weight)
    assert all(torch.equal(x, odd[k]) for k, x in block(odd).items())


@settings(max_examples=3, deadline=None)
@given(seed=seeds)
def test_without_weights_of_the_block_nothing_differs_from_a_model_without_it(seed):
    from spinmultinet.testing import random_structure

    plain, coupled = make(seed, soc=False), make(seed)
    assert plain.state_dict().keys() == {k for k in coupled.state_dict() if not k.startswith("spin_orbit")}
    assert all(torch.equal(v, coupled.state_dict()[k]) for k, v in plain.state_dict().items())
    atoms = random_structure(np.random.default_rng(seed), axes=3)
    a, b = predictor(plain)(atoms), predictor(coupled)(atoms)
    assert abs(a["energy"] - b["energy"]) > 1e-6
    torch.nn.init.zeros_(coupled.spin_orbit[0].weight)
    b = predictor(coupled)(atoms)
    for key in ("energy", "forces", "stress", "magmoms"):
        assert np.array_equal(a[key], b[key])


@settings(max_examples=3, deadline=None)
@given(seed=seeds)
def test_dipolar_coupling_and_anisotropy(seed):
    """A pair of moments along and across its bond; one moment beside an O, along and across (single-ion anisotropy)."""
    along, across = np.array([2.0, 0, 0]), np.array([0, 0, 2.0])
    for symbols, spins in (("NiNi", (1, 1)), ("NiO", (1, 0))):
        bond = [[0, 0, 0], [2.1, 0, 0]]
        for soc in (True, False):
            model = make(seed, soc=soc)
            change = energy(model, symbols, bond, np.outer(spins, along)) - energy(
                model, symbols, bond, np.outer(spins, across)
            )
            assert abs(change) > 1e-7 if soc else abs(change) < 1e-10


@pytest.mark.parametrize(("soc", "polar"), [(True, True), (True, False), (False, True)])
@settings(max_examples=3, deadline=None)
@given(seed=seeds)
def test_handedness_of_a_spiral(soc, polar, seed):
    """Right and left spirals along a chain differ (Dzyaloshinskii-Moriya) without inversion centre, and only then.

    Ni along x with O above each bond (polar), or above and below (with inversion); four Ni per period, 90 degrees each.
    """
    model, step = make(seed, soc=soc), 2.6
    positions = [[step * n, 0, 0] for n in range(4)] + [[step * (n + 0.5), 1.4, 0] for n in range(4)]
    if not polar:
        positions += [[step * (n + 0.5), -1.4, 0] for n in range(4)]
    cell = {"cell": [4 * step, 12, 12], "pbc": [True, False, False]}
    angle = np.pi / 2 * np.arange(4)
    energies = []
    for hand in (1, -1):
        moments = np.zeros((len(positions), 3))
        moments[:4] = 2 * np.stack([np.cos(angle), hand * np.sin(angle), 0 * angle], axis=1)
        energies.append(energy(model, ["Ni"] * 4 + ["O"] * (len(positions) - 4), positions, moments, **cell))
    difference = abs(energies[0] - energies[1])
    assert difference > 1e-8 if soc and polar else difference < 1e-10


def test_separate_rotation_of_the_spins_costs_energy_with_coupling_only():
    from spinmultinet.testing import check_spin_rotation, random_structure

    atoms = random_structure(np.random.default_rng(2), axes=3)
    turn = Rotation.from_rotvec([0.3, 0.5, -0.2]).as_matrix()
    check_spin_rotation(predictor(make(soc=False)), atoms, turn)
    with pytest.raises(AssertionError, match="spin rotation: energy"):
        check_spin_rotation(predictor(make()), atoms, turn)


def test_neighbours_cant_a_predicted_moment_out_of_its_direction():
    """The axial vectors of l = 2 reach the moments: one Ni beside an oblique O need not keep its direction."""
    atoms = Atoms("NiO", [[0, 0, 0], [1.4, 1.4, 0]])
    atoms.set_array("magmom_in", np.array([[2.0, 0, 0], [0, 0, 0]]))
    found = predictor(make())(atoms)["magmoms"][0]
    assert abs(found[1]) > 1e-6
    assert abs(found[2]) < 1e-10  # forbidden by the mirror plane of the molecule together with time reversal
    assert abs(predictor(make(soc=False))(atoms)["magmoms"][0][1]) < 1e-12


@pytest.mark.parametrize(
    "changes", [{"spin": False}, {"time_reversal": "invariant"}, {"l_max": 0}, {"layers": 1}], ids=str
)
def test_options_that_leave_nothing_to_couple_are_refused(changes):
    with pytest.raises(SpinMultiNetError, match="soc: true needs"):
        make(**changes)


def test_scalars_are_refused():
    with pytest.raises(SpinMultiNetError, match=r"must know where they point; give vectors"):
        energy(make(), "NiO", [[0, 0, 0], [2, 0, 0]], [2.0, 0.0])
    from spinmultinet.data import to_graph

    atoms = Atoms("Ni", magmoms=[1.0])
    with pytest.raises(SpinMultiNetError, match="wants vectors"):
        make()(to_graph(atoms, ["Ni", "O"], 4.5))
