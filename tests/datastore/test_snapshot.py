import json
import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.atoms import read_points
from datastore.decisions import decide
from datastore.errors import DataError
from datastore.ingest import LabelBuilder, ingest
from datastore.quality import judge, with_verdict
from datastore.queries import find
from datastore.schema import Decision
from datastore.snapshot import ABANDONED, EARLIER, geometry_token, load_snapshot, make_snapshot
from datastore.splits import SPLITS, SplitOptions
from datastore.stores import open_store
from tests.datastore.support import make_point, points
from tests.datastore.test_ingest import run

KINDS = ["shear", "volume", "tensile", "displacement"]


def pair(i, **changes):
    fields = {
        "lattice": make_point().lattice * (1 + 0.004 * i),
        "pair_id": f"g.{i}",
        "deformation": KINDS[i % 4],
        "campaign": "nio",
        **changes,
    }
    ferro = {"ordering": "FM", "ordering_found": "FM", "magmoms_in": np.array([2.5, 2.5, 0, 0]), "energy": -25.0}
    return [make_point(**fields), make_point(**(fields | ferro))]


def fill(store, numbers, **changes):
    for i in numbers:
        for point in pair(i, **changes):
            store.put_point(point)


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    with open_store({"local": f"local:{tmp_path / 'data'}", "memory": "memory:"}[request.param]) as opened:
        fill(opened, range(20))
        yield opened


def test_files_hold_the_accepted_labels_exactly(store, tmp_path):
    store.put_point(make_point(shift=0.9, verdict="rejected", verdict_reasons=["flipped"], campaign="nio"))
    store.put_point(make_point(shift=0.8, campaign="other"))
    snapshot = make_snapshot(store, tmp_path / "snaps", campaign="nio")
    assert snapshot.counts == {"train": 32, "val": 4, "test": 4}
    groups = {}
    for split in SPLITS:
        points = list(read_points(snapshot.path(split)))
        assert [p.point_id for p in points] == snapshot.points[split]
        for point in points:
            assert store.get_point(point.point_id) == point
            assert groups.setdefault(point.pair_id, split) == split
    assert len(groups) == 20
    assert (snapshot.species, snapshot.moment_role) == (["Ni", "O"], "guess")
    assert snapshot.level_of_theory == make_point().level_of_theory
    assert load_snapshot(snapshot.folder) == snapshot
    stored = store.snapshots.query_one({"snapshot_id": snapshot.snapshot_id})
    assert stored["counts"] == snapshot.counts


@settings(max_examples=25, deadline=None)
@given(st.lists(points(), min_size=1, max_size=5), st.integers(0, 3))
def test_any_labels_come_back_to_the_bit_and_each_once(tmp_path_factory, labels, seed):
    folder = tmp_path_factory.mktemp("any")
    with open_store(f"local:{folder}") as store:  # MongoDB knows no keys with the null character
        for label in labels:
            accepted = {"moment_role": "guess", "verdict": "accepted", "verdict_reasons": [], "overruled": []}
            store.put_point(label.model_copy(update=accepted))
        stored = {point.point_id: point for point in find(store)}
        snapshot = make_snapshot(store, folder, options=SplitOptions(seed=seed, fractions=(0.4, 0.3, 0.3)))
        found = [point for split in SPLITS if snapshot.counts[split] for point in read_points(snapshot.path(split))]
    assert len(found) == len(stored)
    assert {point.point_id: point for point in found} == stored


def test_two_campaigns_in_one_store_do_not_mix(store, tmp_path):
    fill(store, range(100, 110), campaign="other")
    nio = make_snapshot(store, tmp_path, campaign="nio")
    other = make_snapshot(store, tmp_path, campaign="other")
    assert (sum(nio.counts.values()), sum(other.counts.values())) == (40, 20)
    of = {p.point_id: p.campaign for p in find(store)}
    for snapshot, name in ((nio, "nio"), (other, "other")):
        assert {of[point_id] for split in SPLITS for point_id in snapshot.points[split]} == {name}
        assert {p.campaign for split in SPLITS for p in read_points(snapshot.path(split))} == {name}
        assert store.snapshots.count({"campaign": name}) == 1
    # A campaign that asks for a label the other one paid for gets it.
    shared = [pair(100)[0].point_id, *(p.point_id for i in range(5) for p in pair(i))]
    asked = make_snapshot(store, tmp_path, criteria={"point_id": {"$in": shared}})
    assert sorted(point_id for split in SPLITS for point_id in asked.points[split]) == sorted(shared)


