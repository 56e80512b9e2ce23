"""Every named query has an index of its own, by the table of indexes and by what databases say."""

import os

import pytest

from datastore.errors import DataError
from datastore.filters import parse_filter, path_of
from datastore.plans import covering_index, explain, scans_all
from datastore.queries import NAMED
from datastore.stores import open_store
from tests.datastore.support import make_point

VALUES = dict.fromkeys(("generation", "fraction", "moment", "mev", "force"), 1)
VALUES |= dict.fromkeys(
    ("formula", "ordering", "deformation", "parent", "pair_id", "campaign", "engine", "system"), "a"
)
VALUES |= {"element": "Ni", "date": "2026-11-01", "level_id": "0123456789abcdef"}


def asked(name):
    criteria = parse_filter(NAMED[name].filter.format(**VALUES))
    if name == "above":  # as select() asks it
        criteria = {"$and": [{"pair_id": {"$gt": ""}}, {"verdict": "accepted"}]}
        return criteria, "pair_id", 1
    return criteria, path_of(NAMED[name].sort[1:]) if NAMED[name].sort else "", -1


@pytest.mark.parametrize("name", NAMED)
def test_the_table_has_an_index_for_every_named_query(name):
    criteria, sort, _ = asked(name)
    index = covering_index(criteria, sort)
    assert index is not None
    first = index[0].removesuffix("$**")
    assert any(key.startswith(first) for part in (criteria.get("$and") or [criteria]) for key in part) or sort == first


@pytest.mark.parametrize("name", NAMED)
def test_sqlite_uses_it(name, tmp_path):
    criteria, sort, direction = asked(name)
    with open_store(f"local:{tmp_path}") as store:
        store.put_point(make_point())
        stages = explain(store, criteria, {sort: direction} if sort else None)
    assert stages
    assert not scans_all(stages)


@pytest.mark.parametrize(
    ("criteria", "sort", "index"),
    [
        ({"formula": "NiO"}, "", ("formula", "verdict")),
        ({"formula": "NiO", "verdict": "accepted"}, "", ("formula", "verdict")),
        ({"search.x.Co": {"$gt": 0.2}}, "", ("search.x.$**", "verdict")),
        ({"verdict": "accepted"}, "search.fmax", ("verdict", "search.fmax", "point_id")),
        ({}, "last_updated", ("last_updated", "point_id")),
        ({"$or": [{"formula": "NiO"}, {"campaign": "a"}]}, "", ("formula", "verdict")),
        ({"$or": [{"formula": "NiO"}, {"band_gap": 1}]}, "", None),
        ({"formula": {"$ne": "NiO"}}, "", None),
        ({"formula": {"$regex": "N"}}, "", None),
        ({"band_gap": 1}, "", None),
        ({"band_gap": 1}, "last_updated", None),
        ({}, "", None),
    ],
)
def test_covering_index(criteria, sort, index):
    assert covering_index(criteria, sort) == index


def test_what_scans():
    assert scans_all(["FETCH", "COLLSCAN"])
    assert scans_all(["SCAN points"])
    assert not scans_all(["LIMIT", "FETCH", "IXSCAN formula_1_verdict_1"])
    assert not scans_all(["SCAN points USING INDEX ix_1"])


def test_stores_without_plans():
    with open_store("memory:") as store, pytest.raises(DataError, match="has no plans"):
        explain(store, {"formula": "NiO"})


@pytest.mark.parametrize("name", NAMED)
def test_mongodb_uses_it(name):
    """The server for tests has no plans, so this needs a real one."""
    uri = os.environ.get("SPINMULTINET_MONGO_URI", "")
    if not uri:
        pytest.skip("SPINMULTINET_MONGO_URI names no MongoDB")
    criteria, sort, direction = asked(name)
    with open_store(f"{uri.rstrip('/')}/spinmultinet_test_plans") as store:
        try:
            store.put_point(make_point())
            stages = explain(store, criteria, {sort: direction} if sort else None)
        finally:
            store.points._collection.database.client.drop_database(store.points.database)
    assert any(stage.startswith("IXSCAN") for stage in stages)
    assert not scans_all(stages)
