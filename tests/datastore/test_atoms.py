import ase.io
import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, given, settings

from datastore.atoms import (
    atoms_to_point,
    config_to_atoms,
    point_to_atoms,
    read_configs,
    read_points,
    write_configs,
    write_points,
)
from datastore.errors import DataError
from tests.datastore.support import make_point, points


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(point=points())
def test_file_round_trip_is_exact(point, tmp_path):
    path = tmp_path / "points.extxyz"
    assert write_points(path, [point, point], "test") == 2
    for back in read_points(path):
        assert back.to_document() == point.to_document()


@settings(max_examples=30, deadline=None)
@given(point=points())
def test_atoms_round_trip_is_exact(point):
    assert atoms_to_point(point_to_atoms(point)).to_document() == point.to_document()


def test_what_others_read(tmp_path):
    point = make_point(pair_id="p1", magmoms_out=np.array([1.8, -1.7, 0.01, -0.01]))
    write_points(tmp_path / "a@1:2.extxyz", [point], "val")  # ASE takes @ in a name for an index
    with open(tmp_path / "a@1:2.extxyz") as file:
        atoms = ase.io.read(file, format="extxyz")
    assert atoms.get_potential_energy() == point.energy
    assert atoms.calc.results["free_energy"] == point.free_energy
    assert np.array_equal(atoms.get_forces(), point.forces)
    assert np.array_equal(atoms.get_stress(voigt=False), point.stress)
    assert np.array_equal(atoms.arrays["magmom_in"], point.magmoms_in)
    assert np.array_equal(atoms.arrays["magmom_out"], point.magmoms_out)
    assert np.array_equal(atoms.get_magnetic_moments(), point.magmoms_out)
    assert atoms.info["split"] == "val"
    assert atoms.info["level_id"] == point.level_id
    assert atoms.info["pair_id"] == "p1"
    assert atoms.pbc.all()


def test_magnetic_forces_are_a_column_where_there_are_some(tmp_path):
    moments = np.arange(12.0).reshape(4, 3) / 7
    point = make_point(magmoms_in=moments, magmoms_out=moments, magnetic_forces=moments / 3, moment_role="constraint")
    write_points(tmp_path / "with.extxyz", [point])
    atoms = ase.io.read(tmp_path / "with.extxyz")
    assert np.array_equal(atoms.arrays["magnetic_forces"], moments / 3)
    write_points(tmp_path / "without.extxyz", [make_point()])
    assert "magnetic_forces" not in ase.io.read(tmp_path / "without.extxyz").arrays
    with pytest.raises(ValueError, match="magnetic_forces has shape"):
        make_point(magnetic_forces=np.zeros((4, 3)))


def test_ase_written_file_agrees_to_1e_8(tmp_path):
    point = make_point(shift=1 / 3)
    ase.io.write(tmp_path / "a.extxyz", point_to_atoms(point))
    (back,) = read_points(tmp_path / "a.extxyz")
    assert np.allclose(back.positions, point.positions, atol=1e-8)
    assert np.allclose(back.forces, point.forces, atol=1e-8)
    assert np.array_equal(back.magmoms_in, point.magmoms_in)
    assert back.level_id == point.level_id


def test_initial_moments_are_the_input():
    atoms = config_to_atoms(make_point())
    assert atoms.get_initial_magnetic_moments().tolist() == [2.5, -2.5, 0, 0]
    assert atoms.calc is None


def test_configs_without_results(tmp_path):
    config = make_point().config()
    assert write_configs(tmp_path / "c.extxyz", [config]) == 1
    (atoms,) = ase.io.read(tmp_path / "c.extxyz", ":")
    assert atoms.calc is None
    assert np.array_equal(atoms.positions, config.positions)
    assert np.array_equal(atoms.arrays["magmom_in"], config.magmoms_in)
    assert (atoms.info["config_id"], atoms.info["ordering"]) == (config.config_id, config.ordering)
    assert "level_id" not in atoms.info
    with pytest.raises(DataError, match=r"c\.extxyz, frame 0: no 'energy'.*export"):
        list(read_points(tmp_path / "c.extxyz"))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(point=points())
def test_configs_come_back_exactly(point, tmp_path):
    write_configs(tmp_path / "c.extxyz", [point.config(), point.config()])
    assert list(read_configs(tmp_path / "c.extxyz")) == [point.config()] * 2


def test_no_configs_and_foreign_ones(tmp_path):
    assert write_configs(tmp_path / "none.extxyz", []) == 0
    assert list(read_configs(tmp_path / "none.extxyz")) == []
    ase.io.write(tmp_path / "foreign.extxyz", Atoms("Ni", cell=[3, 3, 3], pbc=True))
    with pytest.raises(DataError, match=r"foreign\.extxyz, frame 0: no per-atom column 'magmom_in'"):
        list(read_configs(tmp_path / "foreign.extxyz"))
    with pytest.raises(DataError, match="no such file"):
        list(read_configs(tmp_path / "absent.extxyz"))


def test_foreign_and_corrupt_files(tmp_path):
    ase.io.write(tmp_path / "foreign.extxyz", Atoms("Ni", cell=[3, 3, 3], pbc=True))
    with pytest.raises(DataError, match=r"foreign\.extxyz, frame 0: no 'energy'"):
        list(read_points(tmp_path / "foreign.extxyz"))
    good = tmp_path / "good.extxyz"
    write_points(good, [make_point(), make_point()])
    text = good.read_text()
    (tmp_path / "cut.extxyz").write_text(text[: len(text) - 90])
    with pytest.raises(DataError, match=r"cut\.extxyz, frame \d: no extended XYZ"):
        list(read_points(tmp_path / "cut.extxyz"))
    (tmp_path / "no_level.extxyz").write_text(text.replace("level_of_theory=", "level_of_nothing="))
    with pytest.raises(DataError, match="frame 0: no 'level_of_theory'"):
        list(read_points(tmp_path / "no_level.extxyz"))
    (tmp_path / "empty.extxyz").write_text("")
    with pytest.raises(DataError, match="no frames"):
        list(read_points(tmp_path / "empty.extxyz"))
    (tmp_path / "binary.extxyz").write_bytes(b"\xff\x00\xfe" * 50)
    with pytest.raises(DataError, match="no extended XYZ"):
        list(read_points(tmp_path / "binary.extxyz"))
    with pytest.raises(DataError, match="no such file"):
        list(read_points(tmp_path / "absent.extxyz"))
    with pytest.raises(DataError, match="cannot be written"):
        write_points(tmp_path / "no" / "folder.extxyz", [make_point()])
