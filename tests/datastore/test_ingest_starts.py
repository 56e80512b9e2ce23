"""Several starts of one state in a store: any order of arrival, kills, decisions, salvaged labels, training sets."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from datastore import ingest as ingest_module
from datastore.atoms import read_points
from datastore.decisions import decide
from datastore.ingest import ingest, judge_states, rejudge, settle
from datastore.metastable import SAME_ENERGY, SAME_MOMENTS
from datastore.outliers import outlier_group
from datastore.quality import judge
from datastore.queries import find
from datastore.salvage import reversed_label
from datastore.snapshot import make_snapshot
from datastore.splits import SplitOptions
from datastore.stores import open_store
from datastore.verify import verify
from tests.datastore.support import make_point
from tests.datastore.test_ingest import run
from tests.datastore.test_metastable import CO, start

STARTS = Path(__file__).parents[1] / "data" / "gpaw_coo_starts.extxyz"
USUAL, HIGH, LOW = start(1.0, 0.02), start(3.0, name="high"), start(0.5, 0.03, moment=1.0, name="low")
AGAIN = start(4.0, 1e-5, name="4x")
EXPECTED = {"": "metastable", "high": "", "low": "low spin", "4x": "repeat"}


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    with open_store({"local": f"local:{tmp_path / 'data'}", "memory": "memory:"}[request.param]) as opened:
        yield opened


def told(store):
    """Start -> first word of the first reason."""
    documents = store.points.query({}, ["start", "verdict_reasons"])
    return {d["start"]: (d["verdict_reasons"] or [""])[0].split(":")[0] for d in documents}


def content(store):
    keep = ("verdict", "verdict_reasons", "excitation", "ground", "decision")
    return {d["point_id"]: [d[key] for key in keep] for d in store.points.query({})}


def test_every_order_of_arrival_ends_alike():
    seen = []
    for order in itertools.permutations([USUAL, HIGH, LOW, AGAIN]):
        with open_store("memory:") as store:
            for number, point in enumerate(order):
                run(store, point.to_document(), start=number)
                ingest(store)
            assert told(store) == EXPECTED
            seen.append(content(store))
    assert all(one == seen[0] for one in seen)


def test_all_at_once_and_again(store):
    run(store, *(point.to_document() for point in (USUAL, HIGH, LOW, AGAIN)))
    assert ingest(store).metastable == 2
    assert told(store) == EXPECTED
    before = content(store)
    assert store.get_point(USUAL.point_id).excitation == pytest.approx(0.02)
    low = store.get_point(LOW.point_id)
    assert (low.excitation, low.ground) == (pytest.approx(0.03), HIGH.point_id)
    stamp = store.points.last_updated
    assert judge_states(store, outlier_group(USUAL)) == []
    assert ingest(store).metastable == 0
    assert rejudge(store) == 0
    assert content(store) == before
    assert store.points.last_updated == stamp
    assert verify(store).problems == []


def test_a_kill_on_the_way_is_made_good(store, monkeypatch):
    run(store, *(point.to_document() for point in (USUAL, HIGH, LOW, AGAIN)))
    put, calls = type(store).put_point, []

    def dies(self, point):
        if point.ground:
            calls.append(point)
            if len(calls) == 2:
                raise KeyboardInterrupt
        put(self, point)

    with monkeypatch.context() as patched:
        patched.setattr(type(store), "put_point", dies)
        with pytest.raises(KeyboardInterrupt):
            ingest(store)
    assert told(store) != EXPECTED
    settle(store)
    assert told(store) == EXPECTED


def test_a_lower_label_demotes_the_ground_label_and_who_has_seen_it_is_named(store, tmp_path):
    others = [make_point(shift=0.03 * i, pair_id=f"p{i}") for i in range(1, 4)]
    for point in (USUAL, *others):
        store.put_point(point)
    everything = SplitOptions(fractions=(1.0, 0.0, 0.0), min_test=0)
    first = make_snapshot(store, tmp_path, criteria={"species": "Co"}, options=everything)
    assert first.points["train"] == [USUAL.point_id]
    run(store, HIGH.to_document())
    report = ingest(store)
    assert report.metastable == 1
    assert [line for line in report.seen_by if first.snapshot_id in line and "train" in line]
    second = make_snapshot(store, tmp_path, criteria={"species": "Co"}, options=everything, previous=first)
    assert second.points["train"] == [HIGH.point_id]


@pytest.mark.parametrize("action", ["reject", "retract"])
def test_a_ground_label_rejected_by_hand_gives_way_until_it_is_restored(store, action):
    run(store, *(point.to_document() for point in (USUAL, HIGH, LOW)))
    ingest(store)
    decide(store, [HIGH.point_id], action, "Ada", "wrong setups")
    settle(store)
    assert store.get_point(USUAL.point_id) == USUAL
    low = store.get_point(LOW.point_id)
    assert (low.ground, low.excitation) == (USUAL.point_id, pytest.approx(0.01))
    assert store.get_point(HIGH.point_id).verdict == "rejected"
    decide(store, [HIGH.point_id], "restore", "Ada", "they were right")
    settle(store)
    assert store.get_point(HIGH.point_id) == HIGH
    assert store.get_point(USUAL.point_id).ground == HIGH.point_id
    assert verify(store).problems == []


def test_a_metastable_label_accepted_by_hand_stays_accepted(store):
    run(store, *(point.to_document() for point in (USUAL, HIGH)))
    ingest(store)
    decide(store, [USUAL.point_id], "accept", "Ada", "this state is wanted")
    settle(store)
    kept = store.get_point(USUAL.point_id)
    assert kept.verdict == "accepted"
    assert kept.excitation == pytest.approx(0.02)
    assert [reason.split(":")[0] for reason in kept.overruled] == ["metastable"]
    assert store.get_point(HIGH.point_id).verdict == "accepted"
    assert rejudge(store) == 0


def test_low_spin_accepted_by_hand_can_be_the_ground_label(store):
    low = start(0.5, -0.03, moment=1.0, name="low")
    run(store, *(point.to_document() for point in (HIGH, low)))
    ingest(store)
    assert store.get_point(low.point_id).excitation == pytest.approx(-0.03)
    assert store.get_point(HIGH.point_id).verdict == "accepted"
    decide(store, [low.point_id], "accept", "Ada", "a spin crossover")
    settle(store)
    assert store.get_point(low.point_id).excitation is None
    assert store.get_point(HIGH.point_id).ground == low.point_id


@pytest.mark.parametrize("flipped_first", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_salvaged_label_below_a_real_one_is_kept_in_its_place(store, flipped_first, sign):
    """The antiferromagnet was reached in a lower state from the ferromagnet's moments, of equal magnitudes."""
    real = judge(start(1.0, 0.02))
    real = real if sign == 1 else reversed_label(real)
    flipped = judge(
        make_point(
            **CO,
            magmoms_in=np.array([1.0, 1.0, 0.0, 0.0]),
            magmoms_out=np.array([2.6, -2.6, 0.0, 0.0]),
            ordering="FM",
        )
    )
    order = [flipped, real] if flipped_first else [real, flipped]
    for number, point in enumerate(order):
        run(store, point.to_document(), start=number)
        ingest(store)
    (copy,) = store.points.query({"salvaged_from": flipped.point_id})
    assert copy["verdict"] == "accepted"
    higher = store.get_point(real.point_id)
    assert (higher.ground, higher.excitation) == (copy["point_id"], pytest.approx(0.02))
    assert rejudge(store) == 0
    assert verify(store).problems == []


