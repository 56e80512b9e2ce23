"""The adapter to torch-sim agrees with the ASE calculator, relaxes in batches and conserves energy."""

import re
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.stress import voigt_6_to_full_3x3_stress

from spinmultinet import SpinMultiNetCalculator, SpinMultiNetError, build_model
from spinmultinet.checkpoint import save_model
from spinmultinet.committee import Committee
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.inputs import NoncollinearWarning
from spinmultinet.train import train

ts = pytest.importorskip(
    "torch_sim", reason="torch-sim is not installed (Python 3.12, extra torch-sim)", exc_type=ImportError
)
adapter = pytest.importorskip("spinmultinet.torch_sim")

DATA = Path(__file__).parent / "data" / "nio_pbeu.extxyz"
OPTIONS = {"layers": 2, "channels": 4, "l_max": 2, "cutoff": 4.0, "dtype": "float64"}


def random_model(seed=1, **changes):
    return build_model(OPTIONS | changes, ["O", "Ni"], seed)


@pytest.fixture
def frames(nio):
    """Cells of 4 and 8 atoms, smaller than the cutoff, all different."""
    for atoms in nio:
        atoms.calc = None
    return [nio[0], nio[1] * (2, 1, 1), nio[4], nio[9], nio[14]]


@pytest.fixture
def vectors(frames):
    rng = np.random.default_rng(0)
    for atoms in frames:
        for name in ("magmom_in", "magmom_out"):
            atoms.arrays.pop(name, None)
        atoms.set_array("magmom_in", rng.normal(size=(len(atoms), 3)))
    return frames


def largest_difference(model, frames, state, out):
    """Per quantity, between the adapter's batch and the calculator one by one."""
    calculator = SpinMultiNetCalculator(model)
    worst = dict.fromkeys(("energy", "forces", "stress", "magmoms"), 0.0)
    for k, atoms in enumerate(frames):
        calculator.calculate(atoms)
        mine = (state.system_idx == k).numpy()
        found = {
            **{"energy": out["energy"][k].numpy(), "forces": out["forces"].numpy()[mine]},
            **{"stress": out["stress"][k].numpy(), "magmoms": out["magnetic_moments"].numpy()[mine]},
        }
        expected = dict(calculator.results)
        expected["stress"] = voigt_6_to_full_3x3_stress(expected["stress"])
        for name in worst:
            assert np.shape(found[name]) == np.shape(expected[name])
            worst[name] = max(worst[name], float(np.abs(found[name] - expected[name]).max()))
    return worst


def test_a_batch_equals_the_calculator(frames):
    model = random_model()
    wrapped = adapter.SpinMultiNetTorchSim(model)
    state = wrapped.state_of(frames)
    assert max(largest_difference(model, frames, state, wrapped(state)).values()) < 1e-10


def test_vectors_with_spin_orbit_coupling(vectors):
    model = random_model(soc=True)
    wrapped = adapter.SpinMultiNetTorchSim(model)
    state = wrapped.state_of(vectors)
    assert max(largest_difference(model, vectors, state, wrapped(state)).values()) < 1e-10


def test_a_committee_gives_means_and_spreads(frames):
    members = [random_model(0), random_model(1), random_model(2, cutoff=3.5)]
    calculator = SpinMultiNetCalculator(members)
    wrapped = adapter.SpinMultiNetTorchSim(members)
    state = wrapped.state_of(frames)
    out = wrapped(state)
    for k, atoms in enumerate(frames):
        calculator.calculate(atoms)
        mine = state.system_idx == k
        for name, ours in (("energy", "energy"), ("energy_std", "energy_std")):
            assert float(out[ours][k]) == pytest.approx(calculator.results[name], abs=1e-10)
        for name, ours in (
            ("forces", "forces"),
            ("forces_std", "forces_std"),
            ("magmoms", "magnetic_moments"),
            ("magmoms_std", "magnetic_moments_std"),
        ):
            np.testing.assert_allclose(out[ours][mine].numpy(), calculator.results[name], rtol=0, atol=1e-10)


