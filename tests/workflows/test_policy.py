"""The rules of selection and of further starts, as tables of cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.policy import Candidate, Evidence, select, suspects


def make(name, forces=1.0, energy=1.0, moments=1.0, ordering="FM", deformation="shear", pair=None):
    return Candidate(name, pair or name, ordering, deformation, energy, forces, moments)


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
def test_select(candidates, count, expected):
    assert names(select(candidates, count)) == expected


def test_groups_share_the_batch():
    loud = [make(f"loud{i}", forces=10 + i, deformation="volume") for i in range(10)]
    quiet = [make(f"quiet{i}", deformation="shear") for i in range(10)]
    chosen = select([*loud, *quiet], 4)
    assert sum(choice.candidate.deformation == "volume" for choice in chosen) == 3
    assert names(chosen)[0] == "loud9"


def test_reason_names_the_task():
    chosen = select([make("a"), make("b"), make("c", moments=4)], 1)
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
    chosen = names(select(candidates, count))
    assert len(chosen) == min(count, len(candidates))
    assert len(set(chosen)) == len(chosen)


ALL = ("committee", "neighbours", "spin-state")


def evidence(name, **fields):
    return Evidence(name, **fields)


@pytest.mark.parametrize(
    ("labels", "when", "expected"),
    [
        pytest.param([], ALL, [], id="no labels"),
        pytest.param([evidence("a")], ALL, [], id="nothing speaks against it"),
        pytest.param([evidence("a", above_committee=0.02, spread=0.005)], ALL, ["a"], id="above the committee"),
        pytest.param([evidence("a", above_committee=0.02, spread=0.007)], ALL, [], id="within three spreads"),
        pytest.param([evidence("a", above_committee=0.004, spread=0.0)], ALL, [], id="below the floor"),
        pytest.param([evidence("a", above_committee=-0.5, spread=0.0)], ALL, [], id="below the committee"),
        pytest.param([evidence("a", above_surface=0.056)], ALL, ["a"], id="above its neighbours"),
        pytest.param([evidence("a", above_surface=0.004)], ALL, [], id="a little above its neighbours"),
        pytest.param([evidence("a", spin_state="low spin: site 0")], ALL, ["a"], id="another spin state"),
        pytest.param([evidence("a", above_surface=0.05)], ["committee"], [], id="only what was asked counts"),
        pytest.param([evidence("b"), evidence("a")], ["always"], ["a", "b"], id="always"),
        pytest.param(
            [
                evidence("low", spin_state="low spin"),
                evidence("committee", above_committee=0.03, spread=0.0),
                evidence("both", above_committee=0.01, spread=0.0, above_surface=0.04),
            ],
            ALL,
            ["both", "committee", "low"],
            id="the highest first",
        ),
    ],
)
def test_suspects(labels, when, expected):
    assert [suspect.point_id for suspect in suspects(labels, when, 0.005, 3.0)] == expected


@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_a_limit_takes_the_highest_whatever_the_order(random, limit):
    labels = [evidence(f"{i}", above_surface=0.01 * (i // 2 + 1)) for i in range(6)]
    found = suspects(random.sample(labels, 6), ALL, 0.005, 3.0, limit)
    assert [suspect.point_id for suspect in found] == ["4", "5", "2", "3", "0", "1"][:limit]
    assert found[0].reason == "30.0 meV/atom above the surface of its neighbours"