def test_same_content_is_the_same_snapshot(store, tmp_path):
    first = make_snapshot(store, tmp_path)
    stamp = first.path("train").stat().st_mtime_ns
    assert make_snapshot(store, tmp_path) == first
    assert first.path("train").stat().st_mtime_ns == stamp
    assert make_snapshot(store, tmp_path, options=SplitOptions(seed=5)).snapshot_id != first.snapshot_id
    again = make_snapshot(store, tmp_path / "elsewhere")
    assert again.files == first.files
    assert store.snapshots.count() == 2
    changed = pair(0, energy=-25.3999)[0]
    store.put_point(changed)
    assert make_snapshot(store, tmp_path).snapshot_id != first.snapshot_id


def test_growth_keeps_splits_and_trains_on_chosen_labels(store, tmp_path):
    first = make_snapshot(store, tmp_path)
    fill(store, range(20, 30))
    fill(store, range(50, 55), generation=1)
    second = make_snapshot(store, tmp_path, previous=first)
    for split in SPLITS:
        assert set(first.points[split]) <= set(second.points[split])
    assert second.counts == {"train": 58, "val": 6, "test": 6}
    chosen = {p.point_id for i in range(50, 55) for p in pair(i, generation=1)}
    assert chosen <= set(second.points["train"])
    assert second.previous == first.snapshot_id


def test_geometry_twins_stay_together_even_with_other_pair_ids(store, tmp_path):
    twin = pair(3, pair_id="another", magmoms_in=np.array([-2.5, -2.5, 0, 0]))[0]
    assert geometry_token(twin) == geometry_token(pair(3)[0])
    store.put_point(twin)
    for seed in range(5):
        snapshot = make_snapshot(store, tmp_path, options=SplitOptions(seed=seed, fractions=(0.4, 0.3, 0.3)))
        where = {split for split in SPLITS for p in [twin, *pair(3)] if p.point_id in snapshot.points[split]}
        assert len(where) == 1


def test_levels_never_mix(store, tmp_path):
    store.put_point(make_point(level_of_theory={"xc": "other"}))
    with pytest.raises(DataError, match="several levels of theory") as error:
        make_snapshot(store, tmp_path)
    level = make_point().level_id
    assert f"{level} with guess moments: 40" in str(error.value)
    assert sum(make_snapshot(store, tmp_path, criteria={"level_id": level}).counts.values()) == 40
    store.put_point(make_point(shift=0.5, moment_role="constraint"))
    with pytest.raises(DataError, match="constraint moments: 1"):
        make_snapshot(store, tmp_path, criteria={"level_id": level})


def test_nothing_accepted(tmp_path):
    with open_store("memory:") as store, pytest.raises(DataError, match="no accepted labels"):
        make_snapshot(store, tmp_path)


def test_damage_is_found(store, tmp_path):
    snapshot = make_snapshot(store, tmp_path)
    path = snapshot.path("val")
    text = path.read_text()
    path.write_text(text.replace("1.8", "1.9", 1))
    with pytest.raises(DataError, match=r"val\.extxyz is damaged.*make the snapshot again"):
        load_snapshot(snapshot.folder)
    with pytest.raises(DataError, match="damaged"):
        make_snapshot(store, tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="is missing"):
        load_snapshot(snapshot.folder)
    document = json.loads((snapshot.folder / "snapshot.json").read_text())
    (snapshot.folder / "snapshot.json").write_text(json.dumps({**document, "schema_version": 9}))
    with pytest.raises(DataError, match="update the software"):
        load_snapshot(snapshot.folder)
    for text in ("{", "[]", json.dumps({**document, "counts": 3})):
        (snapshot.folder / "snapshot.json").write_text(text)
        with pytest.raises(DataError, match="damaged"):
            load_snapshot(snapshot.folder)
    with pytest.raises(DataError, match="is no snapshot"):
        load_snapshot(tmp_path / "absent")