def test_a_calibrated_committee_gives_expected_errors(frames, tmp_path):
    paths = [save_model(random_model(k), tmp_path / f"member_{k}.pt") for k in range(2)]
    committee = Committee(paths)
    committee.calibrate(ase.io.read(DATA, ":"))
    committee.save_calibration()
    calculator, wrapped = SpinMultiNetCalculator(paths), adapter.SpinMultiNetTorchSim(paths)
    state = wrapped.state_of(frames)
    out = wrapped(state)
    for k, atoms in enumerate(frames):
        calculator.calculate(atoms)
        mine = state.system_idx == k
        assert float(out["energy_sigma"][k]) == pytest.approx(calculator.results["energy_sigma"], abs=1e-10)
        for name, ours in (("forces_sigma", "forces_sigma"), ("magmoms_sigma", "magnetic_moments_sigma")):
            np.testing.assert_allclose(out[ours][mine].numpy(), calculator.results[name], rtol=0, atol=1e-10)
    assert "forces_sigma" not in adapter.SpinMultiNetTorchSim(paths, compute_forces=False)(state)
    assert "energy_sigma" not in adapter.SpinMultiNetTorchSim(paths[:1])(state)


def test_the_contract_of_torch_sim_holds():
    """Its own validator, on its own structures: shapes, batches, images, nothing modified, nothing in the graph."""
    from torch_sim.models.interface import validate_model_outputs

    def with_moments(state):
        state.store_model_extras({"magmom_in": torch.full((state.n_atoms,), 1.5, dtype=torch.float64)})
        return state

    model = build_model(OPTIONS, ["H", "C", "Mg", "Si", "Fe"], 0)
    wrapped = adapter.SpinMultiNetTorchSim(model)
    validate_model_outputs(wrapped, wrapped.device, wrapped.dtype, state_modifier=with_moments)


