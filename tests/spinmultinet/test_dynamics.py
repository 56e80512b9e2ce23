"""Molecular dynamics: energy is conserved, temperatures are right, a stopped run goes on to the same bytes."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from spinmultinet import SpinMultiNetCalculator, SpinMultiNetError, build_model
from spinmultinet.dynamics import MDOptions, run_md, state_file


class MagneticEMT(EMT):
    """Exact forces of copper; moments follow their estimates, and one flips when its atom has moved far."""

    implemented_properties = (*EMT.implemented_properties, "magmoms")

    def __init__(self, flips=False):
        super().__init__()
        self.flips, self.inputs = flips, []

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, ["energy", "forces", "stress"], system_changes)
        m = atoms.get_initial_magnetic_moments()
        self.inputs.append(m.tolist())
        self.results["magmoms"] = 0.9 * m * np.where(self.flips & (np.arange(len(m)) == 1), -1, 1)


@pytest.fixture
def copper():
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.set_initial_magnetic_moments(np.where(np.arange(len(atoms)) % 2, 1.0, -1.0))
    return atoms


@pytest.fixture
def network(tiny_options):
    """Unlike EMT it has no memory: ASE's neighbour lists sum in another order after a restart."""
    return SpinMultiNetCalculator(build_model(tiny_options, ["O", "Ni"], 0))


def options(**changes):
    return MDOptions(**{"temperature": 300, "steps": 20, "timestep": 2.0, "interval": 5, **changes})


def test_velocity_verlet_conserves_the_energy_to_second_order(copper, tmp_path):
    errors = []
    for timestep, steps in ((4.0, 100), (2.0, 200)):
        file = tmp_path / f"{timestep}.extxyz"
        run_md(copper, MagneticEMT(), options(ensemble="nve", timestep=timestep, steps=steps, interval=1), file)
        frames = ase.io.read(file, ":")
        total = np.array([f.info["total_energy"] for f in frames])
        kinetic = np.array([f.get_kinetic_energy() for f in frames])
        assert np.ptp(kinetic) > 0.3  # the energy moves between its two forms
        np.testing.assert_allclose(
            total, [f.get_potential_energy() + f.get_kinetic_energy() for f in frames], atol=1e-5
        )
        errors.append(total.std())
    assert errors[1] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)


def test_the_thermostat_holds_the_temperature(copper, tmp_path):
    o = options(temperature=500, steps=300, timestep=5.0, friction=0.05, interval=1)
    run_md(copper, MagneticEMT(), o, tmp_path / "a.extxyz")
    found = [f.info["temperature"] for f in ase.io.read(tmp_path / "a.extxyz", "60:")]
    assert np.mean(found) == pytest.approx(500, rel=0.12)


def test_the_barostat_takes_the_volume_to_the_pressure(tmp_path):
    copper, volumes = bulk("Cu", cubic=True), {}
    copper.set_initial_magnetic_moments([1.0, -1.0, 1.0, -1.0])
    for pressure in (0.0, 10.0):
        o = options(ensemble="npt", pressure=pressure, steps=300, timestep=5.0, bulk_modulus=140, temperature=50)
        result = run_md(copper, MagneticEMT(), o, tmp_path / f"{pressure}.extxyz")
        volumes[pressure] = result.atoms.get_volume()
        cell = result.atoms.cell.array
        np.testing.assert_allclose(cell, np.eye(3) * cell[0, 0], atol=1e-9)
    shrunk = 1 - volumes[10.0] / volumes[0.0]
    assert 0.03 < shrunk < 0.1  # 10 GPa over a bulk modulus of about 140 GPa, partly reached after 1.5 ps


def test_initial_moments_are_the_input_at_every_step_and_predicted_ones_are_recorded(copper, tmp_path):
    copper.set_array("magmom_in", copper.get_initial_magnetic_moments())
    calculator = MagneticEMT(flips=True)
    result = run_md(copper, calculator, options(), tmp_path / "a.extxyz")
    asked = copper.get_initial_magnetic_moments()
    assert all(m == asked.tolist() for m in calculator.inputs)
    frames = ase.io.read(tmp_path / "a.extxyz", ":")
    assert [f.info["step"] for f in frames] == [0, 5, 10, 15, 20]
    assert [f.info["time_fs"] for f in frames] == [0, 10, 20, 30, 40]
    for frame in frames:
        np.testing.assert_allclose(frame.get_initial_magnetic_moments(), asked)
        np.testing.assert_allclose(frame.get_magnetic_moments()[[0, 1]], [-0.9, -0.9])
        assert frame.info["flipped"] == 1
    assert result.flipped == [1]
    assert (result.steps, result.frames, result.reason) == (20, 5, "")


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "npt"])
def test_a_stopped_run_goes_on_to_the_same_file(nio, network, tmp_path, ensemble):
    o = options(ensemble=ensemble, steps=23)
    run_md(nio[0], network, o, tmp_path / "whole.extxyz")

    def stop(step, atoms):
        if step == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_md(nio[0], network, o, tmp_path / "parts.extxyz", stop)
    with open(tmp_path / "parts.extxyz", "a") as file:
        file.write("half a fra")  # as a kill in the middle of writing would leave
    seen = []
    result = run_md(nio[0], network, o, tmp_path / "parts.extxyz", lambda step, atoms: seen.append(step))
    assert seen == list(range(10, 24))
    assert (tmp_path / "parts.extxyz").read_bytes() == (tmp_path / "whole.extxyz").read_bytes()
    assert result.frames == 6
    again = run_md(nio[0], network, o, tmp_path / "parts.extxyz")
    assert (tmp_path / "parts.extxyz").read_bytes() == (tmp_path / "whole.extxyz").read_bytes()
    assert again.steps == 23


