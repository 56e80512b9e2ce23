"""Calculations that were read elsewhere: stored once, remembered, refusals included."""

import numpy as np
import pytest

from datastore import open_store
from datastore.calculations import CHUNK, Calculation, Known, import_points, known_calculations
from datastore.importing import Replacement
from datastore.queries import find
from tests.datastore.support import make_failure, make_point


@pytest.fixture(params=["memory:", "local:store"])
def store(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_store(request.param) as opened:
        yield opened


def calculation(number, **changes):
    source = {"file": f"run{number}", "importer": "test"}
    return Calculation(
        f"/a/run{number}", f"stamp{number}", (make_point(shift=1e-3 * number, source=source, **changes),)
    )


def test_labels_go_in_by_chunks_and_are_remembered(store):
    store.put_failure(make_failure(shift=1e-3))
    number, seen = 2 * CHUNK + 3, []
    report = import_points(store, map(calculation, range(number)), seen.append)
    assert (report.frames, report.accepted, report.not_in, report.present) == (number, number, 0, 0)
    assert seen == [CHUNK, 2 * CHUNK, number]
    assert len(list(find(store))) == number
    assert store.failures.count() == 0
    known = known_calculations(store)
    assert known["/a/run7"] == Known("stamp7", 1)
    assert len(known) == number


def test_what_is_known_is_counted_and_nothing_is_written(store):
    refused = Calculation("/a/bad", "x", refused=(("truncated", "OUTCAR ends early"),))
    import_points(store, [calculation(1), refused])
    before = list(store.points.query({}))
    report = import_points(store, known_calculations(store).items())
    assert (report.frames, report.accepted, report.present, report.not_in) == (2, 0, 1, 1)
    assert report.refused["truncated"].examples == ["/a/bad: OUTCAR ends early (unchanged, so it was not read again)"]
    assert list(store.points.query({})) == before


def test_refusals_keep_reason_and_place(store):
    items = [Calculation(f"/a/{name}", "s", refused=(("truncated", "OUTCAR ends early"),)) for name in "abcde"]
    report = import_points(store, [*items, calculation(1)])
    assert report.refused["truncated"].count == 5
    assert report.refused["truncated"].examples[0] == "/a/a: OUTCAR ends early"
    assert report.accepted == 1
    assert known_calculations(store)["/a/e"] == Known("s", 0, (("truncated", "OUTCAR ends early"),))


@pytest.mark.parametrize(
    ("changes", "reason", "part"),
    [
        ({"forces": np.full((4, 3), 2e3)}, "implausible forces", "2e+03 eV/Angstrom"),
        ({"timings": {"wall": -1.0}}, "implausible timings", "wall is -1"),
        ({"level_of_theory": {"$where": 1}}, "not storable", "dollar sign"),
        ({"level_of_theory": {"delta": {"from": {}, "to": {}}}}, "a difference of two levels", "both levels"),
    ],
)
def test_a_label_that_no_oxide_has_is_refused_alone(store, changes, reason, part):
    report = import_points(store, [calculation(1), calculation(2, **changes), calculation(3)])
    assert {name: refusals.count for name, refusals in report.refused.items()} == {reason: 1}
    assert "/a/run2" in report.refused[reason].examples[0]
    assert part in report.refused[reason].examples[0]
    assert report.refused[reason].examples[0].count(reason) <= 1
    assert report.accepted == 2
    assert known_calculations(store)["/a/run2"].labels == 0


def test_the_same_calculation_at_two_places_is_one_label(store):
    moved = Calculation("/b/run1", "other", calculation(1).points)
    other = Calculation("/c/run1", "third", calculation(1, energy=-25.0).points)
    report = import_points(store, [calculation(1), moved, other])
    assert (report.accepted, report.present, report.disagreeing.count) == (1, 1, 1)
    assert store.points.count() == 1


@pytest.mark.parametrize(("first", "second", "told"), [([3, 3, 3], [6, 6, 6], True), ([3, 3, 3], [3, 3, 3], False)])
def test_two_samplings_of_one_level_are_named(store, first, second, told):
    """A series of k meshes, whose level has no rule: the first is kept, and the report says of what it is."""
    fine = Calculation("/b/run1", "other", calculation(1, kpoints=second, energy=-25.0).points)
    report = import_points(store, [calculation(1, kpoints=first), fine])
    (example,) = report.disagreeing.examples
    assert "energy differs by" in example
    assert ("k mesh 6x6x6 here, 3x3x3 there" in example) is told


def test_a_calculation_may_give_labels_and_refusals(store):
    both = Calculation("/a/1", "s", calculation(1).points, (("truncated", "relax1 ends early"),))
    for examples in (["/a/1: relax1 ends early"], ["/a/1: relax1 ends early (unchanged, so it was not read again)"]):
        known = known_calculations(store)
        report = import_points(store, known.items() or [both])
        assert (report.frames, report.not_in) == (2, 1)
        assert report.refused["truncated"].examples == examples


def test_a_damaged_note_means_reading_again(store):
    import_points(store, [calculation(1), calculation(2)])
    store.imported.update([{"origin": "/a/run1", "stamp": "s", "labels": 1, "refused": "no"}])
    assert list(known_calculations(store)) == ["/a/run2"]


def test_numbers_that_were_read_wrongly_are_replaced_with_a_reason(store):
    import_points(store, [calculation(1)])
    mended = [calculation(1, energy=-25.0)]
    report = import_points(store, mended, replace=Replacement("Ada", "the parser took another step"))
    assert report.replaced == 1
    (point,) = find(store)
    assert (point.energy, point.source["replaced"][0]["energy"]) == (-25.0, -25.4)


def test_a_flipped_label_is_salvaged_and_outliers_are_judged(store):
    flipped = calculation(1, magmoms_out=np.array([1.8, 1.8, 0.0, 0.0]), total_moment=3.6, band_gap=0.0)
    report = import_points(store, [flipped])
    assert (report.rejected, report.salvaged) == (1, 1)
    assert store.ingested.count({"judged": False}) == 0


def test_an_interrupted_import_has_what_it_acknowledged(store):
    def cut():
        yield from map(calculation, range(CHUNK + 5))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_points(store, cut())
    assert store.points.count() == len(known_calculations(store)) == CHUNK
    report = import_points(store, map(calculation, range(CHUNK + 5)))
    assert (report.accepted, report.present) == (5, CHUNK)
