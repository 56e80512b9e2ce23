"""Batches, as tables of cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.policy.batch import choose
from workflows.policy.pool import Candidate, Pool
from workflows.policy.rules import Spread


def make(name, forces=1.0, energy=1.0, moments=1.0, ordering="FM", deformation="shear", pair=None):
    return Candidate(name, pair or name, ordering, deformation, energy=energy, forces=forces, moments=moments)


def choose_from(candidates, count, **options):
    return choose(Pool(list(candidates)), Spread(), count, **options)


def names(choices):
    return [choice.candidate.config_id for choice in choices]


@pytest.mark.parametrize(
    ("candidates", "count", "expected"),
    [
        pytest.param([], 3, [], id="nothing to choose from"),
        pytest.param([make("a"), make("b", forces=5)], 1, ["b"], id="least sure first"),
        pytest.param([make("a", energy=9), make("b", forces=5), make("c")], 2, ["a", "b"], id="every task counts"),
        pytest.param([make("a", moments=1e-3), make("b", moments=9e-3), make("c", moments=1e-3)], 1, ["b"], id="units"),
        pytest.param(
            [make("a", forces=9, pair="p"), make("b", forces=8, pair="p"), make("c"), make("d"), make("e")],
            2,
            ["a", "c"],
            id="one geometry once",
        ),
        pytest.param([make("a", pair="p", forces=9), make("b", pair="p")], 2, ["a", "b"], id="but enough labels first"),
        pytest.param([make("b"), make("a")], 2, ["a", "b"], id="ties by id, not by order"),
    ],
)
def test_choose(candidates, count, expected):
    assert names(choose_from(candidates, count)) == expected


def test_groups_share_the_batch():
    loud = [make(f"loud{i}", forces=10 + i, deformation="volume") for i in range(10)]
    quiet = [make(f"quiet{i}", deformation="shear") for i in range(10)]
    chosen = choose_from([*loud, *quiet], 4)
    assert sum(choice.candidate.deformation == "volume" for choice in chosen) == 3
    assert names(chosen)[0] == "loud9"


def test_reason_names_the_task():
    chosen = choose_from([make("a"), make("b"), make("c", moments=4)], 1)
    assert chosen[0].reason == "spread of moments is 4.0 times the median candidate's"


@given(
    st.lists(
        st.tuples(st.floats(1e-6, 10), st.sampled_from(["FM", "AFM-II"]), st.sampled_from(["shear", "volume"])),
        max_size=30,
    ),
    st.integers(1, 12),
)
def test_always_as_many_as_possible_and_never_twice(rows, count):
    candidates = [
        make(str(i), forces=f, ordering=o, deformation=d, pair=str(i // 2)) for i, (f, o, d) in enumerate(rows)
    ]
    chosen = names(choose_from(candidates, count))
    assert len(chosen) == min(count, len(candidates))
    assert len(set(chosen)) == len(chosen)
