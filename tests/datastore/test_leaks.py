from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.leaks import find_leaks, find_twins, geometry_of, read_geometries
from datastore.snapshot import make_snapshot
from datastore.splits import SPLITS, SplitOptions
from datastore.stores import open_store
from tests.datastore.crystals import crystal, rewritten
from tests.datastore.support import make_point


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_planted_twins_are_found_and_nothing_else(seed):
    rng = np.random.default_rng(seed)
    crystals = [replace(crystal(rng), name=f"{k}") for k in range(8)]
    planted = {
        "0": rewritten(crystals[0], rng),
        "1": rewritten(crystals[1], rng, noise=0.003),
        "2": rewritten(crystals[2], rng, repeat=2),
        "3": replace(crystals[3], moments=-crystals[3].moments),
        "4": replace(crystals[4], moments=np.abs(crystals[4].moments) + 1),
    }
    everything = [*crystals, *(replace(geometry, name=f"twin of {name}") for name, geometry in planted.items())]
    order = rng.permutation(len(everything))
    found = list(find_twins([everything[i] for i in order]))
    assert {frozenset((t.first, t.second)) for t in found} == {frozenset((n, f"twin of {n}")) for n in planted}
    spins = {min(t.first, t.second): t.spins for t in found}
    assert spins == {"0": "equal", "1": "equal", "2": "not compared", "3": "reversed", "4": "different"}
    assert "near-duplicate" in next(t.kind for t in found if min(t.first, t.second) == "1")


def test_only_pairs_across_the_given_sets():
    rng = np.random.default_rng(0)
    a = crystal(rng)
    copies = [replace(rewritten(a, rng), name=name) for name in "abc"]
    assert len(list(find_twins(copies))) == 3
    assert {(t.first, t.second) for t in find_twins(copies, across=[[0, 1], [2]])} == {("a", "c"), ("b", "c")}


def test_the_tolerance_decides():
    rng = np.random.default_rng(1)
    a = crystal(rng)
    pair = [a, rewritten(a, rng, noise=0.02)]
    assert not list(find_twins(pair, tolerance=0.005))
    (twin,) = find_twins(pair, tolerance=0.06)
    assert twin.rms == pytest.approx(0.02, rel=0.5)


def test_progress_reaches_the_end():
    rng = np.random.default_rng(2)
    told = []
    list(find_twins([crystal(rng) for _ in range(5)], progress=lambda done, total: told.append((done, total))))
    assert told[-1] == (5, 5)


def label(rng, geometry, **changes):
    n = len(geometry.species)
    return make_point(
        species=list(geometry.species),
        lattice=geometry.lattice,
        positions=geometry.positions,
        magmoms_in=geometry.moments,
        magmoms_out=geometry.moments,
        forces=np.zeros((n, 3)),
        **changes,
    )


def test_a_snapshot_keeps_twins_on_one_side(tmp_path):
    """Each crystal and its copy have different pair_ids and hashes: only the comparison can tell."""
    rng = np.random.default_rng(3)
    crystals = [crystal(rng) for _ in range(15)]
    copies = [rewritten(c, rng, noise=0.002) for c in crystals]
    with open_store("memory:") as store:
        for k, geometry in enumerate([*crystals, *copies]):
            store.put_point(label(rng, geometry, pair_id=f"p{k}"))
        for seed in range(3):
            options = SplitOptions(fractions=(0.4, 0.3, 0.3), seed=seed)
            snapshot = make_snapshot(store, tmp_path, options=options)
            split_of = {point_id: split for split in SPLITS for point_id in snapshot.points[split]}
            for first, second in zip(crystals, copies, strict=True):
                ids = [label(rng, g).point_id for g in (first, second)]
                assert split_of[ids[0]] == split_of[ids[1]]
            assert snapshot.twins == 15
            assert min(snapshot.counts.values()) >= 6
        separate = make_snapshot(store, tmp_path, options=options.model_copy(update={"twins": 0.0}))
        assert separate.twins == 0
        split_of = {point_id: split for split in SPLITS for point_id in separate.points[split]}
        ids = [[label(rng, g).point_id for g in pair] for pair in zip(crystals, copies, strict=True)]
        assert any(split_of[a] != split_of[b] for a, b in ids)


def test_a_twin_that_arrives_later_joins_its_twin(tmp_path):
    rng = np.random.default_rng(4)
    crystals = [crystal(rng) for _ in range(12)]
    with open_store("memory:") as store:
        for geometry in crystals:
            store.put_point(label(rng, geometry))
        options = SplitOptions(fractions=(0.4, 0.3, 0.3))
        first = make_snapshot(store, tmp_path, options=options)
        for geometry in crystals:
            store.put_point(label(rng, rewritten(geometry, rng), generation=1))
        second = make_snapshot(store, tmp_path, options=options, previous=first)
    for split in SPLITS:
        assert set(first.points[split]) <= set(second.points[split])
        assert second.counts[split] == 2 * first.counts[split]


def test_a_twin_of_what_was_held_out_and_is_not_there_any_more_is_held_out_too(tmp_path):
    rng = np.random.default_rng(5)
    crystals = [crystal(rng) for _ in range(12)]
    with open_store("memory:") as store:
        for geometry in crystals:
            store.put_point(label(rng, geometry, campaign="old"))
        options = SplitOptions(fractions=(0.4, 0.3, 0.3))
        first = make_snapshot(store, tmp_path, campaign="old", options=options)
        for geometry in crystals:
            store.put_point(label(rng, rewritten(geometry, rng, noise=0.002), campaign="new"))
        second = make_snapshot(store, tmp_path, campaign="new", options=options, previous=first)
    assert second.counts == first.counts
    assert not find_leaks({"old": read_geometries(first.path("test")), "new": read_geometries(second.path("train"))})
    assert len(find_leaks({s.snapshot_id: read_geometries(s.path("test")) for s in (first, second)})) == 4


def test_a_label_is_named_by_its_configuration():
    point = make_point()
    geometry = geometry_of(point)
    assert geometry.name == point.config_id
    assert np.array_equal(geometry.moments, point.magmoms_in)