def test_a_run_killed_in_its_first_frame_begins_anew(nio, network, tmp_path, monkeypatch):
    run_md(nio[0], network, options(steps=5), tmp_path / "whole.extxyz")

    def killed(file, *args, **kwargs):
        file.write("4\nLatt")
        file.flush()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ase.io.write", killed)
        with pytest.raises(KeyboardInterrupt):
            run_md(nio[0], network, options(steps=5), tmp_path / "a.extxyz")
    run_md(nio[0], network, options(steps=5), tmp_path / "a.extxyz")
    assert (tmp_path / "a.extxyz").read_bytes() == (tmp_path / "whole.extxyz").read_bytes()


def test_a_finished_run_is_prolonged(nio, network, tmp_path):
    run_md(nio[0], network, options(steps=10), tmp_path / "a.extxyz")
    run_md(nio[0], network, options(steps=20), tmp_path / "a.extxyz")
    run_md(nio[0], network, options(steps=20), tmp_path / "b.extxyz")
    assert (tmp_path / "a.extxyz").read_bytes() == (tmp_path / "b.extxyz").read_bytes()


def test_files_of_other_runs_are_left_alone(copper, tmp_path):
    file = tmp_path / "a.extxyz"
    run_md(copper, MagneticEMT(), options(), file)
    before = file.read_bytes()
    for changes in ({"temperature": 301}, {"seed": 1}, {"ensemble": "nve"}):
        with pytest.raises(SpinMultiNetError, match="another structure or other options"):
            run_md(copper, MagneticEMT(), options(**changes), file)
    copper.set_initial_magnetic_moments(np.ones(len(copper)))
    with pytest.raises(SpinMultiNetError, match="another structure or other options"):
        run_md(copper, MagneticEMT(), options(), file)
    assert file.read_bytes() == before
    state_file(file).unlink()
    with pytest.raises(SpinMultiNetError, match="exists and is no run"):
        run_md(copper, MagneticEMT(), options(), file)
    state_file(file).write_text("{")
    with pytest.raises(SpinMultiNetError, match="cannot be read"):
        run_md(copper, MagneticEMT(), options(), file)
    assert file.read_bytes() == before


def test_lost_frames_are_noticed(copper, tmp_path):
    file = tmp_path / "a.extxyz"
    run_md(copper, MagneticEMT(), options(), file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(SpinMultiNetError, match="lost frames"):
        run_md(copper, MagneticEMT(), options(), file)


def test_it_ends_where_forces_explode_and_keeps_the_frame(copper, tmp_path):
    copper.positions[0] += [1.2, 0, 0]
    o = options(max_force=3.0, steps=500, interval=50)
    result = run_md(copper, MagneticEMT(), o, tmp_path / "a.extxyz")
    assert "a force reached" in result.reason
    last = ase.io.read(tmp_path / "a.extxyz", "-1")
    assert np.linalg.norm(last.get_forces(), axis=1).max() > 3.0
    assert last.info["step"] == result.steps < 500
    again = run_md(copper, MagneticEMT(), o, tmp_path / "a.extxyz")
    assert again.reason == result.reason
    assert again.frames == result.frames


def test_a_committee_ends_it_where_its_members_disagree(nio, tiny_options, tmp_path):
    members = [build_model(tiny_options, ["O", "Ni"], k) for k in range(2)]
    o = options(steps=3, interval=1)
    run_md(nio[0], SpinMultiNetCalculator(members), o, tmp_path / "free.extxyz")
    frame = ase.io.read(tmp_path / "free.extxyz", "0")
    assert frame.info["forces_std"] > 0
    assert "level_id" not in frame.info
    tight = options(steps=3, interval=1, max_spread=frame.info["forces_std"] / 2)
    result = run_md(nio[0], SpinMultiNetCalculator(members), tight, tmp_path / "a.extxyz")
    assert "committee's spread" in result.reason
    assert result.steps == 0


def test_given_velocities_are_kept_and_drawn_ones_have_the_temperature(copper, tmp_path):
    o = options(ensemble="nve", steps=1, temperature=1000)
    run_md(copper.repeat(2), MagneticEMT(), o, tmp_path / "a.extxyz")
    drawn = ase.io.read(tmp_path / "a.extxyz", "0")
    assert drawn.get_temperature() == pytest.approx(1000, rel=0.15)
    np.testing.assert_allclose(drawn.get_momenta().sum(0), 0, atol=1e-4)
    copper.set_momenta(np.full((len(copper), 3), 0.1))
    run_md(copper, MagneticEMT(), o, tmp_path / "b.extxyz")
    np.testing.assert_allclose(ase.io.read(tmp_path / "b.extxyz", "0").get_momenta(), 0.1)


def test_the_role_of_the_moments_reaches_the_calculator(nio, network, tmp_path):
    nio[0].info["moment_role"] = "guess"
    run_md(nio[0], network, options(steps=1), tmp_path / "a.extxyz")
    assert ase.io.read(tmp_path / "a.extxyz").info["moment_role"] == "guess"
    network.model.metadata["moment_role"] = "constraint"
    with pytest.raises(SpinMultiNetError, match="not comparable"):
        run_md(nio[0], network, options(steps=1), tmp_path / "b.extxyz")


def test_bad_requests(copper, tmp_path):
    with pytest.raises(ValueError, match="frictoin"):
        options(frictoin=1)
    copper.pbc = [True, True, False]
    with pytest.raises(SpinMultiNetError, match="npt needs"):
        run_md(copper, MagneticEMT(), options(ensemble="npt"), tmp_path / "a.extxyz")
    del copper.arrays["initial_magmoms"]
    with pytest.raises(SpinMultiNetError, match="no input moments"):
        run_md(copper, LennardJones(), options(), tmp_path / "a.extxyz")
    assert not list(tmp_path.iterdir())
