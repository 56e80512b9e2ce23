import numpy as np
import pytest
from hypothesis import given

from datastore.schema import SEARCH, SpinPoint
from datastore.search import LAYOUT, search_fields, searchable
from datastore.stores import stamped
from datastore.upgrade import parse
from tests.datastore.support import make_failure, make_point, points

ALLOY = ["Ni", "Ni", "Ni", "Co", "O", "O", "O", "O"]


def alloy(**changes):
    positions = np.arange(24.0).reshape(8, 3)
    moments = [1.8, -1.6, 1.7, -2.5, 0.1, 0, 0, 0]
    forces = np.zeros((8, 3))
    forces[2] = [3.0, 0.0, 4.0]
    fields = {"species": ALLOY, "positions": positions, "forces": forces, "magmoms_in": moments, "magmoms_out": moments}
    return make_point(lattice=np.eye(3) * 9, energy=-40.0, ordering_found="FM", **(fields | changes))


def test_numbers_of_a_label():
    found = search_fields(alloy().to_document())
    assert found["layout"] == LAYOUT
    assert (found["atoms"], found["system"], found["flipped"]) == (8, "Co-Ni-O", True)
    assert found["x"] == {"Co": 0.25, "Ni": 0.75, "O": 1.0}
    assert found["moment"] == pytest.approx({"Co": 2.5, "Ni": 1.7, "O": 0.025})
    assert found["moment_max"] == {"Co": 2.5, "Ni": 1.8, "O": 0.1}
    assert (found["fmax"], found["energy_per_atom"]) == (5.0, -5.0)


def test_vector_moments_count_by_their_length():
    moments = np.zeros((8, 3))
    moments[0] = [3.0, 4.0, 0.0]
    found = search_fields(alloy(magmoms_in=moments, magmoms_out=moments).to_document())
    assert found["moment_max"]["Ni"] == 5.0
    assert found["moment"]["Ni"] == pytest.approx(5.0 / 3)


def test_a_compound_without_oxygen_and_one_of_anions_only():
    assert search_fields(alloy(species=["Ni"] * 8).to_document())["x"] == {"Ni": 1.0}
    assert search_fields(alloy(species=["O"] * 6 + ["S"] * 2).to_document())["x"] == {"O": 0.75, "S": 0.25}


@given(points())
def test_labels_come_back_without_it(point):
    stored = stamped(point.to_document())
    assert stored[SEARCH] == search_fields(point.to_document())
    assert parse(SpinPoint, stored) == point
    assert searchable(stored)[SEARCH] == stored[SEARCH]
    assert SEARCH not in point.to_document()


def test_only_labels_have_it():
    assert SEARCH not in stamped(make_failure().to_document())
