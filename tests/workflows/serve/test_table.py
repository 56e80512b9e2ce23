"""The table of labels, page by page."""

import numpy as np
import pytest

from datastore import open_store
from datastore.errors import DataError
from workflows.serve.table import Query, count, read_page, read_query


@pytest.fixture
def store(shown):
    with open_store(shown[0].options.store, readonly=True) as opened:
        yield opened


def test_pages_follow_each_other_and_hold_all_labels_once(store):
    pages = [read_page(store, Query(sort="-energy_per_atom", page=number, size=8)) for number in (1, 2, 3, 4)]
    rows = [row for page in pages for row in page]
    assert [len(page) for page in pages] == [8, 8, 6, 0]
    assert len({row["point_id"] for row in rows}) == 22
    energies = [row["energy_per_atom"] for row in rows]
    assert energies == sorted(energies, reverse=True)


def test_a_row_tells_verdict_reasons_and_energy_per_atom(store, shown):
    (row,) = read_page(store, Query(where=f"point_id={shown[1]}"))
    label = store.get_point(shown[1])
    assert row["verdict"] == "rejected"
    assert "flipped" in row["reasons"]
    assert row["found"] == label.ordering_found == "FM"
    assert row["energy_per_atom"] == pytest.approx(label.energy / 4, rel=1e-12)
    assert row["fmax"] == pytest.approx(np.linalg.norm(label.forces, axis=1).max(), rel=1e-12)
    assert all(value is None or isinstance(value, str | int | float) for value in row.values())


def test_counts_are_those_of_the_filter(store):
    assert count(store, Query()) == 22
    assert count(store, Query(where="ordering=FM verdict=accepted")) == 10
    assert count(store, Query(where="(ordering=FM or ordering=AFM-II) not verdict=rejected")) == 20


@pytest.mark.parametrize(
    ("query", "problem"),
    [(Query(where="ordring=FM"), "did you mean 'ordering'"), (Query(sort="enrgy"), "did you mean 'energy'")],
)
def test_unknown_fields_are_named(store, query, problem):
    with pytest.raises(DataError, match=problem):
        read_page(store, query)


def test_addresses_hold_the_query():
    query = Query("ordering=FM", "-energy", 3, 50)
    assert read_query(query.parameters) == query
    assert Query().parameters == {}


@pytest.mark.parametrize("bad", [{"page": "0"}, {"page": "9" * 30}, {"size": "100000"}, {"page": "x"}, {"size": "-1"}])
def test_pages_that_are_none(bad):
    with pytest.raises(DataError, match="page"):
        read_query(bad)
