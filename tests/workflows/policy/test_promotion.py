"""The rules of promotion as a table; what chance explains is no vote."""

import numpy as np
import pytest

from workflows.learning import PromoteOptions
from workflows.policy.promotion import Compared, Finding, judge, overall, worse

RULES = PromoteOptions(worse=0.2, better=0.0, least=4, chance=0.05)
NAN, INF = float("nan"), float("inf")
PASSED = [Finding("files", True, "2 members"), Finding("symmetry", True, "within 0.001")]


def row(new, old, error=0.01, labels=20, name="random", kind="test", task="energy", geometries=None):
    return Compared(kind, name, task, "meV/atom", labels, labels if geometries is None else geometries, new, old, error)


@pytest.mark.parametrize(
    ("compared", "promoted", "part"),
    [
        (None, True, "checks passed: files, symmetry"),
        ([row(0.9, 1.0)], True, "errors changed by -10.0%"),
        ([row(1.0, 1.0)], True, "errors changed by +0.0%"),
        ([row(1.1, 1.0)], False, "have to shrink by at least 0%"),
        ([row(0.5, 1.0), row(1.9, 1.0, name="pairs")], False, "test set pairs: 1 -> 1.9 meV/atom (+90%, 20 labels)"),
        ([row(0.5, 1.0), row(1.15, 1.0, kind="group", name="FM")], True, "no group of 2 is worse"),
        ([row(0.5, 1.0), row(1.5, 1.0, kind="group", name="ordering:FM")], False, "energy on ordering:FM: 1 -> 1.5"),
        ([row(0.5, 1.0), row(1.5, 1.0, error=0.4, kind="group", name="FM")], True, "too few labels to tell it from"),
        ([row(0.5, 1.0), row(9.0, 1.0, labels=3, kind="group", name="FM")], True, "too few labels"),
        ([row(0.5, 1.0), row(9.0, 1.0, geometries=1, kind="group", name="FM")], True, "too few labels"),
        ([row(0.001, 0.002), row(0.009, 0.001, kind="group", name="FM")], True, "no group of 2 is worse"),
        ([row(NAN, 1.0)], False, "missing or not finite where there are labels: energy on random"),
        ([row(INF, INF)], False, "missing or not finite"),
        ([row(0.5, 1.0), row(NAN, 1.0, labels=1, kind="group", name="FM")], False, "energy on FM"),
        ([row(1.0, INF)], True, "errors changed by -100.0%"),
        ([row(0.9, 1.0), row(1.0, NAN, task="forces")], True, "errors changed by -10.0%"),
        ([row(1.1, 1.0), row(1.0, INF, task="forces")], False, "errors changed by +10.0%"),
        ([], False, "nothing can be compared"),
        ([row(1.0, 1.0, kind="group", name="FM")], False, "nothing can be compared"),
    ],
)
def test_judgement(compared, promoted, part):
    found = judge(compared, RULES, PASSED)
    assert found.promote is promoted
    assert any(part in line for line in found.reasons), found.reasons


def test_a_failed_check_refuses_whatever_the_errors_say():
    failed = [*PASSED, Finding("dynamics", False, "a force reached 99 eV/Angstrom at step 7")]
    for compared in (None, [row(0.1, 1.0)]):
        found = judge(compared, RULES, failed)
        assert not found.promote
        assert found.against == ["check dynamics failed: a force reached 99 eV/Angstrom at step 7"]


def test_better_by_a_share():
    strict = RULES.model_copy(update={"better": 0.1})
    assert not judge([row(0.95, 1.0)], strict, []).promote
    assert judge([row(0.85, 1.0)], strict, []).promote


def test_overall_is_the_geometric_mean_over_test_sets_and_tasks():
    rows = [row(2.0, 1.0), row(0.125, 1.0, name="pairs"), row(9.0, 1.0, kind="group", name="FM")]
    assert overall(rows) == pytest.approx(0.5)
    assert overall([]) is None


def drawn(rng: np.random.Generator, factor: float, groups: int, labels: int) -> list[Compared]:
    """Errors of two models on the same labels, correlated as those of two trainings are; the first group is worse."""
    rows = []
    for k in range(groups):
        hard = rng.gamma(2.0, 0.5, labels)  # of the label, for either model
        old, new = (hard * rng.gamma(4.0, 0.25, labels) for _ in range(2))
        new = new * (factor if k == 0 else 1.0)
        error = float((new - old).std(ddof=1) / np.sqrt(labels))
        rows.append(row(float(new.mean()), float(old.mean()), error, labels, f"g{k}", "group"))
    return rows


def share_refused(factor: float, groups: int, labels: int, tries: int = 150) -> float:
    rng = np.random.default_rng(1)
    return float(np.mean([bool(worse(drawn(rng, factor, groups, labels), RULES)) for _ in range(tries)]))


@pytest.mark.parametrize("labels", [4, 12])
@pytest.mark.parametrize("groups", [5, 40])
def test_a_model_that_is_as_good_is_rarely_refused_by_accident(groups, labels):
    assert share_refused(1.0, groups, labels) < RULES.chance + 0.02


def test_a_plain_limit_would_refuse_nearly_every_model_that_is_as_good():
    rng = np.random.default_rng(1)
    models = [drawn(rng, 1.0, 40, 12) for _ in range(20)]
    assert np.mean([any(row.growth > RULES.worse for row in rows) for rows in models]) > 0.9


def test_a_group_that_got_twice_as_bad_is_found_where_it_has_labels_enough():
    assert share_refused(2.0, 60, 50, tries=50) > 0.9
    assert share_refused(2.0, 60, 4, tries=50) < 0.2


def test_a_row_says_its_numbers():
    told = str(row(3.4, 2.1, labels=12, kind="group", name="ordering:AFM-II"))
    assert told == "energy on ordering:AFM-II: 2.1 -> 3.4 meV/atom (+62%, 12 labels)"
    assert row(2.0, 1.0, error=0.0).chance == 0.0
    assert row(1.0, 1.0, error=0.0).chance == 1.0
