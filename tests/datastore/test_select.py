"""Every filter gives the same answer in every kind of store."""

import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from datastore.checksums import sealed
from datastore.errors import DataError
from datastore.exports.sources import of_store
from datastore.queries import NAMED, documents, find, named, parse_filter
from datastore.select import LOOKED_AT, count, count_by, select
from datastore.store_upgrade import upgrade_store
from tests.datastore.support import KINDS, make_failure, make_point, new_store

OTHER = {"engine": "other"}
ALLOY = {"species": ["Ni", "Co", "O", "O"]}
POINTS = [
    make_point(pair_id="g1", campaign="a", deformation="shear", parent="p", energy=-25.4),
    make_point(pair_id="g1", campaign="a", ordering="FM", ordering_found="FM", magmoms_in=[2, 2, 0, 0], energy=-25.0),
    make_point(pair_id="g1", campaign="b c", level_of_theory=OTHER, energy=-1.0, generation=3),
    make_point(
        shift=0.1, verdict="rejected", verdict_reasons=["flipped"], ordering_found="FM", pair_id="g2", energy=-30
    ),
    make_point(shift=0.2, species=["Mn", "Mn", "O", "O"], generation=2, pair_id="g3", energy=-34.0, engine="vasp"),
    make_point(
        shift=0.3, **ALLOY, magmoms_out=[1.0, -2.7, 0.2, 0], band_gap=1.5, energy=-24.0, forces=np.eye(4)[:, :3]
    ),
    make_point(
        shift=0.4, **ALLOY, magmoms_out=[-1.0, -2.0, 0, 0], ordering="weird 'name'", forces=9 * np.eye(4)[:, :3]
    ),
]
ALL = list(range(len(POINTS)))
ANSWERS = [
    ("", ALL),
    ("formula=NiO", [0, 1, 2, 3]),
    ("system=Ni-Co-O", [5, 6]),
    ("system!=Co-Ni-O", [0, 1, 2, 3, 4]),
    ("elements=Co", [5, 6]),
    ("elements=Co,Mn", [4, 5, 6]),
    ("elements!=Co,Mn", [0, 1, 2, 3]),
    ("elements=Ni elements=Co", [5, 6]),
    ("species=Mn", [4]),
    ("x(Co)>=0.5", [5, 6]),
    ("x(Co)=0.5", [5, 6]),
    ("x(Co)<0.5", [0, 1, 2, 3, 4]),
    ("x(Co)!=0", [5, 6]),
    ("x(Co)=0", [0, 1, 2, 3, 4]),
    ("x(O)=1", ALL),
    ("x(Ni)=0,1", [0, 1, 2, 3, 4]),
    ("x(Ni)!=0,1", [5, 6]),
    ("m(Ni)>1.2", [0, 1, 2, 3]),
    ("m(Ni)<=1.2", [5, 6]),
    ("m(Ni)!=1", [0, 1, 2, 3]),
    ("mmax(Co)>2.5", [5]),
    ("ordering=FM", [1]),
    ("ordering=\"weird 'name'\"", [6]),
    ("ordering_found=FM", [1, 3]),
    ("flipped", [3, 6]),
    ("flipped=no", [0, 1, 2, 4, 5]),
    ("not flipped", [0, 1, 2, 4, 5]),
    ("flipped!=no verdict=accepted", [6]),
    ("deformation=shear", [0]),
    ("deformation!=shear", [1, 2, 3, 4, 5, 6]),
    ("parent=p", [0]),
    ("parent=''", [1, 2, 3, 4, 5, 6]),
    ("pair_id=g1,g2", [0, 1, 2, 3]),
    ("campaign='b c'", [2]),
    ("engine=vasp", [4]),
    ("engine!=vasp,test", []),
    (f"level_id={POINTS[2].level_id[:5]}", [2]),
    (f"level_id={POINTS[2].level_id[:5]},{POINTS[0].level_id[:5]} cell=rhombohedral4", ALL),
    (f"point_id={POINTS[4].point_id[:12]}", [4]),
    (f"config_id={POINTS[4].config_id}", [4]),
    (f"level_id!={POINTS[2].level_id[:5]}", [0, 1, 3, 4, 5, 6]),
    (f"level_id!={POINTS[2].level_id[:5]},{POINTS[0].level_id[:5]}", []),
    (f"point_id!={POINTS[4].point_id[:12]} verdict=accepted", [0, 1, 2, 5, 6]),
    ("verdict=rejected", [3]),
    ("above<60", [0, 2, 4]),
    ("above>=60", [1]),
    ("above>60 ordering=FM", [1]),
    ("above<500 above>1", [1]),
    ("fmax<1", [0, 1, 2, 3, 4]),
    ("fmax>=1 fmax<=1", [5]),
    ("energy_per_atom<-8", [4]),
    ("atoms=4", ALL),
    ("generation=2", [4]),
    ("generation>=2", [2, 4]),
    ("band_gap>1", [5]),
    ("band_gap!=0", [5]),
    ("band_gap!=1.5", []),
    ("not band_gap=1.5", [0, 1, 2, 3, 4, 6]),
    ("since=2020-01-01", ALL),
    ("before=2020-01-01", []),
    ("ordering=FM or engine=vasp", [1, 4]),
    ("(ordering=FM or engine=vasp) formula=MnO", [4]),
    ("not (ordering=FM or engine=vasp) formula=NiO", [0, 2, 3]),
    ("not not formula=MnO", [4]),
    ("not m(Co)>2.5", [0, 1, 2, 3, 4, 6]),
]


