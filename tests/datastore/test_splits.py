from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.errors import DataError
from datastore.splits import Member, SplitOptions, assign, group_members


def members(n, kinds=("shear", "volume", "tensile", "none"), generation=0, size=2, start=0):
    return [
        Member(f"p{i:04d}-{k}", (f"geometry:{i:04d}",), kinds[i % len(kinds)], generation)
        for i in range(start, start + n)
        for k in range(size)
    ]


def split(them, previous=None, **options):
    groups = group_members(them)
    return groups, assign(groups, SplitOptions(**options), previous or {})


@pytest.mark.parametrize(
    ("n", "expected"), [(1, (1, 0, 0)), (2, (2, 0, 0)), (10, (8, 1, 1)), (25, (21, 2, 2)), (40, (32, 4, 4))]
)
def test_exact_numbers(n, expected):
    _, result = split(members(n))
    counts = Counter(result.values())
    assert (counts["train"], counts["val"], counts["test"]) == expected


def test_every_kind_is_in_every_split():
    groups, result = split(members(40))
    seen = {(result[g.name], g.stratum) for g in groups}
    assert len(seen) == 3 * 4


def test_rare_kind_is_trained_on():
    rare = Member("rare", ("geometry:x",), "rare", 0)
    groups, result = split([*members(20), rare])
    assert next(result[g.name] for g in groups if g.stratum == "rare") == "train"


def test_deterministic_and_seeded():
    them = members(40)
    assert split(them)[1] == split(list(reversed(them)))[1]
    assert split(them)[1] != split(them, seed=1)[1]


def test_at_least_so_many_test_labels():
    groups, result = split(members(16), min_test=6, min_val=3)
    sizes = Counter(result[g.name] for g in groups for _ in g.members)
    assert sizes["test"] == 6
    assert sizes["val"] == 4
    with pytest.raises(DataError, match="lower min_test or label more"):
        split(members(3), min_test=6)


def test_shared_pair_joins_geometries():
    a = Member("a", ("geometry:1", "pair:x"), "none", 0)
    b = Member("b", ("geometry:2", "pair:x"), "none", 0)
    c = Member("c", ("geometry:2",), "none", 0)
    d = Member("d", ("geometry:3", "pair:y"), "none", 0)
    assert [[m.point_id for m in g.members] for g in group_members([c, a, d, b])] == [["a", "b", "c"], ["d"]]


def tokens(groups, result):
    return {t: result[g.name] for g in groups for m in g.members for t in m.tokens}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 10), st.integers(0, 3))
def test_growth_moves_nothing_and_new_rounds_are_trained_on(first, more, chosen, seed):
    old = members(first)
    before = tokens(*split(old, seed=seed))
    grown = [*old, *members(more, start=first), *members(chosen, generation=1, start=1000)]
    groups, result = split(grown, before, seed=seed)
    after = tokens(groups, result)
    assert {t: after[t] for t in before} == before
    assert all(after[f"geometry:{i}"] == "train" for i in range(1000, 1000 + chosen))
    assert "train" in result.values()
    assert set(result) == {g.name for g in groups}


def test_two_old_groups_that_join_stay_held_out():
    previous = {"geometry:1": "train", "geometry:2": "test"}
    both = [Member("a", ("geometry:1", "pair:x"), "none", 0), Member("b", ("geometry:2", "pair:x"), "none", 0)]
    assert set(split(both, previous)[1].values()) == {"test"}


@pytest.mark.parametrize("fractions", [(0.5, 0.1, 0.1), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_bad_fractions(fractions):
    with pytest.raises(ValueError, match="add up to 1"):
        SplitOptions(fractions=fractions)
