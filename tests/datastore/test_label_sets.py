"""Snapshots of several levels of theory, which exist only where somebody asked for them."""

import json

import ase.io
import pytest

from datastore.atoms import read_points
from datastore.decisions import affected, decide
from datastore.errors import DataError
from datastore.label_sets import SetOptions
from datastore.levels import delta_point, level_name
from datastore.snapshot import load_snapshot, make_snapshot
from datastore.splits import SPLITS
from datastore.stores import open_store
from datastore.verify import verify
from tests.datastore.support import make_point

A = {"code": "cheap"}
B = {"code": "GPAW", "functional": "PBE+U", "hubbard_u": {"Ni": 6.2}}
LEVEL_A, LEVEL_B = make_point(level_of_theory=A).level_id, make_point(level_of_theory=B).level_id


def label(i, theory, **changes):
    fields = {"lattice": make_point().lattice * (1 + 0.004 * i), "level_of_theory": theory, "pair_id": f"g{i}"}
    return make_point(**fields | changes)


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    with open_store({"local": f"local:{tmp_path / 'data'}", "memory": "memory:"}[request.param]) as opened:
        for i in range(24):
            opened.put_point(label(i, A, energy=-10.0 - i))
        for i in range(4, 30):
            opened.put_point(label(i, B, energy=-30.0 - 2 * i, forces=0.3 * make_point().forces))
        opened.put_point(label(5, A, verdict="rejected", verdict_reasons=["drift"]))
        yield opened


def test_nothing_is_mixed_unasked(store, tmp_path):
    with pytest.raises(DataError, match=r"several levels of theory.*or ask for a delta or a multi-head set"):
        make_snapshot(store, tmp_path)


def test_a_delta_set_holds_b_minus_a_of_what_both_accepted(store, tmp_path):
    options = SetOptions(kind="delta", levels=(LEVEL_A, LEVEL_B))
    snapshot = make_snapshot(store, tmp_path, labels=options)
    assert sum(snapshot.counts.values()) == 24 - 4 - 1
    assert snapshot.kind == "delta"
    assert snapshot.levels == {LEVEL_A: level_name(A), LEVEL_B: level_name(B)}
    assert snapshot.level_id not in (LEVEL_A, LEVEL_B)
    assert load_snapshot(snapshot.folder) == snapshot
    assert make_snapshot(store, tmp_path, labels=options) == snapshot
    for split in SPLITS:
        points = list(read_points(snapshot.path(split)))
        assert [p.point_id for p in points] == snapshot.points[split]
        for point in points:
            a, b = (store.get_point(f"{point.config_id}-{level}") for level in (LEVEL_A, LEVEL_B))
            assert point == delta_point(a, b)
        for atoms in ase.io.iread(snapshot.path(split)):
            info = atoms.info
            assert (info["label_kind"], info["level_id_from"], info["level_id_to"]) == ("delta", LEVEL_A, LEVEL_B)
            assert info["level_id"] == snapshot.level_id


def test_a_delta_set_is_named_to_who_retracts_either_of_its_labels_and_is_no_damage(store, tmp_path):
    snapshot = make_snapshot(store, tmp_path, labels=SetOptions(kind="delta", levels=(LEVEL_A, LEVEL_B)))
    assert not [problem for problem in verify(store).problems if problem.collection == "snapshots"]
    member = next(read_points(snapshot.path("test")))
    for level in (LEVEL_A, LEVEL_B):
        (used,) = affected(store, [f"{member.config_id}-{level}"])
        assert (used.name, used.how) == (snapshot.snapshot_id, "test")
    assert affected(store, [label(0, A).point_id]) == []  # which has no partner
    store.points.remove_docs({"point_id": f"{member.config_id}-{LEVEL_A}"})
    (problem,) = [problem for problem in verify(store).problems if problem.collection == "snapshots"]
    assert "1 of its labels are not in the store" in problem.what