@pytest.fixture(params=KINDS, scope="module")
def store(request, tmp_path_factory):
    with new_store(request.param, tmp_path_factory.mktemp("store")) as opened:
        for point in POINTS:
            opened.put_point(point)
        opened.put_failure(make_failure(shift=0.9, campaign="a"))
        opened.put_failure(make_failure(shift=0.8, campaign="a", error_type="crashed"))
        yield opened


def which(found):
    ids = [point.point_id for point in POINTS]
    return [ids.index(point.point_id) for point in found]


@pytest.mark.parametrize(("text", "numbers"), ANSWERS)
def test_answers(store, text, numbers):
    assert sorted(which(find(store, text))) == numbers
    assert count(store, text) == len(numbers)
    assert len(list(select(store, text, ["point_id"], limit=1))) == min(1, len(numbers))


@pytest.mark.parametrize(
    ("equal", "numbers"),
    [
        ({"atoms": 4}, ALL),
        ({"fmax": [9, 1]}, [5, 6]),
        ({"system": "Ni-Co-O"}, [5, 6]),
        ({"flipped": True}, [3, 6]),
        ({"elements": ["Co", "Mn"]}, [4, 5, 6]),
        ({"x(Co)": 0}, [0, 1, 2, 3, 4]),
        ({"m(Co)": 2.7}, [5]),
        ({"m(Co)": []}, []),
        ({"level_id": POINTS[2].level_id[:5]}, [2]),
        ({"ordering": ["FM", "weird 'name'"], "verdict": "accepted"}, [1, 6]),
        ({"band_gap": None, "elements": "Co"}, [6]),
        ({"salvaged_from": "", "engine": {"vasp"}}, [4]),
    ],
)
def test_equal_fields_mean_what_they_mean_in_filters(store, equal, numbers):
    assert sorted(which(find(store, **equal))) == numbers


@pytest.mark.parametrize(
    ("equal", "part"),
    [
        ({"above": 5}, "'above' needs a filter, such as 'above<50"),
        ({"since": "2026-01-01"}, "'since' needs a filter"),
        ({"atoms": "4"}, "atoms='4': give a number"),
        ({"flipped": "no"}, "flipped='no': give True or False"),
        ({"ordering": 4}, "ordering=4: give a text"),
        ({"x(Nj)": 4}, "unknown element"),
    ],
)
def test_equal_fields_that_say_nothing(store, equal, part):
    with pytest.raises(DataError, match=part):
        list(find(store, **equal))


def test_order_and_limit(store):
    assert which(find(store, limit=3)) == [0, 1, 2]
    assert which(find(store, sort="energy", limit=2)) == [4, 3]
    assert which(find(store, sort="-fmax", limit=2)) == [6, 5]
    assert which(find(store, "elements=Co", sort="-mmax(Co)")) == [5, 6]
    assert which(find(store, "above<500", sort="-energy", limit=2)) == [2, 1]
    assert which(find(store, "above<60", limit=2)) == [0, 2]
    assert sorted(which(find(store, {"$and": [{"energy": {"$lt": -25}}, {"verdict": "accepted"}]}))) == [0, 4, 6]
    newest = {point.point_id for point in find(store, "verdict=accepted", sort="-since", limit=2)}
    assert len(newest) == 2


def test_equal_values_come_in_order_of_their_ids(store):
    ids = [point.point_id for point in POINTS]
    for sort, text in (("atoms", ""), ("-atoms", ""), ("generation", "generation=0"), ("-atoms", "above<500")):
        found = [point.point_id for point in find(store, text, sort=sort)]
        assert found == sorted(found, reverse=sort.startswith("-"))
    pages = [find_page(store, sort="-atoms", skip=start, limit=2) for start in range(0, len(ids), 2)]
    assert sorted(point_id for page in pages for point_id in page) == sorted(ids)


def find_page(store, **options):
    return [document["point_id"] for document in select(store, "", ["point_id"], **options)]


@pytest.mark.parametrize("sort", ["generation", "cell", "last_updated", "search.fmax", "search.energy_per_atom"])
def test_indexes_serve_the_order(tmp_path, sort):
    with new_store("local", tmp_path) as store:
        for direction in (1, -1):
            plan = store.points.explain({}, sort={sort: direction, "point_id": direction})
            assert any("USING INDEX" in step for step in plan), plan
            assert not any("TEMP B-TREE" in step for step in plan), plan


