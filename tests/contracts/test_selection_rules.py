"""What every selection rule keeps to, whatever it thinks of the candidates."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from workflows.learning import RuleName, SelectOptions
from workflows.policy.batch import choose
from workflows.policy.pool import Candidate, Pool
from workflows.policy.rules import RULES, PoolError, make_rule

pytestmark = pytest.mark.parametrize("rule", sorted(RULES))
FREE = {"spread_over": [], "geometry_once": False, "price": 0.0}


def make_pool(n, known=5, seed=0, **fields):
    rng = np.random.default_rng(seed)
    spreads = rng.lognormal(size=(n, 3))
    candidates = [
        Candidate(f"c{k:03d}", f"p{k // 2}", ["FM", "AFM-II"][k % 2], "shear", energy=e, forces=f, moments=m, **fields)
        for k, (e, f, m) in enumerate(spreads)
    ]
    rows = rng.normal(size=(4, n + known, 6))
    return Pool(candidates, rows[0, :n], rows[1, :n], rows[2, n:], rows[3, n:], {"energy": 2.0})


def changed(pool, change):
    """The pool with candidates as ``change(k, candidate)`` makes them."""
    return replace(pool, candidates=[change(k, c) for k, c in enumerate(pool.candidates)])


def run(rule, pool, count, seed=(0,), **options):
    options = SelectOptions(rule=rule, **options)
    return choose(pool, make_rule(options), count, options, seed)


def names(choices):
    return [choice.candidate.config_id for choice in choices]


def test_every_name_of_the_options_is_a_rule(rule):
    assert set(RULES) == set(get_args(RuleName))
    assert RULES[rule].name == rule


@pytest.mark.parametrize("n", [0, 1, 7, 40])
@pytest.mark.parametrize("known", [0, 1, 9])
@pytest.mark.parametrize("count", [1, 10])
def test_as_many_as_possible_and_never_twice(rule, n, known, count):
    chosen = run(rule, make_pool(n, known), count)
    assert len(set(names(chosen))) == len(chosen) == min(n, count)
    assert all(np.isfinite(choice.score) and choice.score >= 0 and choice.reason for choice in chosen)


def test_same_for_a_seed_and_whatever_the_order(rule):
    pool = make_pool(30)
    order = np.random.default_rng(1).permutation(30)
    shuffled = replace(
        pool,
        candidates=[pool.candidates[k] for k in order],
        features=pool.features[order],
        gradients=pool.gradients[order],
    )
    first = run(rule, pool, 8, (3, 1))
    assert first == run(rule, pool, 8, (3, 1)) == run(rule, shuffled, 8, (3, 1))


def test_no_twins_of_chosen_or_of_known(rule):
    pool = changed(make_pool(30), lambda k, c: replace(c, twin=f"t{k % 5}"))
    chosen = run(rule, replace(pool, known_twins=frozenset({"t3"})), 10, **FREE)
    assert sorted(choice.candidate.twin for choice in chosen) == ["t0", "t1", "t2", "t4"]


def test_groups_share_and_geometries_come_once(rule):
    chosen = run(rule, make_pool(40), 10, spread_over=["ordering"])
    orderings = [choice.candidate.ordering for choice in chosen]
    assert max(map(orderings.count, set(orderings))) <= 6
    assert len({choice.candidate.pair_id for choice in chosen}) == 10


def test_of_equals_the_cheap_come_first_unless_prices_do_not_count(rule):
    same = changed(make_pool(20), lambda k, c: replace(c, energy=1.0, forces=1.0, moments=1.0, price=1.0 + k % 2 * 1e6))
    rows = np.random.default_rng(0).normal(size=(10, 6)).repeat(2, axis=0)
    pool = replace(same, features=rows, gradients=rows)
    assert all(choice.candidate.price == 1.0 for choice in run(rule, pool, 10, **{**FREE, "price": 1.0}))
    assert {choice.candidate.price for choice in run(rule, pool, 20, **FREE)} == {1.0, 1e6 + 1.0}


def test_budget(rule):
    pool = make_pool(20, price=3600.0)
    assert len(run(rule, pool, 10, core_hours=3.5)) == 3
    assert len(run(rule, pool, 10, core_hours=0.1)) == 1


def test_identical_candidates(rule):
    pool = changed(make_pool(6), lambda k, c: replace(c, energy=0.0, forces=0.0, moments=0.0))
    same = np.ones((6, 6))
    pool = replace(pool, features=same, gradients=same, known_features=same, known_gradients=same)
    assert names(run(rule, pool, 6, **FREE)) is not None
    assert len(run(rule, pool, 6, **FREE)) == 6


def test_what_is_missing_or_wrong_gives_one_clear_error(rule):
    pool = make_pool(6)
    broken = np.full((6, 6), np.nan)
    for need in RULES[rule].needs - {"spreads"}:
        cases = [({need: None}, f"no {need}"), ({need: broken}, "not finite"), ({need: broken[:3]}, "one row each")]
        for fields, message in cases:
            with pytest.raises(PoolError, match=message):
                run(rule, replace(pool, **fields), 2)
    if "spreads" in RULES[rule].needs:
        with pytest.raises(PoolError, match="candidate c000: a spread is not a number"):
            run(rule, changed(pool, lambda k, c: replace(c, forces=float("nan"))), 2)
    for price in (0.0, -1.0, float("nan")):
        with pytest.raises(PoolError, match="candidate c000: price is"):
            run(rule, make_pool(6, price=price), 2)
    with pytest.raises(PoolError, match="candidate same is there twice"):
        run(rule, changed(pool, lambda k, c: replace(c, config_id="same")), 2)
