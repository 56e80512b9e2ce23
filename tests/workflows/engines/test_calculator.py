"""An engine as an ASE calculator: the engine's own numbers, finite differences, and a memory that survives a kill."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from datastore import SpinConfig
from tests.support.counted_engine import Counted
from workflows.engines import EngineError
from workflows.engines.calculator import MEMORY, EngineCalculator
from workflows.engines.spin_lattice.engine import SpinLatticeEngine
from workflows.structures import apply_ordering, deform, rocksalt


def config(ordering="AFM-II", rms=0.05) -> SpinConfig:
    structure = apply_ordering(rocksalt("Ni", cell="rhombohedral4"), ordering)
    return SpinConfig.from_structure(deform(structure, "displacement", rms, seed=1)[0], ordering=ordering)


def atoms_of(c: SpinConfig, **kwargs) -> Atoms:
    return Atoms(c.species, positions=c.positions, cell=c.lattice, pbc=True, **kwargs)


@pytest.fixture
def counted(tmp_path):
    return Counted(log=str(tmp_path / "log"))


def test_results_are_those_of_the_label():
    c = config()
    point = SpinLatticeEngine().label(c)
    atoms = atoms_of(c, magmoms=c.magmoms_in)
    atoms.calc = EngineCalculator(SpinLatticeEngine(), c)
    assert atoms.get_potential_energy() == point.free_energy
    np.testing.assert_array_equal(atoms.get_forces(), point.forces)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), point.stress, atol=1e-12)
    np.testing.assert_array_equal(atoms.get_magnetic_moments(), point.magmoms_out)


def test_forces_and_stress_are_derivatives_of_the_energy():
    atoms = atoms_of(config())
    atoms.calc = EngineCalculator(SpinLatticeEngine(), config())
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, 1e-4), atol=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, 1e-5), atol=1e-6)


def test_moments_of_the_atoms_choose_the_ordering():
    c = config()
    afm, fm = atoms_of(c), atoms_of(c, magmoms=[2.5, 2.5, 0, 0])
    for atoms in (afm, fm):
        atoms.calc = EngineCalculator(SpinLatticeEngine(), c)
    assert fm.get_magnetic_moments()[1] > 0 > afm.get_magnetic_moments()[1]
    assert afm.get_potential_energy() != fm.get_potential_energy()


def test_the_mesh_stays_that_of_the_start_while_the_cell_changes(counted):
    seen = []
    c = config(rms=0.0)
    atoms = atoms_of(c)
    atoms.calc = EngineCalculator(counted, c, watch=seen.append)
    atoms.get_potential_energy()
    atoms.set_cell(atoms.cell * 1.05, scale_atoms=True)
    atoms.get_potential_energy()
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[1].parent_lattice, c.parent_lattice)
    np.testing.assert_allclose(seen[1].lattice, np.array(c.lattice) * 1.05)


def test_nothing_is_computed_twice_also_by_a_later_process(counted, tmp_path):
    c = config()
    for expected in (1, 0):
        calculator = EngineCalculator(counted, c, tmp_path / "job")
        atoms = atoms_of(c)
        atoms.calc = calculator
        first = atoms.get_potential_energy()
        calculator.reset()
        assert atoms.get_potential_energy() == first
        assert calculator.computed == expected
    assert counted.calls() == 1


@pytest.mark.parametrize("cut", [1, 100])
def test_a_line_cut_off_by_a_kill_is_computed_again_and_harms_no_other(counted, tmp_path, cut):
    c = config()
    atoms = atoms_of(c)
    atoms.calc = EngineCalculator(counted, c, tmp_path)
    energies = []
    for scale in (1.0, 1.01):
        atoms.set_cell(np.array(c.lattice) * scale, scale_atoms=True)
        energies.append(atoms.get_potential_energy())
    memory = tmp_path / MEMORY
    memory.write_bytes(memory.read_bytes()[:-cut])
    for _ in range(2):
        again = atoms_of(c)
        again.set_cell(np.array(c.lattice) * 1.01, scale_atoms=True)
        again.calc = EngineCalculator(counted, c, tmp_path)
        assert again.get_potential_energy() == pytest.approx(energies[1], abs=1e-9)
    assert counted.calls() == (2 if cut == 1 else 3)  # without its line break a line is complete all the same


def test_the_memory_of_another_level_or_another_mesh_is_not_used(counted, tmp_path):
    c = config()
    for like in (c, c.model_copy(update={"cell": "other"}), c.model_copy(update={"parent_lattice": c.lattice * 1.1})):
        atoms = atoms_of(c)
        atoms.calc = EngineCalculator(counted, like, tmp_path)
        atoms.get_potential_energy()
    assert counted.calls() == 3


def test_a_calculation_without_a_label_is_one_clear_error(tmp_path):
    atoms = atoms_of(config())
    atoms.calc = EngineCalculator(Counted(log=str(tmp_path / "log"), fail_at=0), config())
    with pytest.raises(EngineError, match=r"NiO AFM-II at 9\.06\d Angstrom\^3/atom: engine counted gave no label"):
        atoms.get_potential_energy()


class Flips(SpinLatticeEngine):
    """Ends in another ordering than asked for."""

    def compute(self, config, workdir):
        from dataclasses import replace

        return replace(super().compute(config, workdir), magmoms_out=np.array([1.8, 1.8, 0.0, 0.0]))


def test_a_point_on_the_energy_surface_of_another_ordering_is_an_error():
    atoms = atoms_of(config())
    atoms.calc = EngineCalculator(Flips(), config())
    with pytest.raises(EngineError, match="its label is rejected"):
        atoms.get_potential_energy()


def test_other_atoms_than_it_was_made_for_are_refused():
    atoms = atoms_of(config())
    atoms.set_chemical_symbols(["Mn", "Ni", "O", "O"])
    atoms.calc = EngineCalculator(SpinLatticeEngine(), config())
    with pytest.raises(EngineError, match="made for Ni-Ni-O-O"):
        atoms.get_potential_energy()
