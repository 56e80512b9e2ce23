"""The rule of further starts, as tables of cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.policy.starts import Evidence, suspects

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
