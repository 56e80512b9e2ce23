"""The data layer writes extended XYZ, the model reads it: they share names, and neither imports the other."""

import ase.io
import numpy as np
import pytest

from datastore import atoms as written
from datastore.atoms import write_points
from datastore.schema import SpinConfig
from spinmultinet import keys as read
from spinmultinet.data import check_training_set, input_moments, labels
from workflows.engines import get_engine
from workflows.structures import apply_ordering, deform, rocksalt


@pytest.fixture(scope="module")
def point():
    structure, parameters = deform(
        apply_ordering(rocksalt("Ni", cell="rhombohedral4"), "AFM-II"), "volume", 1.02, seed=3
    )
    config = SpinConfig.from_structure(
        structure, "AFM-II", deformation="volume", deformation_parameters=parameters, pair_id="p"
    )
    return get_engine("spin-lattice").label(config)


def test_the_model_reads_what_the_data_layer_wrote(point, tmp_path):
    file = tmp_path / "one.extxyz"
    write_points(file, [point])
    atoms = ase.io.read(file)
    np.testing.assert_array_equal(input_moments(atoms).ravel(), point.magmoms_in)
    found = labels(atoms, 1, "one")
    assert found["energy"][0] == pytest.approx(point.free_energy, abs=1e-12)
    np.testing.assert_allclose(found["forces"], point.forces, atol=1e-12)
    np.testing.assert_allclose(found["stress"][0], point.stress, atol=1e-12)
    np.testing.assert_allclose(found["moments_out"].ravel(), point.magmoms_out, atol=1e-12)


def test_the_model_knows_level_and_role_of_what_was_written(point, tmp_path):
    file = tmp_path / "one.extxyz"
    write_points(file, [point])
    atoms = ase.io.read(file)
    described = check_training_set([atoms], [atoms])
    assert described[read.LEVEL_ID] == point.level_id
    assert described[read.MOMENT_ROLE] == point.moment_role


@pytest.mark.parametrize(
    "name",
    ["MAGMOM_IN", "MAGMOM_OUT", "MAGNETIC_FORCES", "SPLIT", "HEAD", "LABEL_KIND", "LEVEL_FROM", "LEVEL_TO"],
)
def test_names_agree(name):
    assert getattr(written, name) == getattr(read, name)


def test_magnetic_forces_of_held_moments_are_read(tmp_path):
    config = SpinConfig.from_structure(apply_ordering(rocksalt("Ni", cell="rhombohedral4"), "AFM-II"), "AFM-II")
    held = SpinConfig(**{**config.model_dump(), "moment_role": "constraint"})
    point = get_engine("spin-lattice").label(held)
    assert point.magnetic_forces.shape == (4,)
    assert np.abs(point.magnetic_forces).max() > 0.01
    write_points(tmp_path / "one.extxyz", [point])
    atoms = ase.io.read(tmp_path / "one.extxyz")
    field = read.FIELDS["magnetic_forces"]
    np.testing.assert_array_equal(atoms.arrays[field.xyz_key], point.magnetic_forces)


@pytest.mark.parametrize("name", ["CONFIG_ID", "PAIR_ID", "ORDERING", "DEFORMATION", "LEVEL_ID", "MOMENT_ROLE"])
def test_info_names_are_written(name, point):
    assert getattr(read, name) in written.point_to_atoms(point).info
