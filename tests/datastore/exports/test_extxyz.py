import ase.io
import numpy as np
import pytest

from datastore.atoms import point_to_text, write_points
from datastore.errors import DataError
from datastore.exports.extxyz import KEYS, FrameText, read_texts, rekeyed
from tests.datastore.support import make_point

STRESS = np.array([[-0.08, 0.01, 0.02], [0.01, -0.07, 0.03], [0.02, 0.03, -0.06]])


@pytest.fixture
def read(tmp_path):
    """Atoms as ASE reads them from a frame with some keys."""

    def reader(point, keys):
        (tmp_path / "a.extxyz").write_text(str(rekeyed(FrameText.parse(point_to_text(point, "val")), keys)))
        return ase.io.read(tmp_path / "a.extxyz")

    return reader


@pytest.mark.parametrize("keys", KEYS)
def test_what_all_programs_find(read, keys):
    point = make_point(shift=1 / 3, stress=STRESS, campaign='a "b" energy=7', ordering="T")
    atoms = read(point, keys)
    free = keys in ("nequip", "chgnet", "sevennet")
    assert atoms.get_potential_energy() == (point.free_energy if free else point.energy)
    assert atoms.get_potential_energy(force_consistent=True) == point.free_energy
    assert np.array_equal(atoms.get_forces(), point.forces)
    assert np.array_equal(atoms.get_stress(voigt=False), STRESS)
    assert np.array_equal(atoms.positions, point.positions)
    assert atoms.get_magnetic_moments().tolist() == point.magmoms_out.tolist()
    assert atoms.arrays["magmom_in"].tolist() == [2.5, -2.5, 0, 0]
    assert (atoms.info["campaign"], atoms.info["ordering"], atoms.info["split"]) == ('a "b" energy=7', "T", "val")
    assert atoms.info["level_id"] == point.level_id


def test_keys_of_mace(read):
    point = make_point(shift=1 / 3, stress=STRESS)
    atoms = read(point, "mace")
    assert atoms.info["REF_energy"] == point.free_energy
    assert np.array_equal(np.reshape(atoms.info["REF_stress"], (3, 3)), STRESS)
    assert np.array_equal(atoms.arrays["REF_forces"], point.forces)
    assert "REF_stress" not in read(make_point(stress=None), "mace").info


def test_keys_of_the_others(read):
    point = make_point()
    assert read(point, "nequip").info["energy_extrapolated"] == point.energy
    assert read(point, "chgnet").info["energy_per_atom"] == point.free_energy / 4


def test_values_of_the_comment_line():
    frame = FrameText.parse(point_to_text(make_point(campaign='é "x" \\ y', generation=3)))
    assert frame.value("campaign") == 'é "x" \\ y'
    assert frame.value("generation") == 3
    assert frame.value("split") is None
    assert frame.species == ("Ni", "Ni", "O", "O")


def test_a_file_that_is_cut_off(tmp_path):
    write_points(tmp_path / "a.extxyz", [make_point(), make_point(shift=0.1)])
    text = (tmp_path / "a.extxyz").read_text()
    assert len(list(read_texts(tmp_path / "a.extxyz"))) == 2
    (tmp_path / "a.extxyz").write_text("\n".join(text.splitlines()[:-2]) + "\n")
    with pytest.raises(DataError, match="is cut off"):
        list(read_texts(tmp_path / "a.extxyz"))