def test_half_written_snapshot_is_never_seen(store, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datastore.snapshot.os.fsync", full)
    with pytest.raises(DataError, match=r"No space left.*check space"):
        make_snapshot(store, tmp_path / "snaps")
    assert list((tmp_path / "snaps").iterdir()) == []
    monkeypatch.undo()
    assert make_snapshot(store, tmp_path / "snaps").counts["test"] == 4


def test_cells_relaxed_from_one_start_share_a_split(store, tmp_path):
    """Half a percent apart: no twins, and no independent test either."""
    cells = [
        make_point(
            lattice=make_point().lattice * (1.1 + 0.005 * n),
            parent=f"relaxed{n}",
            deformation="none",
            deformation_parameters={"parent": {"method": "relax", "start": "given"}},
        )
        for n in range(4)
    ]
    for cell in cells:
        store.put_point(cell)
    for seed in range(6):
        snapshot = make_snapshot(store, tmp_path, options=SplitOptions(fractions=(0.4, 0.3, 0.3), seed=seed))
        assert len({split for split in SPLITS for cell in cells if cell.point_id in snapshot.points[split]}) == 1


def leave(store, point_id, how):
    """Take a label out of training sets; returns what brings it back."""
    if how == "outlier":
        point = store.get_point(point_id)
        store.put_point(with_verdict(point, ["outlier: +1 eV/atom"]))
        return lambda: store.put_point(with_verdict(point, []))
    decide(store, [point_id], how, "Ada", "doubtful")
    return lambda: decide(store, [point_id], "restore", "Ada", "it was right")


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 9), st.lists(st.sampled_from(["retract", "reject", "outlier"]), min_size=3, max_size=3))
def test_labels_that_come_and_go_are_never_trained_on_after_they_were_held_out(tmp_path_factory, seed, ways):
    folder, options = tmp_path_factory.mktemp("growth"), SplitOptions(fractions=(0.6, 0.2, 0.2), seed=seed)
    with open_store("memory:") as store:
        snapshots = []
        for number, how in enumerate(ways):
            fill(store, range(6 * number, 6 * (number + 1)))
            snapshots.append(make_snapshot(store, folder, options=options, previous=(snapshots or [None])[-1]))
            held = [*snapshots[-1].points["val"], *snapshots[-1].points["test"]]
            back = [leave(store, point_id, how) for point_id in held]
            fill(store, range(100 + 8 * number, 103 + 8 * number))
            snapshots.append(make_snapshot(store, folder, options=options, previous=snapshots[-1]))
            assert not set(held) & {p for members in snapshots[-1].points.values() for p in members}
            for restore in back:
                restore()
        snapshots.append(make_snapshot(store, folder, options=options, previous=snapshots[-1]))
    highest = {}
    for snapshot in snapshots:
        for rank, split in enumerate(SPLITS):
            for point_id in snapshot.points[split]:
                assert rank >= highest.get(point_id, 0)
                highest[point_id] = rank


def test_twins_of_a_geometry_that_is_gone_for_several_snapshots_follow_it(store, tmp_path):
    options = SplitOptions(fractions=(0.4, 0.3, 0.3))
    snapshot = make_snapshot(store, tmp_path, options=options)
    assert EARLIER not in snapshot.files
    point = store.get_point(snapshot.points["test"][0])
    assert point.pair_id
    gone = [p.point_id for p in find(store) if p.pair_id == point.pair_id]
    decide(store, gone, "retract", "Ada", "doubtful")
    for number in range(30, 33):
        fill(store, [number])
        snapshot = make_snapshot(store, tmp_path, options=options, previous=snapshot)
        assert EARLIER in snapshot.files
    moved = {"positions": point.positions + 1.0, "pair_id": "elsewhere"}  # a translated copy
    twin = point.model_copy(update={**moved, "decision": "", "verdict": "accepted", "verdict_reasons": []})
    store.put_point(twin)
    assert twin.point_id not in gone
    last = make_snapshot(store, tmp_path, options=options, previous=snapshot)
    assert twin.point_id in last.points["test"]


def test_the_same_labels_with_another_memory_are_another_snapshot(store, tmp_path):
    """Else the first one would be given back, which forgot what was held out."""
    first = make_snapshot(store, tmp_path)
    decide(store, first.points["test"], "retract", "Ada", "doubtful")
    options = SplitOptions(fractions=(1.0, 0.0, 0.0))
    fresh = make_snapshot(store, tmp_path, options=options, criteria={"point_id": {"$in": first.points["train"]}})
    grown = make_snapshot(
        store, tmp_path, options=options, criteria={"point_id": {"$in": first.points["train"]}}, previous=first
    )
    assert grown.points == fresh.points
    assert grown.snapshot_id != fresh.snapshot_id
    assert set(first.tokens) <= set(grown.tokens)


@pytest.mark.parametrize("change", ["retract", "energy"])
def test_a_label_that_changes_while_twins_are_looked_for_stops_the_snapshot(store, tmp_path, change):
    victim = pair(3)[0]

    def meanwhile(done, total):
        if done == 1 and change == "retract":
            decide(store, [victim.point_id], "retract", "Ada", "wrong U")
        elif done == 1:
            store.put_point(victim.model_copy(update={"free_energy": -99.0}))

    with pytest.raises(DataError, match=rf"label {victim.point_id} changed while the snapshot was made.*make it again"):
        make_snapshot(store, tmp_path / "snaps", progress=meanwhile)
    assert list((tmp_path / "snaps").iterdir()) == []
    again = make_snapshot(store, tmp_path / "snaps")
    assert (victim.point_id in again.points["train"]) == (change == "energy")