def test_nve_conserves_energy_and_keeps_the_input_moments(frames):
    wrapped = adapter.SpinMultiNetTorchSim(random_model())
    start = wrapped.state_of(frames)
    step = 0.25 * ts.units.MetalUnits.time * 1e-3  # 0.25 fs
    kT = torch.tensor(300 * ts.units.MetalUnits.temperature, dtype=torch.float64)
    state = ts.nve_init(start, wrapped, kT=kT)
    totals, potentials = [], []
    for _ in range(60):
        state = ts.nve_step(state, wrapped, dt=torch.tensor(step, dtype=torch.float64))
        kinetic = ts.quantities.calc_kinetic_energy(
            masses=state.masses, momenta=state.momenta, system_idx=state.system_idx
        )
        totals.append(state.energy + kinetic)
        potentials.append(state.energy)
    drift = torch.stack(totals).std(0)
    assert bool((drift < 0.01 * torch.stack(potentials).std(0)).all())
    assert torch.equal(state.atom_extras["magmom_in"], start.atom_extras["magmom_in"])
    assert state.atom_extras["magnetic_moments"].shape == (state.n_atoms,)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model that knows enough of NiO to hold a crystal together."""
    labels = ase.io.read(DATA, ":")
    options = TrainOptions(epochs=30, batch_structures=4, stress_weight=1.0)
    small = ModelOptions(**OPTIONS | {"dtype": "float32"})
    return train(options, small, labels, [], tmp_path_factory.mktemp("trained"), 0).checkpoint


def test_relaxation_of_atoms_and_cells_in_one_batch(frames, trained):
    wrapped = adapter.SpinMultiNetTorchSim(trained)
    start = wrapped.state_of(frames)
    before = wrapped(start)["energy"]
    final = ts.optimize(
        system=start,
        model=wrapped,
        optimizer=ts.Optimizer.fire,
        convergence_fn=ts.generate_force_convergence_fn(force_tol=0.02, include_cell_forces=True),
        max_steps=500,
        init_kwargs={"cell_filter": ts.CellFilter.frechet},
    )
    assert bool((final.energy < before).all())
    calculator = SpinMultiNetCalculator(trained)
    relaxed = final.to_atoms(atom_extras_map={"magmom_in": "magmom_in"})
    for k, (old, atoms) in enumerate(zip(frames, relaxed, strict=True)):
        np.testing.assert_array_equal(atoms.arrays["magmom_in"], old.arrays["magmom_in"])
        calculator.calculate(atoms)
        assert calculator.results["energy"] == pytest.approx(float(final.energy[k]), abs=1e-4)  # float32
        assert np.abs(calculator.results["forces"]).max() < 0.025
        # torch-sim divides the forces on a cell by its number of atoms.
        assert np.abs(calculator.results["stress"]).max() * atoms.get_volume() / len(atoms) < 0.025


def test_the_example_of_the_page_runs(tmp_path, trained, monkeypatch):
    page = (Path(__file__).resolve().parents[2] / "docs" / "using-models.md").read_text()
    (code,) = re.findall(r"^```py\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for member in ("member_0", "member_1"):
        (tmp_path / "models" / "nio" / member).mkdir(parents=True)
        shutil.copy(trained, tmp_path / "models" / "nio" / member / "model.pt")
    ase.io.write(tmp_path / "nio.cif", bulk("NiO", "rocksalt", a=4.17))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)  # our own page
    assert names["hot"].atom_extras["magmom_in"].tolist() == [2.5, 0, 2.5, 0, 2.5, 0, -2.5, 0]
    assert names["hot"].atom_extras["magnetic_moments"].shape == (8,)
    assert names["relaxed"].system_extras["energy_std"].tolist() == [0, 0]  # twice the same member


def test_energies_alone(frames):
    wrapped = adapter.SpinMultiNetTorchSim(random_model(), compute_forces=False)
    assert (wrapped.compute_forces, wrapped.compute_stress) == (False, False)
    state = wrapped.state_of(frames)
    out = wrapped(state)
    assert set(out) == {"energy", "magnetic_moments"}
    full = adapter.SpinMultiNetTorchSim(random_model())(state)
    torch.testing.assert_close(out["energy"], full["energy"], rtol=0, atol=1e-10)


def test_molecules_have_no_stress(frames):
    wrapped = adapter.SpinMultiNetTorchSim(random_model())
    pair = Atoms("NiO", [[0, 0, 0], [0, 0, 1.6]], magmoms=[2.0, 0.0])
    out = wrapped(wrapped.state_of([pair]))
    assert bool(out["stress"].isnan().all())
    assert bool(out["forces"].isfinite().all())


def test_a_model_without_spin_needs_no_moments(frames):
    model = random_model(spin=False, moments=False)
    for atoms in frames:
        del atoms.arrays["magmom_in"]
    wrapped = adapter.SpinMultiNetTorchSim(model)
    state = ts.io.atoms_to_state(frames, wrapped.device, wrapped.dtype)
    expected = [SpinMultiNetCalculator(model).get_potential_energy(atoms) for atoms in frames]
    np.testing.assert_allclose(wrapped(state)["energy"].numpy(), expected, rtol=0, atol=1e-10)


def test_bad_states_are_refused(frames, vectors):
    wrapped = adapter.SpinMultiNetTorchSim(random_model())
    state = ts.io.atoms_to_state(frames, wrapped.device, wrapped.dtype)
    with pytest.raises(SpinMultiNetError, match=r"no input moments.*magmom_in.*state_of"):
        wrapped(state)
    state.atomic_numbers = torch.full_like(state.atomic_numbers, 26)
    with pytest.raises(SpinMultiNetError, match="number 26, unknown to the model, which knows O, Ni"):
        wrapped(state)
    wrapped.metadata["moment_role"] = "guess"
    vectors[0].info["moment_role"] = "constraint"
    with pytest.raises(SpinMultiNetError, match="constraint"):
        wrapped.state_of(vectors[:1])


def test_angles_between_moments_warn_where_they_are_new(vectors):
    model = random_model()
    model.metadata["spin_axes"] = 1
    with pytest.warns(NoncollinearWarning):
        adapter.SpinMultiNetTorchSim(model).state_of(vectors)
