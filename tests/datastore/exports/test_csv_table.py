import csv

import numpy as np
import pytest

from datastore.exports.csv_table import COLUMNS, write
from datastore.exports.labels import Labelled
from tests.datastore.support import make_point


def test_scalars_of_a_label(tmp_path):
    point = make_point(energy=-1 / 3, stress=None, deformation_parameters={})
    assert write(tmp_path / "a.csv", [Labelled(point, "train"), Labelled(make_point(shift=0.1))]) == 2
    first, second = csv.DictReader((tmp_path / "a.csv").open())
    assert list(first) == list(COLUMNS)
    assert first["point_id"] == point.point_id
    assert float(first["energy"]) == -1 / 3
    assert (first["split"], second["split"], first["pressure"]) == ("train", "", "")
    assert float(second["pressure"]) == pytest.approx((0.08 + 0.07 + 0.07) / 3)
    assert float(first["volume"]) == pytest.approx(abs(np.linalg.det(point.lattice)))
    assert float(first["largest_force"]) == 0.2
    assert float(first["staggered_moment"]) == 1.8


def test_vector_moments_and_none_asked_for(tmp_path):
    moments = np.array([[3.0, 4.0, 0.0]] * 4)
    vectors = make_point(magmoms_in=0 * moments, magmoms_out=moments)
    write(tmp_path / "a.csv", [Labelled(vectors)])
    (row,) = csv.DictReader((tmp_path / "a.csv").open())
    assert (row["largest_moment"], row["staggered_moment"]) == ("5.0", "")


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@a", "\tb", "\rc"])
def test_no_cell_is_a_formula(tmp_path, text):
    write(tmp_path / "a.csv", [Labelled(make_point(campaign=text, verdict_reasons=[text], verdict="rejected"))])
    with (tmp_path / "a.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["campaign"], row["verdict_reasons"]) == (f"'{text}", f"'{text}")
    assert (float(row["energy"]), row["formula"]) == (-25.4, "NiO")
