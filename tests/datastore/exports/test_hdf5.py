import sys

import numpy as np
import pytest

from datastore.errors import DataError, MissingRequirementError
from datastore.exports.hdf5 import BATCH, read, write
from datastore.exports.labels import Labelled
from tests.datastore.support import make_point

h5py = pytest.importorskip("h5py")


def test_arrays_that_h5py_reads_alone(tmp_path):
    vectors = np.arange(12.0).reshape(4, 3)
    other = make_point(magmoms_in=vectors, magmoms_out=vectors, stress=None, magnetic_forces=-vectors)
    write(tmp_path / "a.h5", [Labelled(make_point(), "train"), Labelled(other)])
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["numbers"][:].tolist() == [28, 28, 8, 8] * 2
        first, atoms = file["first_atom"][1], file["atoms"][1]
        assert file["magmoms_out"][first : first + atoms].tolist() == vectors.tolist()
        assert file["magmoms_out"][:4].tolist() == [[0, 0, m] for m in make_point().magmoms_out]
        assert file["energy"][:].tolist() == [-25.4, -25.4]
        assert np.isnan(file["stress"][1]).all()
        assert file["split"].asstr()[:].tolist() == ["train", ""]
        assert file["collinear"][:].tolist() == [True, False]


def test_more_labels_than_are_in_memory_at_once(tmp_path):
    labels = [Labelled(make_point(shift=0.001 * number)) for number in range(BATCH + 3)]
    assert write(tmp_path / "a.h5", labels) == BATCH + 3
    found = list(read(tmp_path / "a.h5"))
    assert [document["point_id"] for document, _ in found] == [labelled.point.point_id for labelled in labels]
    assert found[-1][1] == 1.0


def test_files_of_others_and_damaged_ones(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["energy"] = [1.0]
    with pytest.raises(DataError, match="is no HDF5 file of this program"):
        list(read(tmp_path / "other.h5"))
    write(tmp_path / "a.h5", [Labelled(make_point())])
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["forces"]
    with pytest.raises(DataError, match=r"a\.h5 is damaged"):
        list(read(tmp_path / "a.h5"))


def test_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingRequirementError, match=r"pip install 'spinmultinet-workflows\[hdf5\]'"):
        write(tmp_path / "a.h5", [Labelled(make_point())])
