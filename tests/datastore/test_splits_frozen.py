"""What campaigns hold out and freeze: orderings and compositions at once, tests that no later label changes."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.errors import DataError
from datastore.splits import Member, SplitOptions, divide, name_test_set
from tests.datastore.test_splits import point, where

NAMED = SplitOptions(by="named", held_out=("AFM-I", "CoO"), fractions=(0.6, 0.2, 0.2))


def kind(m, options=NAMED):
    return name_test_set(m.ordering, m.formula, m.elements, options)


@st.composite
def campaigns(draw):
    """Labels of generation 0 in several orderings and compositions, paired or not, and chosen ones after them."""
    formulas = {"NiO": {"Ni", "O"}, "MnO": {"Mn", "O"}, "CoO": {"Co", "O"}, "MnCoO2": {"Mn", "Co", "O"}}
    size, paired, number = draw(st.integers(8, 20)), draw(st.booleans()), iter(range(10_000))

    def one(formula, geometry, ordering, generation):
        token = f"geometry:{formula}-{geometry if paired else next(number):05d}"
        name = f"{formula}-{geometry:02d}-{ordering}-{generation}"
        return Member(name, (token,), "shear", generation, "", ordering, formula, frozenset(formulas[formula]))

    first = [one(f, g, o, 0) for f in formulas for g in range(size) for o in ("FM", "AFM-I", "AFM-II")]
    geometries = st.tuples(st.sampled_from(["NiO", "MnO"]), st.integers(0, 3 * size), st.sampled_from(["FM", "AFM-II"]))
    chosen = [one(*which, 1) for which in draw(st.lists(geometries, unique=True, max_size=20))]
    return first, chosen


@settings(max_examples=40, deadline=None)
@given(campaigns(), st.integers(0, 3))
def test_orderings_and_compositions_are_held_out_at_once_and_twins_never_cross(campaign, seed):
    options = NAMED.model_copy(update={"seed": seed})
    first, chosen = campaign
    division = divide([*first, *chosen], options, {}, frozen=True)
    by_token = {}
    for m in [*first, *chosen]:
        split = division.split_of.get(m.point_id)
        if kind(m, options) != "random":
            assert split in ("test", None)
        if split is not None:
            assert by_token.setdefault(m.tokens[0], split) == split
    tested = {kind(m, options) for m in first if division.split_of.get(m.point_id) == "test"}
    assert tested == {"random", "orderings", "compositions"}
    assert where(division, first, lambda m: m.formula == "CoO") == {"test"}


@settings(max_examples=40, deadline=None)
@given(campaigns(), st.integers(0, 3))
def test_no_round_changes_frozen_tests(campaign, seed):
    options = NAMED.model_copy(update={"seed": seed})
    first, chosen = campaign
    before = divide(first, options, {}, frozen=True)
    after = divide([*first, *chosen], options, before.tokens, frozen=True)
    assert {p: s for p, s in after.split_of.items() if not p.endswith("-1")} == before.split_of
    of_chosen = {after.split_of.get(m.point_id) for m in chosen}
    assert of_chosen <= {"train", "val", None}
    on_tests = {m.point_id for m in chosen if before.tokens.get(m.tokens[0]) == "test"}
    assert on_tests == {m.point_id for m in chosen if m.point_id not in after.split_of}


@settings(max_examples=40, deadline=None)
@given(campaigns(), st.integers(0, 3), st.data())
def test_nothing_at_all_changes_frozen_tests(campaign, seed, data):
    """Labels of others, of generation 0 like the first, also such as join trained and tested geometries."""
    options = NAMED.model_copy(update={"seed": seed})
    first, chosen = campaign
    former = divide(first, options, {}, frozen=True)
    others = [replace(m, generation=0) for m in chosen]
    pairs = st.lists(st.tuples(st.sampled_from(first), st.sampled_from(first)), max_size=3)
    bridges = [
        replace(a, point_id=f"bridge{k}", tokens=(f"geometry:bridge{k}", *a.tokens, *b.tokens))
        for k, (a, b) in enumerate(data.draw(pairs))
    ]
    new = [*others, *bridges, point(0, "AFM-I"), point(1)]
    tokens, before = former.tokens, former.split_of
    for _ in range(2):
        after = divide([*first, *new], options, tokens, frozen=True, before=before)
        tested = {p for p, split in after.split_of.items() if split == "test"}
        assert tested == {p for p, split in former.split_of.items() if split == "test"}
        for m in first:
            now, was = after.split_of.get(m.point_id), former.split_of.get(m.point_id)
            assert now == was or (was, now) == ("train", "val")
        for m in bridges:
            sides = {tokens[t] for t in m.tokens if t in former.tokens}
            assert after.split_of.get(m.point_id) is None or "test" not in sides
        tokens, before = after.tokens, after.split_of


def test_chosen_labels_of_tested_geometries_are_tested_on_where_tests_may_grow():
    first = [point(i, o) for i in range(10) for o in ("FM", "AFM-II")]
    before = divide(first, SplitOptions(fractions=(0.6, 0.2, 0.2)), {})
    late = [point(i, "AFM-I", generation=1) for i in range(10)]
    grown = divide([*first, *late], SplitOptions(fractions=(0.6, 0.2, 0.2)), before.tokens)
    assert "test" in where(grown, late, lambda m: True)
    frozen = divide([*first, *late], SplitOptions(fractions=(0.6, 0.2, 0.2)), before.tokens, frozen=True)
    assert where(frozen, late, lambda m: True) <= {"train", "val", None}


@pytest.mark.parametrize(
    ("formula", "ordering", "expected"),
    [
        ("NiO", "FM", "random"),
        ("NiO", "AFM-I", "orderings"),
        ("CoO", "FM", "compositions"),
        ("CoO", "AFM-I", "compositions"),
        ("MnCoO2", "AFM-I", "compositions"),
    ],
)
def test_each_tested_label_has_one_test_set(formula, ordering, expected):
    elements = {"NiO": {"Ni", "O"}, "CoO": {"Co", "O"}, "MnCoO2": {"Mn", "Co", "O"}}[formula]
    options = SplitOptions(by="named", held_out=("AFM-I", "Co"))
    assert name_test_set(ordering, formula, elements, options) == expected
    assert name_test_set(ordering, formula, elements, SplitOptions()) == "random"
    by_ordering = SplitOptions(by="ordering", held_out=("AFM-I",))
    assert (name_test_set(ordering, formula, elements, by_ordering) == "orderings") == (ordering == "AFM-I")


def test_named_needs_names_that_are_there():
    with pytest.raises(ValueError, match="name what to hold out"):
        SplitOptions(by="named")
    with pytest.raises(DataError, match=r"no label is of AFM-IV, FeO, so it cannot be held out; there are .*FM.*NiO"):
        divide([point(i) for i in range(9)], SplitOptions(by="named", held_out=("FeO", "AFM-IV", "NiO")), {})


def test_options_of_before_have_the_ids_they_had():
    """Job ids and snapshots hash this document."""
    assert set(SplitOptions().model_dump()) == {"fractions", "seed", "min_test", "min_val"}
    assert set(NAMED.model_dump()) == {"fractions", "seed", "min_test", "min_val", "by", "held_out"}
