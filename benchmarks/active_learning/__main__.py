"""Selection rules against random and farthest-point: run learning curves, or write the page from their results.

python -m benchmarks.active_learning run --out runs/active_learning
python -m benchmarks.active_learning run --out runs/active_learning --task gpaw --strategies random --seeds 0 1
python -m benchmarks.active_learning page --results runs/active_learning

What is run (strategies, seeds, counts, and the default that is to win) stands in plan.yaml beside this file. Every
trained model adds a line to OUT/TASK.jsonl. Stop it at any time, also with kill -9: the same command goes on. Two
processes may share OUT if they have different seeds. `page` writes docs/results/active-learning.md and its figures.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ase import Atoms

from benchmarks.active_learning.candidates import spin_lattice
from benchmarks.active_learning.first_principles import first_principles
from benchmarks.active_learning.page import write_page
from benchmarks.active_learning.plan import PLAN, Task, read_plan
from benchmarks.active_learning.runs import Run
from datastore.errors import DataError
from spinmultinet.errors import SpinMultiNetError
from workflows.cli.output import share_bar
from workflows.finished import Finished

RESULTS = Path(__file__).with_name("results")
DOCS = Path(__file__).parents[2] / "docs"


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.active_learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train and select; goes on where it was stopped")
    run.add_argument("--out", type=Path, required=True, help="folder of candidates, models and results")
    run.add_argument("--plan", type=Path, default=PLAN, help="default: plan.yaml beside the program")
    run.add_argument("--task", nargs="+", choices=["spin-lattice", "gpaw"], default=["spin-lattice", "gpaw"])
    run.add_argument("--strategies", nargs="+", help="default: those of the plan")
    run.add_argument("--seeds", nargs="+", type=int, help="default: those of the plan")
    page = commands.add_parser("page", help="docs/results/active-learning.md from results")
    page.add_argument("--plan", type=Path, default=PLAN, help="default: plan.yaml beside the program")
    page.add_argument("--docs", type=Path, default=DOCS, help="default: docs of the repository")
    page.add_argument("--results", type=Path, default=RESULTS, help="folder of results; default: the committed ones")
    return parser.parse_args(given)


def run(options: argparse.Namespace) -> None:
    """All runs that were asked for and are not finished, a seed at a time."""
    plan = read_plan(options.plan)
    unknown = sorted(set(options.strategies or []) - set(plan.strategies))
    if unknown:
        raise DataError(f"no strategy {unknown[0]!r} in {options.plan}; it has {', '.join(plan.strategies)}")
    for name in options.task:
        task = plan.task(name)
        results = Finished(options.out / f"{name}.jsonl", plan.source(task))
        names = options.strategies or task.strategies
        seeds = task.seeds if options.seeds is None else options.seeds
        with share_bar(f"{name}: labels") as tell:
            if name == "spin-lattice":
                spin_lattice(task.size, options.out, tell)
        with share_bar(f"{name}: {len(seeds)} seeds of {len(names)} strategies") as tell:
            for k, seed in enumerate(seeds):
                pool, tests = candidates_of(task, seed, options.out)
                if f"pool/{seed}" not in results:
                    results.add(f"pool/{seed}", described(pool, tests))
                for m, strategy in enumerate(names):
                    one = Run(task, strategy, plan.strategies[strategy], seed, pool, tests, results, options.out)
                    one.go(partial(_tell_part, tell, k * len(names) + m, len(seeds) * len(names)))


def candidates_of(task: Task, seed: int, folder: Path) -> tuple[list[Atoms], dict[str, list[Atoms]]]:
    """Candidates and tests of a task; those of the spin-lattice engine are the same for every seed."""
    if task.name == "gpaw":
        return first_principles(folder, seed)
    return spin_lattice(task.size, folder, lambda share: None)


def described(pool: Sequence[Atoms], tests: Mapping[str, Sequence[Atoms]]) -> dict[str, Any]:
    """How many candidates there are, of each deformation and ordering, and how many tests."""
    by = {key: dict(sorted(Counter(str(a.info[key]) for a in pool).items())) for key in ("deformation", "ordering")}
    return {"candidates": len(pool), **by, "tests": {name: len(frames) for name, frames in tests.items()}}


def _tell_part(tell: Callable[[float], None], k: int, n: int, share: float) -> None:
    tell((k + share) / n)


def main(given: Sequence[str] | None = None) -> None:
    """Run, or write the page."""
    options = arguments(given)
    if options.command == "run":
        run(options)
    else:
        write_page(read_plan(options.plan), options.results, options.docs)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
    except (DataError, SpinMultiNetError) as error:
        sys.exit(f"error: {error}")
