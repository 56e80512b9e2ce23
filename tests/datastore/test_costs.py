"""Costs against tables worked out by hand, and estimates against costs that are known."""

import math

import numpy as np
import pytest

from datastore import open_store
from datastore.checksums import sealed
from datastore.costs import Cost, Work, core_seconds, estimate, ledger, read_log, total
from datastore.decisions import decide
from datastore.errors import DataError
from datastore.ingest import LabelBuilder
from datastore.quality import judge
from tests.datastore.support import LEVEL, make_failure, make_point

EIGHT = {
    "species": ["Ni"] * 4 + ["O"] * 4,
    "positions": np.arange(24.0).reshape(8, 3) / 6,
    "magmoms_in": [2.0, -2.0] * 2 + [0.0] * 4,
    "magmoms_out": [1.8, -1.8] * 2 + [0.0] * 4,
    "forces": np.zeros((8, 3)),
}


@pytest.fixture
def store():
    with open_store("memory:") as opened:
        put = opened.put_point
        put(make_point(campaign="a", timings={"wall": 30.0, "cpu": 29.0, "cores": 1.0}))
        put(make_point(campaign="a", shift=0.1, timings={"wall": 20.0, "cores": 4.0}))
        put(make_point(campaign="a", shift=0.2, timings={"cpu": 10.0}, verdict="rejected", verdict_reasons=["flipped"]))
        put(make_point(campaign="b", shift=0.3, timings={}))
        put(make_point(campaign="b", **EIGHT, timings={"wall": 100.0}))
        put(make_point(campaign="b", shift=0.4, timings={"wall": 7.0}, level_of_theory={**LEVEL, "U": {}}))
        opened.put_failure(make_failure(campaign="a", shift=0.5, timings={"wall": 60.0}))
        opened.put_failure(make_failure(campaign="b", shift=0.6, error_type="refused"))
        yield opened


def test_costs_by_campaign(store):
    found = ledger(store, by=["campaign"])
    # a: 30 + 20 x 4 + 10 (CPU time) + 60 = 180, of which 10 rejected and 60 failed
    # b: unknown + 100 + 7 + 0 (refused) = 107
    assert found == {
        ("a",): Cost(accepted=2, rejected=1, failed=1, untimed=0, seconds=180.0, wasted=70.0),
        ("b",): Cost(accepted=3, rejected=0, failed=1, untimed=1, seconds=107.0, wasted=0.0),
    }
    assert found["a",].per_accepted == 90.0
    assert total(found.values()) == Cost(5, 1, 2, 1, 287.0, 70.0)


def test_costs_by_level_size_and_filter(store):
    assert [(key[1:], cost.seconds) for key, cost in ledger(store, by=["level_id", "formula", "atoms"]).items()] == [
        (("NiO", 4), 180.0),
        (("NiO", 8), 100.0),
        (("NiO", 4), 7.0),
    ]
    only = ledger(store, {"campaign": "b"}, ["atoms", "moment_role"])[8, "guess"]
    assert only.seconds == 100.0


def test_without_an_accepted_label_there_is_no_cost_of_one(store):
    found = ledger(store, {"verdict": "rejected"}, ["campaign"])
    assert found["a",].per_accepted is None


def test_unknown_fields_are_an_error(store):
    with pytest.raises(DataError, match="did you mean 'formula'"):
        ledger(store, by=["fromula"])
    with pytest.raises(DataError, match="known: campaign, level_id"):
        ledger(store, by=["x"])


def test_a_salvaged_label_was_paid_for_already():
    assert core_seconds({"timings": {"wall": 5.0}, "salvaged_from": "x"}) == 0.0
    assert core_seconds({"timings": {"wall": 5.0}, "salvaged_from": ""}) == 5.0
    assert core_seconds({"timings": {}}) is None
    assert core_seconds({}) is None


def test_a_flip_that_was_salvaged_is_not_wasted():
    flipped = {"magmoms_out": np.array([1.8, 1.8, 0.01, -0.01]), "total_moment": 4.0, "timings": {"wall": 60.0}}
    with open_store("memory:") as opened:
        builder = LabelBuilder(opened)
        builder.update_targets([builder.process_item(job_of(judge(make_point(**flipped))))])
        (cost,) = ledger(opened, by=["formula"]).values()
        assert (cost.accepted, cost.rejected, cost.seconds, cost.wasted) == (1, 1, 60.0, 0.0)
        (copy,) = opened.points.distinct("point_id", {"verdict": "accepted"})
        decide(opened, [copy], "reject", "Ada", "of no use")
        (cost,) = ledger(opened, by=["formula"]).values()
        assert (cost.accepted, cost.wasted) == (0, 60.0)


def job_of(point):
    return {"uuid": "u", "index": 1, "completed_at": "now", "output": sealed(point.to_document())}


def test_the_campaign_that_paid_is_the_one_of_the_ledger(store):
    store.put_point(make_point(campaign="a", calculated_by="again", shift=0.7, timings={"wall": 5.0}))
    store.put_failure(make_failure(campaign="a", calculated_by="again", shift=0.8, timings={"wall": 2.0}))
    found = ledger(store, by=["campaign"])
    assert {key[0]: cost.seconds for key, cost in found.items()} == {"a": 180.0, "b": 107.0, "again": 7.0}
    for criteria in (
        {"campaign": "again"},
        {"campaign": {"$in": ["again", "none"]}},
        {"$and": [{"campaign": "again"}, {"formula": "NiO"}]},
        {"formula": "NiO", "campaign": {"$nin": ["a", "b"]}},
    ):
        assert list(ledger(store, criteria, ["campaign"])) == [("again",)]
    assert ledger(store, {"campaign": "a"}, ["campaign"])["a",].seconds == 180.0