def test_metastable_labels_do_not_make_others_outliers(store):
    """A label far above its surface is metastable beside its ground label, and nothing is held against the others."""
    points = [start(1.0, shift=0.01 * i, pair_id=f"p{i}") for i in range(6)]
    points = [p.model_copy(update={"forces": np.zeros((4, 3))}) for p in points]
    wrong = start(1.0, 0.06, shift=0.06).model_copy(update={"forces": np.zeros((4, 3))})
    run(store, *(p.to_document() for p in (*points, wrong)))
    report = ingest(store)
    assert (report.outliers, report.metastable) == (1, 0)
    right = start(3.0, shift=0.06, name="high").model_copy(update={"forces": np.zeros((4, 3))})
    run(store, right.to_document(), start=20)
    report = ingest(store)
    assert report.outliers == 0
    (reason,) = store.get_point(wrong.point_id).verdict_reasons
    assert reason.startswith("metastable: 60.0 meV/atom above")
    assert all(store.get_point(p.point_id).verdict == "accepted" for p in (*points, right))


def test_first_principles_starts_of_the_metastable_labels_of_the_pool(store):
    """PBE+U, two labels of CoO that lie above the surface of their neighbours, started again (docs/quality.md)."""
    labels = [judge(point) for point in read_points(STARTS)]
    # No rule on a label alone objects to the usual guess.
    assert all(point.verdict == "accepted" for point in labels if not point.start)
    run(store, *(point.to_document() for point in labels))
    ingest(store)
    for pair in ("p0005", "p0035"):
        stored = {p.start: p for p in find(store, pair_id=pair)}
        assert stored[""].ground == stored["1.5x"].point_id
        assert stored[""].excitation == pytest.approx(0.093, abs=5e-4)
        assert [p.start for p in stored.values() if p.verdict == "accepted"] == ["1.5x"]
    low = next(find(store, pair_id="p0035", start="0.5x"))
    assert [reason.split(":")[0] for reason in low.verdict_reasons] == ["low spin", "metastable"]
    assert low.excitation == pytest.approx(0.505, abs=5e-4)
    (same,) = (p for p in find(store, pair_id="p0005", start="high-spin"))
    assert same.verdict_reasons[0].startswith("repeat: the same state as label")


def test_one_state_from_several_starts_agrees_far_within_the_tolerance():
    """PBE+U: the two starts of p0035 that ended in the same metastable state."""
    usual, high = (p for p in read_points(STARTS) if p.pair_id == "p0035" and p.start in ("", "high-spin"))
    assert abs(usual.free_energy - high.free_energy) / 4 < SAME_ENERGY / 100
    np.testing.assert_allclose(usual.magmoms_out, high.magmoms_out, atol=SAME_MOMENTS / 10)


def test_damaged_geometry_is_told(store):
    run(store, USUAL.to_document())
    ingest(store)
    store.points.update({**store.points.query_one({}), "positions": [[0.0], [1.0, 2.0]]})
    with pytest.raises(ingest_module.DataError, match=rf"{USUAL.point_id} is damaged"):
        judge_states(store, outlier_group(USUAL))