def test_what_a_killed_snapshot_left_is_removed_and_nothing_else(store, tmp_path):
    names = ("." + "a" * 24 + ".123", "." + "b" * 24 + ".124", ".hidden")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.extxyz").write_text("half")
    old = time.time() - ABANDONED - 1
    for name in (names[0], names[2]):
        for path in (tmp_path / name / "train.extxyz", tmp_path / name):
            os.utime(path, (old, old))
    make_snapshot(store, tmp_path)
    assert [(tmp_path / name).exists() for name in names] == [False, True, True]


def test_labels_whose_group_or_decision_waits_are_judged_first(store, tmp_path):
    """As after an ingest or import that was killed before it compared the labels of a group."""
    labels = [make_point(shift=0.3 + 0.01 * i, cell="c", free_energy=-25.5 + 0.001 * i) for i in range(8)]
    outlier = make_point(shift=0.7, cell="c", free_energy=-20.0)
    run(store, *(label.to_document() for label in [*labels, outlier]))
    builder = LabelBuilder(store)
    builder.update_targets([builder.process_item(item) for item in builder.get_items()])
    assert store.get_point(outlier.point_id).verdict == "accepted"
    now = "2026-11-21T10:00:00.000000+00:00"
    decision = Decision(point_id=labels[0].point_id, action="retract", author="A", reason="B", created=now)
    store.log_decision(decision)
    snapshot = make_snapshot(store, tmp_path)
    assert sum(snapshot.counts.values()) == 40 + 7
    assert store.get_point(outlier.point_id).verdict == "rejected"


def test_a_held_out_ordering_is_known_by_its_signs(tmp_path):
    """Flipped in a parent where nothing was labelled in AFM-II, so that it is called by its signs."""
    with open_store("memory:") as store:
        ferro = {"ordering": "FM", "ordering_found": "FM", "magmoms_in": np.array([2.5, 2.5, 0, 0])}
        for i in range(12):
            store.put_point(make_point(shift=0.01 * i, parent=f"p{i}", **ferro))
        for i in range(4):
            store.put_point(make_point(shift=0.12 + 0.005 * i, parent="other"))
        flipped = judge(make_point(shift=0.005, parent="p0", **ferro))
        run(store, flipped.to_document())
        assert ingest(store).salvaged == 1
        (named,) = [p for p in find(store) if p.salvaged_from]
        assert named.ordering == "AFM[+-]"
        options = SplitOptions(by="ordering", held_out=("AFM-II",), twins=0)
        snapshot = make_snapshot(store, tmp_path, options=options)
        assert named.point_id in snapshot.points["test"]
        assert len(snapshot.points["test"]) == 5
        tested = list(read_points(snapshot.path("test")))
        assert [p.point_id for p in tested] == snapshot.points["test"]
        assert {p.ordering for p in tested} == {"AFM-II"}  # or it would be reported among the random ones
        assert store.get_point(named.point_id).ordering == "AFM[+-]"


def test_labels_of_others_and_twins_of_both_sides_leave_frozen_tests_as_they_are(store, tmp_path):
    first = make_snapshot(store, tmp_path, frozen=True)
    moved = {split: load_point(store, first.points[split][0]) for split in ("train", "test")}
    fill(store, range(40, 70), campaign="imported")  # generation 0: no campaign asked for them
    on_test = moved["test"].model_copy(update={"magmoms_in": np.array([1.5, -2.5, 0, 0]), "pair_id": ""})
    bridge = moved["train"].model_copy(
        update={"magmoms_in": np.array([1.5, -2.5, 0, 0]), "pair_id": moved["test"].pair_id}
    )
    for point in (on_test, bridge):
        store.put_point(point)
    previous = first
    for _ in range(2):  # what was left out once is left out again
        grown = make_snapshot(store, tmp_path, previous=previous, frozen=True)
        assert grown.points["test"] == first.points["test"]
        assert set(first.points["train"]) <= set(grown.points["train"])
        assert set(first.points["val"]) <= set(grown.points["val"])
        assert {on_test.point_id, bridge.point_id} == set(grown.left_out)
        assert sum(grown.counts.values()) == 40 + 60
        previous = grown


def load_point(store, point_id):
    found = store.get_point(point_id)
    assert found is not None
    return found