def test_projection(store):
    fields = ["formula", "m(Ni)", "fmax", "x(Mn)", "band_gap", "species"]
    (only,) = documents(store, fields, "formula=MnO")
    assert only == {
        "formula": "MnO",
        "m(Ni)": None,
        "fmax": pytest.approx(0.2),
        "x(Mn)": 1.0,
        "band_gap": None,
        "species": ["Mn", "Mn", "O", "O"],
    }
    assert [found["error_type"] for found in documents(store, ["error_type"], sort="error_type", failures=True)] == [
        "crashed",
        "not-converged",
    ]


def test_counts_per_group(store):
    assert count_by(store, ["formula"]) == {("MnO",): 1, (POINTS[5].formula,): 2, ("NiO",): 4}
    assert count_by(store, ["verdict", "ordering"], "formula=NiO") == {
        ("accepted", "AFM-II"): 2,
        ("accepted", "FM"): 1,
        ("rejected", "AFM-II"): 1,
    }
    assert count_by(store, ["x(Co)"]) == {(None,): 5, (0.5,): 2}
    assert count_by(store, ["band_gap"]) == {(None,): 6, (1.5,): 1}
    assert count_by(store, ["flipped"], "not elements=Co") == {(False,): 4, (True,): 1}
    assert count_by(store, ["ordering"], "above<60") == {("AFM-II",): 3}
    assert count_by(store, ["species"], "formula=MnO") == {("Mn, Mn, O, O",): 1}
    assert count_by(store, ["error_type"], failures=True) == {("crashed",): 1, ("not-converged",): 1}


def test_dates_are_those_of_the_last_change(store):
    (label,) = select(store, "formula=MnO")
    after = (label["last_updated"] + timedelta(seconds=1)).isoformat()
    assert datetime.now(UTC).replace(tzinfo=None) - label["last_updated"] < timedelta(hours=1)
    assert count(store, f"since={label['last_updated'].isoformat()} formula=MnO") == 1
    assert count(store, f"since={after} formula=MnO") == 0
    assert count(store, f"before={after} formula=MnO") == 1


def test_every_named_query_answers(store):
    some = POINTS[0]
    values = {name: getattr(some, name) for name in ("formula", "ordering", "deformation", "parent", "pair_id")}
    values |= {"campaign": "a", "generation": 0, "engine": "test", "level_id": some.level_id, "system": "Ni-O"}
    values |= {"element": "Ni", "fraction": 0.5, "moment": 1.2, "mev": 1, "force": 0.25, "date": "2020-01-01"}
    for name in NAMED:
        assert which(named(store, name, **values)), name
    assert which(named(store, "ordering", ordering="weird 'name'")) == [6]
    with pytest.raises(DataError, match="no query is called 'momnt'"):
        named(store, "momnt")
    with pytest.raises(DataError, match="needs element="):
        named(store, "moment")


def test_labels_of_an_earlier_version_are_not_passed_over_in_silence(tmp_path):
    with new_store("local", tmp_path) as store:
        store.put_point(POINTS[0])
        store.points.update(POINTS[5].to_document())
        assert count(store, "formula=NiO") == 1
        for text in ("fmax<1", "above<1", "flipped", "x(Co)=0 or formula=NiO"):
            with pytest.raises(DataError, match=rf"label {POINTS[5].point_id} .*data upgrade PLACE"):
                list(find(store, text))
        with pytest.raises(DataError, match="data upgrade"):
            count_by(store, ["fmax"])
        with pytest.raises(DataError, match="data upgrade"):
            count(store, "fmax<1")
        for sort in ("-fmax", "energy_per_atom"):
            with pytest.raises(DataError, match="data upgrade"):
                list(find(store, sort=sort, limit=1))
        with pytest.raises(DataError, match=r"searched by 'moment\.Ni' yet"):
            list(documents(store, ["formula", "m(Ni)"]))
        with pytest.raises(DataError, match="data upgrade"):
            of_store(store, parse_filter("not fmax<0"))


def test_a_condition_on_energies_above_others_cannot_be_denied(store):
    with pytest.raises(DataError, match="goes with 'and' only"):
        list(select(store, {"$nor": [{"$above": {"$lt": 1}}]}))


def test_a_damaged_label_of_an_earlier_version_is_named_with_what_helps(tmp_path):
    with new_store("local", tmp_path) as store:
        store.put_point(POINTS[0])
        store.points.update({**sealed(POINTS[5].to_document()), "energy": -1.0})
        assert len(upgrade_store(store).damaged) == 1
        with pytest.raises(DataError, match=rf"label {POINTS[5].point_id} .*it is damaged .*restore it from a backup"):
            count(store, "fmax<1")
        store.points.remove_docs({"point_id": POINTS[5].point_id})
        assert count(store, "fmax<1") == 1


def test_older_labels_that_others_write_meanwhile_are_seen_soon(tmp_path, monkeypatch):
    with new_store("local", tmp_path) as store:
        store.put_point(POINTS[0])
        assert count(store, "fmax<1") == 1
        store.points.update(POINTS[5].to_document())
        assert count(store, "fmax<1") == 1
        later = time.monotonic() + LOOKED_AT
        monkeypatch.setattr("datastore.select.time.monotonic", lambda: later)
        with pytest.raises(DataError, match="data upgrade"):
            count(store, "fmax<1")
