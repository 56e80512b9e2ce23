from ase.db import connect

from datastore.exports.ase_db import write
from datastore.exports.labels import Labelled
from tests.datastore.support import make_point


def test_rows_are_selected_by_what_labels_are(tmp_path):
    flipped = make_point(shift=0.1, verdict="rejected", verdict_reasons=["flipped"], pair_id="1234", generation=2)
    assert write(tmp_path / "a.db", [Labelled(make_point(), "train"), Labelled(flipped, "test")]) == 2
    database = connect(tmp_path / "a.db")
    (row,) = database.select(verdict="rejected", generation=2, split="test")
    assert row.point_id == flipped.point_id
    assert "pair_id" not in row.key_value_pairs  # ASE takes no text that looks like a number
    assert row.data["spinmultinet"]["pair_id"] == "1234"
    assert row.energy == row.free_energy == flipped.free_energy
    assert row.magmoms.tolist() == flipped.magmoms_out.tolist()
    assert row.toatoms().get_initial_magnetic_moments().tolist() == [2.5, -2.5, 0, 0]
