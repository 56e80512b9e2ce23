"""Flipped labels become labels of what they ended in: signs, names, real labels first, kills, time reversal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.decisions import decide
from datastore.errors import DataError
from datastore.ingest import LabelBuilder, ingest, rejudge
from datastore.quality import judge
from datastore.salvage import (
    REPLACED,
    found_moments,
    is_salvageable,
    reversed_config,
    reversed_id,
    reversed_label,
    salvaged,
)
from datastore.snapshot import make_snapshot
from datastore.splits import SplitOptions
from datastore.stores import open_store, stamped
from datastore.verify import verify
from tests.datastore.support import make_failure, make_point
from tests.datastore.test_ingest import run

A = np.array
FERRO = {"magmoms_in": A([2.5, 2.5, 0, 0]), "ordering": "FM", "ordering_found": "FM"}


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    with open_store({"local": f"local:{tmp_path / 'data'}", "memory": "memory:"}[request.param]) as opened:
        yield opened


def flipped(**changes):
    """Asked for AFM-II, ended ferromagnetic."""
    fields = {"magmoms_out": A([1.8, 1.8, 0.05, 0.05]), "total_moment": 4.0, "pair_id": "p1"}
    return judge(make_point(**(fields | changes)))


def ferromagnetic(**changes):
    """A real label of the configuration in which ``flipped`` ended."""
    fields = {"magmoms_out": A([1.8, 1.8, 0.05, 0.05]), "total_moment": 4.0, "pair_id": "p1"}
    return judge(make_point(**(fields | FERRO | changes)))


def test_a_flipped_label_becomes_a_label_of_what_it_ended_in(store):
    original = flipped()
    assert original.verdict == "rejected"
    run(store, original.to_document())
    report = ingest(store)
    assert (report.labels, report.salvaged) == (1, 1)
    kept = store.get_point(original.point_id)
    assert (kept.verdict, kept.ordering) == ("rejected", "AFM-II")
    (document,) = store.points.query({"salvaged_from": original.point_id})
    new = store.get_point(document["point_id"])
    assert (new.verdict, new.ordering, new.ordering_found) == ("accepted", "FM", "FM")
    assert new.magmoms_in.tolist() == [2.5, 2.5, 0, 0]
    assert (new.free_energy, new.total_moment) == (original.free_energy, 4.0)
    assert new.salvage_reason == "asked for AFM-II, flipped: site 1"
    assert new.point_id == ferromagnetic().point_id
    assert judge(new) == new


def test_again_and_after_a_kill_nothing_changes(store):
    run(store, flipped().to_document())
    builder = LabelBuilder(store)
    items = [builder.process_item(item) for item in builder.get_items()]
    for label in items[0].labels:
        builder._store_label(label)  # killed before the marker was written
    before = [{k: v for k, v in d.items() if k not in ("_id", "last_updated")} for d in store.points.query({})]
    assert len(before) == 2
    ingest(store)
    run(store, flipped().to_document(), completed="2")
    ingest(store)
    after = [{k: v for k, v in d.items() if k not in ("_id", "last_updated")} for d in store.points.query({})]
    assert after == before


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("first", ["flipped", "real"])
def test_a_real_label_takes_the_place_also_when_its_moments_are_reversed(store, sign, first):
    real = ferromagnetic(magmoms_in=sign * FERRO["magmoms_in"], free_energy=-25.6)
    order = [flipped(), real] if first == "flipped" else [real, flipped()]
    for number, label in enumerate(order):
        run(store, label.to_document(), start=number)
        ingest(store)
    copies = list(store.points.query({"salvaged_from": flipped().point_id}))
    assert [c["verdict_reasons"] for c in copies] == [[f"{REPLACED} {real.point_id}"]] * int(
        first == "flipped" and sign < 0
    )
    assert store.points.count({"verdict": "accepted"}) == 1
    assert store.get_point(real.point_id).verdict == "accepted"
    reasons = store.get_point(flipped().point_id).verdict_reasons
    assert reasons == [
        "flipped: site 1",
        f"salvage: +0.025 eV/atom from label {real.point_id} of the state it ended in",
    ]


def test_a_real_label_of_the_same_energy_is_no_disagreement(store):
    run(store, flipped().to_document(), ferromagnetic().to_document())
    ingest(store)
    assert store.get_point(flipped().point_id).verdict_reasons == ["flipped: site 1"]


def test_a_failure_of_what_it_ended_in_stays_on_record(store):
    failure = make_failure(**{key: FERRO[key] for key in ("magmoms_in", "ordering")})
    run(store, failure.to_document(), flipped().to_document())
    ingest(store)
    assert store.failures.count({"point_id": failure.point_id}) == 1
    assert store.has_label(failure.point_id)
    assert store.put_failure(failure)


def test_a_calculation_that_ran_again_and_kept_its_signs_takes_the_salvaged_label_along(store):
    run(store, flipped().to_document())
    ingest(store)
    run(store, make_point(pair_id="p1").to_document(), completed="2")
    ingest(store)
    assert store.points.count() == 1
    assert store.get_point(flipped().point_id).verdict == "accepted"


@pytest.mark.parametrize(
    "changes",
    [
        {"magmoms_out": A([-1.8, 1.8, 0, 0])},  # everything reversed: no flip
        {"magmoms_out": A([1.8, 0.1, 0, 0])},  # collapsed
        {"magmoms_out": A([1.8, 2.9, 0, 0])},  # another spin state as well
        {"forces": np.full((4, 3), 0.1)},
        {"corrections": ["SCF not converged"]},
        {"moment_role": "constraint", "magmoms_out": A([2.5, 2.5, 0, 0])},
    ],
)
def test_what_is_not_salvaged(store, changes):
    label = flipped(**changes)
    assert not is_salvageable(label)
    run(store, label.to_document())
    assert ingest(store).salvaged == 0
    assert store.points.count() == 1


def test_the_name_is_that_of_other_labels_of_the_cell(store):
    four = {"species": ["Ni"] * 4, "forces": np.zeros((4, 3)), "cell": "all8"}
    stripes = make_point(**four, ordering="AFM-I", magmoms_in=A([-2.5, -2.5, 2.5, 2.5]), shift=0.2)
    run(store, judge(stripes).to_document())
    ingest(store)
    label = judge(make_point(**four, magmoms_in=A([2.5, -2.5, 2.5, -2.5]), magmoms_out=A([1.8, 1.8, -1.8, -1.8])))
    run(store, label.to_document(), start=1)
    ingest(store)
    (document,) = store.points.query({"salvaged_from": label.point_id})
    new = store.get_point(document["point_id"])
    assert (new.ordering, new.magmoms_in.tolist()) == ("AFM-I", [-2.5, -2.5, 2.5, 2.5])
    assert new.magmoms_out.tolist() == [-1.8, -1.8, 1.8, 1.8]


def test_retracted_originals_are_not_salvaged_and_take_salvaged_labels_along(store):
    run(store, flipped().to_document())
    ingest(store)
    changed = decide(store, [flipped().point_id], "retract", "Ada", "wrong pseudopotential")
    assert len(changed) == 2
    run(store, flipped().to_document(), completed="2")
    ingest(store)
    assert store.points.count({"verdict": "accepted"}) == 0
    decide(store, [flipped().point_id], "restore", "Ada", "it was the right one")
    (document,) = store.points.query({"verdict": "accepted"})
    assert document["salvaged_from"] == flipped().point_id


def test_snapshots_hold_salvaged_labels_beside_their_pair(store, tmp_path):
    for i in range(12):
        store.put_point(make_point(shift=0.01 * i, free_energy=-25.5 + 0.001 * i, pair_id=f"g{i}"))
    partner = judge(make_point(pair_id="p1", shift=0.2, free_energy=-25.48))
    run(store, partner.to_document(), flipped(shift=0.2, magmoms_in=A([2.5, -2.4, 0, 0])).to_document())
    ingest(store)
    (document,) = store.points.query({"salvaged_from": {"$gt": ""}})
    for seed in range(4):
        options = SplitOptions(seed=seed, fractions=(0.4, 0.3, 0.3))
        snapshot = make_snapshot(store, tmp_path / str(seed), options=options)
        (split,) = [s for s, members in snapshot.points.items() if document["point_id"] in members]
        assert partner.point_id in snapshot.points[split]


def copy_of(store, original=None):
    (document,) = store.points.query({"salvaged_from": (original or flipped()).point_id})
    return store.get_point(document["point_id"])


def test_decisions_on_a_flipped_label_say_nothing_on_a_real_one_that_comes_later(store):
    run(store, flipped().to_document())
    ingest(store)
    decide(store, [flipped().point_id], "retract", "Ada", "setup of this calculation")
    assert copy_of(store).decision.startswith("retracted by Ada")
    run(store, ferromagnetic().to_document(), start=1)
    ingest(store)
    real = store.get_point(ferromagnetic().point_id)
    assert (real.verdict, real.decision, real.salvaged_from) == ("accepted", "", "")


def test_decisions_on_a_salvaged_label_say_nothing_on_a_real_one_that_comes_later(store):
    run(store, flipped().to_document())
    ingest(store)
    decide(store, [copy_of(store).point_id], "reject", "Ada", "doubtful")
    run(store, flipped().to_document(), completed="2")
    ingest(store)
    assert copy_of(store).decision.startswith("rejected by Ada")
    run(store, ferromagnetic().to_document(), start=1)
    ingest(store)
    assert store.get_point(ferromagnetic().point_id).verdict == "accepted"
    assert verify(store).problems == []


@pytest.mark.parametrize("action", ["accept", "reject", "retract"])
def test_a_calculation_counts_once_whatever_is_decided_on_it(store, action):
    run(store, flipped().to_document())
    ingest(store)
    before = copy_of(store)
    changed = decide(store, [flipped().point_id], action, "Ada", "I looked")
    assert changed[flipped().point_id].verdict == ("accepted" if action == "accept" else "rejected")
    assert changed[before.point_id].verdict == "rejected"
    rejudge(store)
    assert store.points.count({"verdict": "accepted"}) == (action == "accept")
    assert verify(store).problems == []
    with pytest.raises(DataError, match=r"was salvaged from .* and follows it.*decide on that one"):
        decide(store, [before.point_id], "accept", "Bob", "why not")
    decide(store, [flipped().point_id], "restore", "Ada", "no")
    assert copy_of(store) == before
    assert verify(store).problems == []


def test_an_override_of_an_earlier_version_that_counts_twice_is_found_and_mended(store):
    run(store, flipped().to_document())
    ingest(store)
    copy = copy_of(store)
    decide(store, [flipped().point_id], "accept", "Ada", "I looked")
    store.points.update(stamped(copy.to_document()))
    assert any("twice, beside label" in problem.what for problem in verify(store).problems)
    ingest(store)
    assert verify(store).problems == []
    assert store.points.count({"verdict": "accepted"}) == 1


@pytest.mark.parametrize("first", ["flipped", "real"])
def test_a_rejected_real_label_leaves_an_accepted_salvaged_one_be(store, first):
    bad = ferromagnetic(magmoms_out=A([1.8, 0.1, 0.01, -0.01]), total_moment=2.0)
    assert bad.verdict == "rejected"
    order = [flipped(), bad] if first == "flipped" else [bad, flipped()]
    for number, label in enumerate(order):
        run(store, label.to_document(), start=number)
        ingest(store)
    assert store.get_point(bad.point_id) == bad
    copy = copy_of(store)
    assert (copy.verdict, copy.ordering, copy.free_energy) == ("accepted", "FM", flipped().free_energy)
    assert copy.point_id == reversed_id(bad)
    assert verify(store).problems == []
    assert rejudge(store) == 0
    run(store, ferromagnetic().to_document(), start=1 if first == "flipped" else 0, completed="2")
    ingest(store)
    (accepted,) = store.points.query({"verdict": "accepted"})
    assert accepted["point_id"] == bad.point_id
    assert verify(store).problems == []


def test_what_was_decided_on_a_salvaged_label_moves_with_it(store):
    run(store, flipped().to_document())
    ingest(store)
    decide(store, [copy_of(store).point_id], "reject", "Ada", "doubtful")
    run(store, ferromagnetic(magmoms_out=A([1.8, 0.1, 0.01, -0.01]), total_moment=2.0).to_document(), start=1)
    ingest(store)
    assert copy_of(store).point_id == reversed_id(ferromagnetic())
    assert copy_of(store).decision.startswith("rejected by Ada")


def test_snapshots_stay_whole_when_a_real_label_of_reversed_moments_comes(store, tmp_path):
    run(store, *(make_point(shift=0.5 + 0.1 * i).to_document() for i in range(6)), flipped().to_document())
    ingest(store)
    snapshot = make_snapshot(store, tmp_path, options=SplitOptions(twins=0))
    assert copy_of(store).point_id in [p for members in snapshot.points.values() for p in members]
    run(store, ferromagnetic(magmoms_in=-FERRO["magmoms_in"]).to_document(), start=10)
    ingest(store)
    assert copy_of(store).verdict == "rejected"
    assert verify(store).problems == []
    assert rejudge(store) == 0


signs = st.lists(st.sampled_from([-1, 1]), min_size=4, max_size=4)
SPECIES = ["Mn", "Co", "Ni", "Ni", "O", "O", "O", "O"]
HIGH = A([4.5, 2.6, 1.8, 1.75, 0, 0, 0, 0])
GUESS = A([3.0, 1.0, 2.5, 2.5, 0, 0, 0, 0])


@settings(max_examples=60, deadline=None)
@given(signs, signs)
def test_signs_and_time_reversal(asked, found):
    """What is salvaged has the signs found and the magnitudes asked for, and is the same for reversed outcomes."""
    into, out = A([*asked, 1, 1, 1, 1]) * GUESS, A([*found, 1, 1, 1, 1]) * HIGH
    fields = {"species": SPECIES, "positions": np.arange(24.0).reshape(8, 3), "forces": np.zeros((8, 3))}
    one, two = (judge(make_point(**fields, magmoms_in=into, magmoms_out=sign * out)) for sign in (1, -1))
    same = asked == found or asked == [-x for x in found]
    assert is_salvageable(one) is (not same)
    assert is_salvageable(two) is (not same)
    if same:
        return
    new, other = salvaged(one), salvaged(two)
    assert new == other
    assert np.array_equal(np.abs(new.magmoms_in), np.abs(into))
    assert new.magmoms_in[0] > 0
    products = (new.magmoms_in * new.magmoms_out)[:4]
    assert np.all(products > 0)
    assert np.all(np.sign(new.magmoms_in[:4]) == A(found) * found[0])
    assert judge(new).verdict == "accepted"
    assert not is_salvageable(new)
    assert new.point_id != one.point_id != reversed_id(new)
    assert salvaged(one, upwards=-1).point_id == reversed_id(new)
    assert reversed_config(reversed_config(new)).config_id == new.config_id
    assert reversed_label(new).point_id == reversed_id(new)
    assert judge(reversed_label(new)) == reversed_label(new)
    assert np.array_equal(found_moments(one), new.magmoms_in)
