"""What the rules think of candidates: against brute force, and as tables of cases."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from workflows.learning import SelectOptions
from workflows.policy.batch import choose
from workflows.policy.pool import Candidate, Pool
from workflows.policy.rules import FarthestPoint, MaxDet, MaxDist, Random, Threshold, make_rule

FREE = SelectOptions(spread_over=[], geometry_once=False, price=0)
SEEDS = st.integers(0, 10_000)


def candidates(n, **fields):
    return [Candidate(f"c{k:03d}", f"p{k}", "FM", "shear", **fields) for k in range(n)]


def pool_of(rows, known=None, **fields):
    rows = np.asarray(rows, dtype=float)
    known = None if known is None else np.asarray(known, dtype=float)
    return Pool(candidates(len(rows), **fields), rows, rows, known, known)


def chosen(pool, rule, count, options=FREE, seed=(0,)):
    return [int(choice.candidate.config_id[1:]) for choice in choose(pool, rule, count, options, seed)]


def random_rows(seed, n=9, known=3, g=4):
    rows = np.random.default_rng(seed).normal(size=(n + known, g))
    return rows[:n], rows[n:]


@given(SEEDS, st.sampled_from([0, 3]))
@settings(max_examples=30, deadline=None)
def test_max_det_takes_the_largest_determinant_at_every_step(seed, m):
    rows, known = random_rows(seed, known=m)
    ridge = 0.05
    both = np.concatenate([rows, known])
    centred = both - both.mean(axis=0)
    unit = np.mean(np.sum(centred[:9] ** 2, axis=1))
    taken = list(range(9, 9 + m))
    for index in chosen(pool_of(rows, known), MaxDet(ridge), 6):
        left = [k for k in range(9) if k not in taken]
        sets = [centred[[*taken, k]] for k in left]
        logs = [np.linalg.slogdet(s @ s.T / unit + ridge * np.eye(len(s)))[1] for s in sets]
        assert index == left[int(np.argmax(logs))]
        taken.append(index)


@given(SEEDS, st.sampled_from([FarthestPoint("none"), MaxDist("none")]))
@settings(max_examples=30, deadline=None)
def test_farthest_points_by_brute_force(seed, rule):
    rows, known = random_rows(seed)
    taken = list(known)
    left = list(range(9))
    for index in chosen(pool_of(rows, known), rule, 5):
        nearest = [min(np.linalg.norm(rows[k] - other) for other in taken) for k in left]
        assert index == left[int(np.argmax(nearest))]
        taken.append(rows[index])
        left.remove(index)


def test_variance_is_that_of_the_linear_model_given_labels_and_batch():
    rows, known = random_rows(1)
    scores = MaxDet(0.1).begin(pool_of(rows, known), np.random.default_rng(0))
    scores.take(4)
    both = np.concatenate([rows, known]) - np.concatenate([rows, known]).mean(axis=0)
    both /= np.sqrt(np.mean(np.sum(both[:9] ** 2, axis=1)))
    data = both[[4, 9, 10, 11]]
    cross = both[:9] @ data.T
    expected = np.sum(both[:9] ** 2, axis=1) - np.einsum(
        "nk,kn->n", cross, np.linalg.solve(data @ data.T + 0.1 * np.eye(4), cross.T)
    )
    np.testing.assert_allclose(scores.values(), expected, atol=1e-10)


def test_max_det_leaves_copies_where_max_dist_would_take_outliers_of_one_kind():
    line = np.outer(np.linspace(-1, 1, 11), [10.0, 0.0])
    rows = np.concatenate([line, [[0.0, 1.0], [0.0, -1.0]]])
    assert chosen(pool_of(rows), MaxDist("none"), 4)[3] < 11
    assert set(chosen(pool_of(rows), MaxDet(1e-4, "none"), 2)) & {11, 12}


def test_whitened_features_do_not_depend_on_units_nor_on_mixing():
    rows, known = random_rows(2, n=12)
    mix = np.random.default_rng(3).normal(size=(4, 4)) * [1, 100, 1e-3, 7]
    for rule in (MaxDist("whiten"), MaxDet(1e-2, "whiten")):
        assert chosen(pool_of(rows, known), rule, 6) == chosen(pool_of(rows @ mix, known @ mix), rule, 6)
    units = np.array([1, 100, 1e-3, 7])
    assert chosen(pool_of(rows, known), FarthestPoint(), 6) == chosen(
        pool_of(rows * units, known * units), FarthestPoint(), 6
    )


@pytest.mark.parametrize(
    ("forces", "options", "expected"),
    [
        pytest.param([1, 2, 3, 4, 30], {"threshold": {"forces": 2500}}, [3, 2, 1, 0, 4], id="lost ones come last"),
        pytest.param([1, 2, 3, 4, 11], {"threshold": {"forces": 2500}}, [4, 3, 2, 1, 0], id="not lost at 4.4 times"),
        pytest.param([13, 40, 1, 14], {"threshold": {"forces": 2500}}, [2, 0, 3, 1], id="the least lost first"),
        pytest.param([1, 2, 3, 4, 5], {"quantile": 0.2, "lost": 2.0}, [2, 1, 0, 3, 4], id="adaptive"),
    ],
)
def test_threshold(forces, options, expected):
    pool = replace(
        pool_of(np.zeros((len(forces), 1))),
        candidates=[replace(c, forces=float(f)) for c, f in zip(candidates(len(forces)), forces, strict=True)],
    )
    rule = make_rule(SelectOptions(rule="threshold", tasks=["forces"], **options))
    assert chosen(pool, rule, len(forces)) == expected


def test_threshold_is_of_the_expected_error():
    found = [replace(c, energy=e) for c, e in zip(candidates(3), (0.01, 0.02, 0.05), strict=True)]
    rule = Threshold(["energy"], {"energy": 30.0}, lost=4.0)
    raw = choose(Pool(found), rule, 1, FREE)[0]
    assert (raw.candidate.config_id, raw.score) == ("c002", pytest.approx(5 / 3))
    assert raw.reason == "expected error of energy 50 meV/atom, above the threshold 30"
    calibrated = choose(Pool(found, factors={"energy": 4.0}), rule, 3, FREE)
    assert [c.candidate.config_id for c in calibrated] == ["c001", "c000", "c002"]
    assert "far above (more than 4 times)" in calibrated[2].reason


@pytest.mark.parametrize(
    ("task", "spread", "bound", "told"),
    [
        ("energy", 0.006, 5.0, "6 meV/atom"),
        ("forces", 0.006, 5.0, "6 meV/Angstrom (largest in the structure)"),
        ("moments", 0.006, 0.005, "0.006 muB (largest in the structure)"),
    ],
)
def test_thresholds_have_the_units_of_targets(task, spread, bound, told):
    [found] = [replace(c, **{task: spread}) for c in candidates(1)]
    choice = choose(Pool([found]), Threshold([task], {task: bound}), 1, FREE)[0]
    assert choice.score == pytest.approx(1.2)
    assert choice.reason == f"expected error of {task} {told}, above the threshold {bound:g}"


@pytest.mark.parametrize("rule", ["spread", "threshold"])
def test_a_task_that_all_members_agree_on_has_no_say_by_rounding(rule):
    """Oxides of one spin state: no spread of moments, but for 1e-6 muB in one candidate."""
    found = [replace(c, energy=0.001 * (k + 1)) for k, c in enumerate(candidates(9))]
    found[2] = replace(found[2], moments=1e-6)
    options = SelectOptions(rule=rule, spread_over=[], geometry_once=False)
    choices = choose(Pool(found), make_rule(options), 9, options)
    assert next(k for k, c in enumerate(choices) if c.candidate.config_id == "c002") > 0
    assert all(choice.score < 10 for choice in choices)


def test_a_spread_among_many_without_one_is_told_in_units_of_the_floor():
    found = candidates(9)
    found[4] = replace(found[4], moments=0.01)
    options = SelectOptions(rule="spread", spread_over=[], geometry_once=False)
    choice = choose(Pool(found), make_rule(options), 1, options)[0]
    assert choice.candidate.config_id == "c004"
    assert choice.reason == "spread of moments is 100.0 times 0.0001 muB"


def test_random_draws_in_proportion_to_one_over_the_price():
    pool = replace(
        pool_of(np.zeros((2, 1))),
        candidates=[replace(c, price=p) for c, p in zip(candidates(2), (1.0, 3.0), strict=True)],
    )
    options = FREE.model_copy(update={"price": 1.0})
    cheap = sum(chosen(pool, Random(), 1, options, (seed,)) == [0] for seed in range(2000))
    assert cheap / 2000 == pytest.approx(0.75, abs=0.04)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_label_never_makes_another_candidate_worth_more(seed):
    rows, known = random_rows(seed)
    for rule in (FarthestPoint(), MaxDist(), MaxDet(0.01)):
        scores = rule.begin(pool_of(rows, known), np.random.default_rng(0))
        for index in itertools.islice(np.random.default_rng(seed).permutation(9), 4):
            before = scores.values().copy()
            scores.take(int(index))
            assert np.all(scores.values() <= before + 1e-9)


def test_reasons_say_what_was_measured():
    rows, known = random_rows(0)
    assert (
        "from the nearest known or chosen one in features" in choose(pool_of(rows, known), FarthestPoint(), 1)[0].reason
    )
    assert "from the mean of all in gradient features" in choose(pool_of(rows), MaxDist(), 1)[0].reason
    assert "% of the variance of its prediction is left" in choose(pool_of(rows, known), MaxDet(), 1)[0].reason


@pytest.mark.parametrize("price", [0.0, 0.5, 1.0, 2.0])
def test_price_divides_the_score_by_its_power(price):
    found = [
        replace(c, forces=f, price=p) for c, f, p in zip(candidates(3), (9.0, 4.0, 1.0), (4.0, 2.0, 1.0), strict=True)
    ]
    options = SelectOptions(rule="spread", tasks=["forces"], spread_over=[], price=price)
    scores = {c.candidate.config_id: c.score for c in choose(Pool(found), make_rule(options), 3, options)}
    for k, (force, cost) in enumerate(((9.0, 4.0), (4.0, 2.0), (1.0, 1.0))):
        assert scores[f"c{k:03d}"] == pytest.approx(force / 4.0 / (cost / 2.0) ** price)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "guess"}, "random"),
        ({"threshold": {"forces": 0.0}}, "greater than 0"),
        ({"threshold": {"stress": 0.1}}, "energy"),
        ({"ridge": 0.0}, "greater than 0"),
        ({"lost": 1.0}, "greater than 1"),
        ({"quantile": 1.5}, "less than or equal to 1"),
        ({"scaling": "rows"}, "columns"),
        ({"sketch": -1}, "greater than or equal to 0"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValidationError, match=message):
        SelectOptions.model_validate(options)