@pytest.mark.parametrize("level", [LEVEL_A, LEVEL_B])
def test_a_delta_set_stops_where_either_label_is_retracted_meanwhile(store, tmp_path, level):
    def meanwhile(done, total):
        if done == 1:
            decide(store, [f"{label(6, A).config_id}-{level}"], "retract", "Ada", "wrong")

    with pytest.raises(DataError, match="make it again"):
        make_snapshot(store, tmp_path, labels=SetOptions(kind="delta", levels=(LEVEL_A, LEVEL_B)), progress=meanwhile)


def test_the_other_sign_is_another_set(store, tmp_path):
    there, back = (
        make_snapshot(store, tmp_path, labels=SetOptions(kind="delta", levels=levels))
        for levels in ((LEVEL_A, LEVEL_B), (LEVEL_B, LEVEL_A))
    )
    assert there.snapshot_id != back.snapshot_id
    energy = {p.config_id: p.energy for p in read_points(there.path("train"))}
    assert {p.config_id: -p.energy for p in read_points(back.path("train"))} == pytest.approx(energy)


def test_a_multi_head_set_names_the_head_of_every_frame(store, tmp_path):
    snapshot = make_snapshot(store, tmp_path, labels=SetOptions(kind="multi-head"))
    assert snapshot.heads == {LEVEL_A: level_name(A), LEVEL_B: level_name(B)}
    assert snapshot.level_id not in snapshot.heads
    split_of = {}
    for split in SPLITS:
        heads = dict.fromkeys(snapshot.by_level[split], 0)
        for atoms in ase.io.read(snapshot.path(split), ":"):
            assert atoms.info["head"] == snapshot.heads[atoms.info["level_id"]]
            assert atoms.info["level_of_theory"]
            heads[atoms.info["level_id"]] += 1
            assert split_of.setdefault(atoms.info["config_id"], split) == split
        assert heads == snapshot.by_level[split]
        assert [p.point_id for p in read_points(snapshot.path(split))] == snapshot.points[split]
    assert sum(snapshot.counts.values()) == 23 + 26
    assert store.snapshots.query_one({"snapshot_id": snapshot.snapshot_id})["kind"] == "multi-head"


def test_chosen_heads_only(store, tmp_path):
    store.put_point(label(40, {"code": "third"}))
    snapshot = make_snapshot(store, tmp_path, labels=SetOptions(kind="multi-head", levels=(LEVEL_A, LEVEL_B)))
    assert set(snapshot.heads) == {LEVEL_A, LEVEL_B}
    with pytest.raises(DataError, match="no accepted label is of level of theory feed"):
        make_snapshot(store, tmp_path, labels=SetOptions(kind="multi-head", levels=(LEVEL_A, "feed")))


def test_roles_of_the_moments_are_not_mixed_either(store, tmp_path):
    store.put_point(label(50, A, moment_role="constraint"))
    with pytest.raises(DataError, match="moment roles never share"):
        make_snapshot(store, tmp_path, labels=SetOptions(kind="multi-head"))


def test_nothing_in_common(store, tmp_path):
    with pytest.raises(DataError, match=r"accepted labels at both levels.*--relabel"):
        make_snapshot(store, tmp_path, labels=SetOptions(kind="delta", levels=(LEVEL_A, "feed")))


@pytest.mark.parametrize(
    ("kind", "levels"), [("delta", ()), ("delta", ("a",)), ("delta", ("a", "a")), ("plain", ("a",))]
)
def test_impossible_sets(kind, levels):
    with pytest.raises(ValueError, match="delta takes two different ones"):
        SetOptions(kind=kind, levels=levels)


def test_a_snapshot_of_old_is_read_as_plain(store, tmp_path):
    snapshot = make_snapshot(store, tmp_path, criteria={"level_id": LEVEL_A})
    assert (snapshot.kind, snapshot.heads) == ("plain", {})
    assert snapshot.levels == {LEVEL_A: level_name(A)}
    file = snapshot.folder / "snapshot.json"
    document = json.loads(file.read_text())
    for key in ("kind", "levels", "by_level", "left_out", "twins"):
        del document[key]
    file.write_text(json.dumps(document))
    old = load_snapshot(snapshot.folder)
    assert (old.kind, old.heads, old.points) == ("plain", {}, snapshot.points)
    assert sum(old.counts.values()) == 23
