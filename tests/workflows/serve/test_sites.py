"""What the page of a label tells of its sites and relatives."""

import numpy as np
import pytest

from datastore import open_store
from datastore.errors import DataError
from workflows.serve.sites import facts, find_label, per_atom, reversed_signs, site_rows, theory_rows


@pytest.fixture
def store(shown):
    with open_store(shown[0].options.store, readonly=True) as opened:
        yield opened


def test_flipped_sites_are_marked_modulo_a_reversal_of_all(store, shown):
    label = find_label(store, shown[1]).point
    rows = site_rows(label)
    assert [row["element"] for row in rows] == ["Ni", "Ni", "O", "O"]
    assert [(row["asked"], row["found"], row["change"]) for row in rows[:2]] == [
        ("+2.50", "-2.50", ""),
        ("-2.50", "-2.50", "flipped"),
    ]
    assert reversed_signs(label)
    whole = label.model_copy(update={"magmoms_out": -label.magmoms_in})
    assert not any(row["change"] for row in site_rows(whole))
    assert reversed_signs(whole)
    assert not reversed_signs(label.model_copy(update={"magmoms_out": label.magmoms_in}))


def test_relatives_are_the_same_geometry_with_differences_per_atom(store):
    document = store.points.query_one({"ordering": "FM", "verdict": "accepted"})
    found = find_label(store, document["point_id"])
    assert {member.ordering for member in found.members} == {"FM", "AFM-II"}
    assert [member.shown for member in found.members].count(True) == 1
    labels = {member.point_id: store.get_point(member.point_id) for member in found.members}
    low, high = sorted(per_atom(label) for label in labels.values())
    assert [member.above for member in found.members] == pytest.approx([0.0, 1e3 * (high - low)])
    for label in labels.values():
        np.testing.assert_allclose(label.positions, found.point.positions)


def test_pressure_is_minus_a_third_of_the_trace_of_the_stress(store, shown):
    label = store.get_point(shown[1]).model_copy(update={"stress": np.diag([0.01, 0.01, 0.01])})
    assert dict(facts(label))["pressure"] == "-1.60 GPa"
    assert dict(facts(label.model_copy(update={"stress": None})))["pressure"] == "none"


def test_levels_of_theory_are_lines():
    rows = theory_rows({"xc": "PBE", "hubbard_u": {"Ni": 6.2}, "empty": {}})
    assert rows == [("xc", "PBE"), ("hubbard_u.Ni", "6.2"), ("empty", "{}")]


def test_labels_that_are_not_there(store):
    with pytest.raises(DataError, match="no label of this id"):
        find_label(store, "nothing")
