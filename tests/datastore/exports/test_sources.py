import re

import pytest

from datastore import open_store
from datastore.errors import DataError
from datastore.exports.run import export
from datastore.exports.sources import is_snapshot, of_snapshot, of_store
from datastore.label_sets import SetOptions
from datastore.queries import find, parse_filter
from datastore.snapshot import make_snapshot
from datastore.splits import SplitOptions
from tests.datastore.support import make_point
from tests.datastore.test_select import ANSWERS, POINTS

LEVELS = [{"code": "A", "ecut": 1}, {"code": "B", "ecut": 1}]
OPTIONS = SplitOptions(fractions=(0.5, 0.25, 0.25))


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A store with the labels whose answers are known, and a snapshot of most of them."""
    with open_store("memory:") as opened:
        for point in POINTS:
            opened.put_point(point)
        of_level = {"level_id": POINTS[0].level_id}
        yield opened, make_snapshot(opened, tmp_path_factory.mktemp("s"), criteria=of_level, options=OPTIONS).folder


@pytest.fixture
def store():
    """Eight geometries, each labelled at two levels."""
    with open_store("memory:") as opened:
        for theory in LEVELS:
            for number in range(8):
                opened.put_point(make_point(shift=0.1 * number, level_of_theory=theory, generation=number))
        yield opened


def test_a_snapshot_gives_what_the_store_has(store, tmp_path):
    made = make_snapshot(store, tmp_path, criteria={"level_of_theory.code": "A"}, options=OPTIONS)
    assert is_snapshot(made.folder)
    assert not is_snapshot(tmp_path)
    source = of_snapshot(made.folder, {})
    assert (source.level_id, source.level_name, source.most) == (made.level_id, "A-1eV", 8)
    of_the_store = {labelled.point.point_id for labelled in of_store(store, {}, "A-1eV").labels("")}
    assert {labelled.point.point_id for labelled in source.labels("")} == of_the_store
    assert [labelled.split for labelled in source.labels("val")] == ["val"] * made.counts["val"]
    assert [frame.value("split") for frame in source.texts("test")] == ["test"] * made.counts["test"]
    few = of_snapshot(made.folder, {"generation": {"$lt": 3}})
    assert few.texts is None
    assert {labelled.point.generation for labelled in few.labels("")} == {0, 1, 2}


def test_a_set_of_several_levels_has_to_be_asked_for_one(store, tmp_path):
    made = make_snapshot(store, tmp_path, options=OPTIONS, labels=SetOptions(kind="multi-head"))
    with pytest.raises(DataError, match=r"must not be mixed; choose --level: .*A-1eV"):
        of_snapshot(made.folder, {})
    source = of_snapshot(made.folder, {}, "B-1eV")
    assert {labelled.point.level_of_theory["code"] for labelled in source.labels("")} == {"B"}
    assert export(source, tmp_path / "b.extxyz").labels == 8


def test_differences_say_what_they_are(store, tmp_path):
    levels = tuple(of_store(store, {}, f"{name}-1eV").level_id for name in ("A", "B"))
    made = make_snapshot(store, tmp_path, options=OPTIONS, labels=SetOptions(kind="delta", levels=levels))
    source = of_snapshot(made.folder, {})
    assert source.level_name == "B-1eV-minus-A-1eV"
    written = export(source, tmp_path / "d.extxyz", keys="mace")
    assert 'label_kind="delta"' in written.files[0].read_text()
    assert "B-1eV-minus-A-1eV" in written.card.read_text()


def test_a_damaged_snapshot_is_not_exported(store, tmp_path):
    made = make_snapshot(store, tmp_path, criteria={"level_of_theory.code": "A"}, options=OPTIONS)
    made.path("train").write_text("")
    with pytest.raises(DataError, match="is damaged: its checksum differs"):
        of_snapshot(made.folder, {})


@pytest.mark.parametrize("text", [text for text, _ in ANSWERS if not re.search("since|before|above", text)])
def test_every_filter_means_the_same_in_a_snapshot(answered, text):
    opened, folder = answered
    criteria, level = parse_filter(text), POINTS[0].level_id
    in_store = find(opened, {"$and": [criteria, {"verdict": "accepted", "level_id": level}]})
    in_snapshot = of_snapshot(folder, criteria).labels("")
    assert {labelled.point.point_id for labelled in in_snapshot} == {point.point_id for point in in_store}


@pytest.mark.parametrize("text", ["since=2020-01-01", "formula=NiO or before=2020-01-01", "above<50 formula=NiO"])
def test_what_only_a_store_knows_is_not_asked_of_a_snapshot(answered, text):
    with pytest.raises(DataError, match=r"labels of a snapshot do not know .*; ask the store they come from"):
        of_snapshot(answered[1], parse_filter(text))


def test_energies_above_the_lowest_select_what_is_exported(answered):
    opened, _ = answered
    source = of_store(opened, parse_filter("above>60"), POINTS[0].level_id[:8])
    assert [labelled.point.ordering for labelled in source.labels("")] == ["FM"]
    with pytest.raises(DataError, match="no label matches"):
        of_store(opened, parse_filter("above>600"))
