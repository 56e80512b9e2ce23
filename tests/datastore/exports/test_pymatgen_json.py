import json

import numpy as np
import pytest
from pymatgen.core import Structure

from datastore.errors import DataError
from datastore.exports.labels import Labelled
from datastore.exports.pymatgen_json import has_structures, write, write_chgnet
from tests.datastore.support import make_point


def test_structures_that_pymatgen_reads_alone(tmp_path):
    point = make_point(shift=0.1)
    assert write(tmp_path / "a.json", [Labelled(make_point()), Labelled(point, "val")]) == 2
    entry = json.loads((tmp_path / "a.json").read_text())[1]
    structure = Structure.from_dict(entry["structure"])
    assert structure.site_properties["magmom"] == point.magmoms_out.tolist()
    assert structure.site_properties["magmom_in"] == point.magmoms_in.tolist()
    assert np.allclose(structure.cart_coords, point.positions, atol=1e-12)
    assert (entry["energy"], entry["split"], entry["level_id"]) == (point.free_energy, "val", point.level_id)
    assert has_structures(tmp_path / "a.json")


def test_no_labels_are_an_empty_list(tmp_path):
    assert write(tmp_path / "a.json", []) == 0
    assert json.loads((tmp_path / "a.json").read_text()) == []


def test_what_chgnet_reads(tmp_path):
    points = [make_point(), make_point(shift=0.1, stress=None)]
    assert write_chgnet(tmp_path / "a.json", map(Labelled, points)) == 2
    found = json.loads((tmp_path / "a.json").read_text())
    assert list(found) == ["structure", "energy_per_atom", "force", "stress", "magmom"]
    assert found["energy_per_atom"] == [point.free_energy / 4 for point in points]
    assert found["force"][0] == points[0].forces.tolist()
    assert found["magmom"][0] == points[0].magmoms_out.tolist()
    in_gpa = -0.1 * np.array(found["stress"][0])  # what CHGNet makes of it
    assert np.allclose(in_gpa, points[0].stress * 160.21766208)
    assert found["stress"][1] is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_chgnet_has_no_vector_moments(tmp_path):
    moments = np.ones((4, 3))
    with pytest.raises(DataError, match="CHGNet has no vector moments"):
        write_chgnet(tmp_path / "a.json", [Labelled(make_point(magmoms_in=moments, magmoms_out=moments))])


def test_chgnet_has_no_list_of_stresses_that_nobody_has(tmp_path):
    without = [Labelled(make_point(stress=None, shift=0.1 * number)) for number in range(2)]
    assert write_chgnet(tmp_path / "a.json", without) == 2
    assert set(json.loads((tmp_path / "a.json").read_text())) == {"structure", "energy_per_atom", "force", "magmom"}
