"""docs/results/active-learning.md and its figures, from a plan and the results of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from benchmarks.active_learning.curves import GOALS, QUANTITIES, Comparison, Curves, read_curves
from benchmarks.active_learning.figures import learning_curves
from benchmarks.active_learning.plan import Plan, Task, TaskName
from benchmarks.active_learning.statistics import Interval, mean_and_interval
from datastore.errors import DataError
from workflows.cli.output import whole_file

TEXT = Path(__file__).with_name("page.md")
HALF = 0.5
"""The goal: share of a baseline's labels."""


def write_page(plan: Plan, results: Path, docs: Path) -> None:
    """The page, and a figure per task. Raises DataError where a task has no finished seeds."""
    sections = {}
    for task in plan.tasks:
        curves = read_curves(plan, task, results)
        if len(curves.seeds) < 2:
            raise DataError(f"{results}/{task.name}.jsonl has fewer than two finished seeds of this plan; run it first")
        learning_curves(curves, task.strategies, docs / "images" / f"active-learning-{task.name}.png")
        lines = [*section(plan, task, curves), *others(plan, task, results)]
        sections[task.name] = "\n".join(lines)
    path = docs / "results" / "active-learning.md"
    with whole_file(path) as temporary:
        temporary.write_text(_filled(sections))


def _filled(sections: dict[str, str]) -> str:
    """The text of page.md with the sections in place of their names."""
    text = TEXT.read_text()
    for name in get_args(TaskName):
        text = text.replace(f"<!-- {name} -->", sections.get(name, "Not run."))
    return text


def section(plan: Plan, task: Task, curves: Curves) -> Iterator[str]:
    """Lines on one task: figure, errors, labels for equal error, verdicts."""
    yield f"![Errors against labels](../images/active-learning-{task.name}.png)"
    yield ""
    seeds = ", ".join(map(str, curves.seeds))
    yield from pool_lines(curves)
    yield ""
    yield f"{len(curves.seeds)} seeds ({seeds}). Geometric means over them (95 % t intervals):"
    yield ""
    yield from error_table(curves, task.strategies, curves.counts)
    yield ""
    compared = [curves.compared(plan.default, base, q) for q in QUANTITIES for base in plan.baselines]
    yield from share_table(plan, curves, compared)
    yield ""
    yield from verdicts(plan, compared)


def others(plan: Plan, task: Task, results: Path) -> Iterator[str]:
    """The default beside further strategies, where there are at least two seeds of one."""
    for name in sorted(set(plan.strategies) - set(task.strategies)):
        curves = read_curves(plan, task, results, [plan.default, name])
        if len(curves.seeds) < 2:
            continue
        yield ""
        seeds = ", ".join(map(str, curves.seeds))
        yield f"Beside `{name}`, of which there are {len(curves.seeds)} seeds ({seeds}) only:"
        yield ""
        compared = [curves.compared(plan.default, name, quantity) for quantity in QUANTITIES]
        yield from share_table(plan, curves, compared)


def pool_lines(curves: Curves) -> Iterator[str]:
    """What there was to choose among, and the tests; ranges where seeds differ."""
    yield f"Candidates: {_range([p['candidates'] for p in curves.pools])}."
    for key in ("deformation", "ordering"):
        names = sorted({name for pool in curves.pools for name in pool[key]})
        counts = {name: _range([pool[key].get(name, 0) for pool in curves.pools]) for name in names}
        yield f"By {key}: {', '.join(f'{name} {n}' for name, n in counts.items())}."
    names = list(curves.pools[0]["tests"])
    tests = {name: _range([pool["tests"][name] for pool in curves.pools]) for name in names}
    yield f"Tests: {tests['seen']} in the orderings of the candidates, {tests['unseen']} in held-out ones."


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def error_table(curves: Curves, names: Sequence[str], counts: Sequence[int]) -> Iterator[str]:
    """Errors of every strategy at some counts."""
    yield "| error | labels | " + " | ".join(names) + " |"
    yield "| --- " * (len(names) + 2) + "|"
    for quantity, title in QUANTITIES.items():
        for count in counts:
            k = curves.counts.index(count)
            cells = [_at(curves, name, quantity, k) for name in names]
            yield f"| {title} | {count} | " + " | ".join(cells) + " |"


def _at(curves: Curves, name: str, quantity: str, k: int) -> str:
    mean, low, high = mean_and_interval(curves.errors[name][quantity])
    return _text(Interval(float(mean[k]), float(low[k]), float(high[k])))


def share_table(plan: Plan, curves: Curves, compared: Sequence[Comparison]) -> Iterator[str]:
    """Labels for equal error, and ratios of errors."""
    counts = curves.counts[2:]
    heads = [f"labels for its error at {n}" for n in counts]
    yield f"| error of `{plan.default}` | beside | " + " | ".join(heads) + " | ratio of errors | |"
    yield "| --- " * (len(heads) + 4) + "|"
    for one in compared:
        shares = [f"{_text(one.shares[n])}" for n in counts]
        word = "worse" if one.worse else "better" if one.ratio.high < 1 else "no difference shown"
        yield (
            f"| {QUANTITIES[one.quantity]} | {one.baseline} | "
            + " | ".join(shares)
            + f" | {_text(one.ratio)} | {word} |"
        )


def verdicts(plan: Plan, compared: Sequence[Comparison]) -> Iterator[str]:
    """Whether the goal is met, and where the default loses."""
    for one in (c for goal in GOALS for c in compared if c.quantity == goal):
        yield f"- {QUANTITIES[one.quantity]}, beside {one.baseline}: {_halved(one.shares)}."
    worse = [f"{QUANTITIES[c.quantity]} (beside {c.baseline})" for c in compared if c.worse]
    yield f"- Errors that are larger over all counts, with 95 % confidence: {'; '.join(worse) or 'none'}."
    more = [
        f"{QUANTITIES[c.quantity]} ({c.baseline} at {at})"
        for c in compared
        for at, share in c.shares.items()
        if share.low > 1
    ]
    yield f"- Errors that take more labels, with 95 % confidence: {'; '.join(more) or 'none'}."


def _halved(shares: Mapping[int, Interval]) -> str:
    """For which errors of the baseline half its labels are enough: shown, on the mean only, or not."""
    words = {
        "half the labels or fewer, with 95 % confidence": [at for at, s in shares.items() if s.high <= HALF],
        "half or fewer on the mean, not shown with 95 % confidence": [
            at for at, s in shares.items() if s.value <= HALF < s.high
        ],
        "more than half": [at for at, s in shares.items() if s.value > HALF],
    }
    return "; ".join(f"{word}, for its error at {', '.join(map(str, ats))}" for word, ats in words.items() if ats)


def _text(interval: Interval) -> str:
    return f"{_number(interval.value)} ({_number(interval.low)} to {_number(interval.high)})"


def _number(value: float) -> str:
    return "never" if value == float("inf") else f"{value:.3g}"