def test_negative_times_say_nothing():
    assert core_seconds({"timings": {"wall": -5.0}}) is None
    assert core_seconds({"timings": {"wall": None, "cpu": 3.0}}) == 3.0
    assert core_seconds({"timings": {"wall": 5.0, "cores": -1.0}}) == 5.0


def test_the_log_of_runs_counts_starts_without_an_end(tmp_path):
    path = tmp_path / "calculations.jsonl"
    assert read_log(path) == {}
    path.write_text(
        '{"event": "started", "type": "label"}\n{"event": "done", "type": "label", "seconds": 3.5}\n'
        '{"event": "started", "type": "label"}\n{"event": "failed", "type": "train", "seconds": 2.0}\n'
        '{"event": "started", "type": "train"}\n{"event": "started", "type": "label"}\n{"event": "sta'
    )
    found = read_log(path)
    assert (found["label"].started, found["label"].finished, found["label"].cut_off) == (3, 1, 2)
    assert found["label"].seconds == 3.5
    assert (found["train"].cut_off, found["train"].seconds) == (0, 2.0)


def work(atoms, seconds=math.nan, formula="NiO", level="here", engine="gpaw", guess=None):
    return Work(formula, atoms, guess if guess is not None else atoms * 1.0, level, engine, seconds)


def test_equal_costs_have_no_range():
    found = estimate([work(4)] * 10, [work(4, 30.0)] * 5, "here", "gpaw")
    assert (found.seconds, found.low, found.high) == pytest.approx((300.0, 300.0, 300.0))
    (basis,) = found.bases
    assert (basis.samples, basis.exponent, basis.calculations) == (5, None, 10)
    assert basis.rests_on == "calculations of NiO at this level of theory"


def test_a_power_law_of_the_number_of_atoms_is_found():
    done = [work(n, 2.0 * n**2.5) for n in (4, 8, 16, 32)]
    found = estimate([work(64)] * 3, done, "here", "gpaw")
    assert found.bases[0].exponent == pytest.approx(2.5)
    assert found.seconds == pytest.approx(3 * 2.0 * 64**2.5)
    assert found.high == pytest.approx(found.low)


def test_one_size_carries_over_by_the_engines_own_law():
    done = [work(4, 30.0, guess=10.0)] * 4
    found = estimate([work(8, guess=50.0)], done, "here", "gpaw")
    assert found.seconds == pytest.approx(150.0)
    assert found.bases[0].exponent is None


def test_the_range_holds_what_happens():
    """Of 60 sums of 20 calculations with lognormal scatter, about 6 are below `low`, and 6 above `high`."""
    rng = np.random.default_rng(1)

    def calculations(number):
        sizes = rng.choice([4, 8, 16], size=number)
        return [work(int(n), 2.0 * n**2.2 * math.exp(rng.normal(scale=0.4))) for n in sizes]

    below = above = 0
    for _ in range(60):
        truth = calculations(20)
        found = estimate([work(w.atoms) for w in truth], calculations(30), "here", "gpaw")
        spent = sum(w.seconds for w in truth)
        below += spent < found.low
        above += spent > found.high
        assert found.low < found.seconds < found.high
    assert 1 <= below <= 15
    assert 1 <= above <= 15


@pytest.mark.parametrize(
    ("done", "seconds", "samples", "rests_on"),
    [
        ([work(4, 9.0)] * 3 + [work(4, 1.0, "MnO")] * 9, 9.0, 3, "calculations of NiO at this level of theory"),
        (
            [work(4, 9.0)] * 2 + [work(4, 9.0, "MnO")] * 2 + [work(4, 1.0, level="other")] * 9,
            9.0,
            4,
            "calculations of other formulas at this level of theory",
        ),
        (
            [work(4, 7.0, level="far")] * 3
            + [work(4, 1.0, "MnO", "near")] * 9
            + [work(4, 5.0, level="vasp", engine="v")] * 9,
            7.0,
            3,
            "calculations of NiO at another level of theory of gpaw, far",
        ),
        (
            [work(4, 1.0, "MnO", "near")] * 9,
            1.0,
            9,
            "calculations of other formulas at another level of theory of gpaw, near",
        ),
        ([work(4, 5.0, level="vasp", engine="v")] * 9, 4.0, 0, "the engine's own estimate"),
        ([work(4), work(4, 0.0)] * 9, 4.0, 0, "the engine's own estimate"),
        ([], 4.0, 0, "the engine's own estimate"),
    ],
)
def test_the_nearest_calculations_are_taken(done, seconds, samples, rests_on):
    found = estimate([work(4)], done, "here", "gpaw")
    (basis,) = found.bases
    assert (found.seconds, basis.samples, basis.rests_on) == (pytest.approx(seconds), samples, rests_on)


def test_formulas_add_up():
    done = [work(4, 30.0)] * 3 + [work(4, 50.0, "CoO")] * 3
    found = estimate([work(4), work(4, formula="CoO"), work(4, formula="CoO")], done, "here", "gpaw")
    assert found.seconds == pytest.approx(130.0)
    assert [(b.formula, b.calculations) for b in found.bases] == [("CoO", 2), ("NiO", 1)]


def test_nothing_to_do_costs_nothing():
    assert estimate([], [work(4, 30.0)] * 5, "here", "gpaw").seconds == 0.0
