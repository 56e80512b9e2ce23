import pytest

from datastore.errors import DataError
from datastore.queries import above_lowest, find, pairs, parse_filter, stats
from datastore.stores import open_store
from tests.datastore.support import make_failure, make_point

OTHER = {"engine": "other"}
POINTS = [
    make_point(pair_id="g1", campaign="a", deformation="shear"),
    make_point(
        pair_id="g1", campaign="a", ordering="FM", ordering_found="FM", magmoms_in=[2.5, 2.5, 0, 0], energy=-25.0
    ),
    make_point(pair_id="g1", campaign="b", level_of_theory=OTHER, energy=-1.0),
    make_point(shift=0.1, verdict="rejected", verdict_reasons=["flipped"], ordering_found="FM", pair_id="g2"),
    make_point(shift=0.2, species=["Mn", "Mn", "O", "O"], generation=2, pair_id="g2", energy=-34.0),
]


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    with open_store({"local": f"local:{tmp_path / 'data'}", "memory": "memory:"}[request.param]) as opened:
        for point in POINTS:
            opened.put_point(point)
        opened.put_failure(make_failure(shift=0.9))
        yield opened


def which(points):
    ids = [point.point_id for point in POINTS]
    return sorted(ids.index(point.point_id) for point in points)


def test_find(store):
    assert which(find(store)) == [0, 1, 2, 3, 4]
    assert which(find(store, campaign="a")) == [0, 1]
    assert which(find(store, ordering="AFM-II", ordering_found="FM")) == [3]
    assert which(find(store, level_id=POINTS[2].level_id)) == [2]
    assert which(find(store, {"energy": {"$lt": -30}}, verdict="accepted")) == [4]
    assert which(find(store, ordering=["FM", "AFM-I"])) == [1]
    assert len(list(find(store, limit=2))) == 2
    assert list(find(store, formula="MnO")) == [POINTS[4]]


def test_the_beginning_of_a_level_id_is_enough(store):
    first, other = POINTS[0].level_id, POINTS[2].level_id
    assert which(find(store, parse_filter(f"level_id={other[:6]}"))) == [2]
    assert which(find(store, parse_filter(f"level_id={other}"))) == [2]
    assert which(find(store, parse_filter(f"level_id={other[:6]},{first[:6]} formula=NiO"))) == [0, 1, 2, 3]
    assert which(find(store, parse_filter("level_id=."))) == []
    assert which(find(store, parse_filter("level_id=''"))) == []


def test_pairs_are_of_one_level_and_accepted(store):
    (only,) = pairs(store)
    assert which(only.points) == [0, 1]
    assert [point.ordering for point in only.points] == ["AFM-II", "FM"]
    assert only.differences == pytest.approx([0.0, 0.1])
    assert {p.pair_id for p in pairs(store, accepted_only=False)} == {"g1", "g2"}
    assert list(pairs(store, {"campaign": "b"})) == []


def test_stats(store):
    found = stats(store)
    assert found.total == 5
    assert found.counts["NiO", "rhombohedral4", "AFM-II", "shear", "accepted"] == 1
    assert found.counts["NiO", "rhombohedral4", "AFM-II", "none", "rejected"] == 1
    assert found.levels[POINTS[2].level_id] == (1, OTHER)
    assert found.origins == {("", "test"): (2, 1), ("a", "test"): (2, 0), ("b", "test"): (1, 0)}
    assert (found.other_ordering, found.failures) == (1, 1)
    assert stats(store, parse_filter("formula=MnO")).total == 1


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("ordering=AFM-II verdict=accepted energy<-5", [0, 4]),
        ("energy>-30 energy<=-25.0", [0, 1, 3]),
        ("ordering!=AFM-II", [1]),
        ("ordering=FM,AFM-I", [1]),
        ("ordering!=FM,AFM-I", [0, 2, 3, 4]),
        ("deformation=shear", [0]),
        ("deformation!=shear cell=rhombohedral4 formula=NiO verdict=accepted", [1, 2]),
        ("species=Mn", [4]),
        ("generation>=1", [4]),
        ("generation=2", [4]),
        ("campaign=''", [3, 4]),
        ("pair_id==g2", [3, 4]),
    ],
)
def test_filter_language(store, text, numbers):
    assert which(find(store, parse_filter(text))) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("orderin=FM", "did you mean 'ordering'"),
        ("zzz=1", "known: formula"),
        ("FM", "no operator"),
        ("energy<low", "'low' is no number"),
        ("energy<1,2", "takes one number"),
        ("ordering<FM", "is text"),
        ("campaign='a", "close the quotes"),
        ("$where=1", "unknown field"),
    ],
)
def test_filter_errors(text, message):
    with pytest.raises(DataError, match=message.replace("$", r"\$")):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "count"), [("", 1), ("error_type=not-converged ordering=AFM-II", 1), ("error_type=crashed", 0)]
)
def test_filters_of_failures(store, text, count):
    assert store.failures.count(parse_filter(text, failures=True)) == count


@pytest.mark.parametrize("text", ["verdict=accepted", "energy<0"])
def test_failures_have_no_results_to_filter_by(text):
    with pytest.raises(DataError, match=r"unknown field .* of failures"):
        parse_filter(text, failures=True)
    with pytest.raises(DataError, match="unknown field 'error_type'"):
        parse_filter("error_type=crashed")


def test_unknown_keyword(store):
    with pytest.raises(DataError, match="did you mean 'campaign'"):
        list(find(store, campain="a"))


def test_energies_above_the_lowest_are_those_of_filters(tmp_path):
    low = make_point(pair_id="g", energy=-25.4, free_energy=-25.0)
    high = make_point(pair_id="g", ordering="FM", magmoms_in=[2, 2, 0, 0], energy=-25.0, free_energy=-27.0)
    lost = make_point(pair_id="g", magmoms_in=[2, -2.2, 0, 0], energy=-26.0, verdict="rejected", verdict_reasons=["a"])
    assert above_lowest([low, high, lost]) == pytest.approx([0.0, 0.1, -0.15])
    assert above_lowest([lost]) == [0.0]
    with open_store(f"local:{tmp_path}") as store:
        for point in (low, high, lost):
            store.put_point(point)
        assert [point.ordering for point in find(store, "above>99 above<101")] == ["FM"]
        (pair,) = pairs(store, accepted_only=False)
        assert dict(zip([p.point_id for p in pair.points], pair.differences, strict=True)) == pytest.approx(
            {low.point_id: 0.0, high.point_id: 0.1, lost.point_id: -0.15}
        )
