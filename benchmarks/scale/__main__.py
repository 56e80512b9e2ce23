"""Campaigns of many configurations of 64 atoms, with an engine that answers at once.

python -m benchmarks.scale run 2000                                # all steps; 16 workers
python -m benchmarks.scale run 30000 --steps begin labels status
python -m benchmarks.scale queue 100 --worker pilot                # through jobflow-remote and MongoDB
python -m benchmarks.scale page                                    # docs/results/scale.md from what was measured

Results go to benchmarks/scale/results.jsonl, one line per step.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from benchmarks.scale.measure import STEPS, Row, measured
from benchmarks.scale.page import write_page
from benchmarks.scale.queue import WORKERS, through_queue
from tests.support.cluster.mongo import GIVEN
from workflows.progress_view import duration
from workflows.trusted import VARIABLE

ORDER = ["begin", "labels", "again", "documents", "status", "plan", "take_in", "freeze"]
RESULTS = Path(__file__).with_name("results.jsonl")
ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run steps, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, step by step")
    run.add_argument("configurations", type=int)
    run.add_argument("--chunk", type=int, default=500)
    run.add_argument("--workers", type=int, default=16)
    run.add_argument("--steps", nargs="+", choices=[*STEPS, "again"], default=ORDER, help="again: labels once more")
    run.add_argument("--folder", type=Path, help="where the campaign is kept; default: a temporary one")
    queue = commands.add_parser("queue", help="measure labels through a queue of jobflow-remote")
    queue.add_argument("labels", type=int)
    queue.add_argument("--worker", choices=WORKERS, default=WORKERS[0])
    queue.add_argument("--parallel", type=int, default=2, help="jobs at a time")
    queue.add_argument("--mongo-uri", default=os.environ.get(GIVEN, ""), help="without a database; else a test server")
    commands.add_parser("page", help="write docs/results/scale.md")
    options = parser.parse_args()
    if options.command == "page":
        write_page(options.results, ROOT / "docs" / "results" / "scale.md")
        return
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])  # for the workers
    os.environ[VARIABLE] = "benchmarks"
    if options.command == "queue":
        found = through_queue(options.labels, options.worker, options.parallel, options.mongo_uri)
        write(options, {**found, "step": f"queue {options.worker}", "asked": options.labels})
        return
    if options.folder is not None:
        run_steps(options, options.folder.resolve())
        return
    with tempfile.TemporaryDirectory() as folder:
        run_steps(options, Path(folder) / "campaign")


def run_steps(options: argparse.Namespace, folder: Path) -> None:
    """Each step in a process of its own; what it found is written at once."""
    common = {"folder": folder, "configurations": options.configurations, "chunk": options.chunk}
    for name in options.steps:
        step = "labels" if name == "again" else name
        arguments = common | ({"workers": options.workers} if step == "labels" else {})
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(measured, step, arguments).result()
        write(options, {**found, "step": name, "asked": options.configurations, "chunk": options.chunk})
        seconds = found.get("seconds", found.get("wall", found.get("write", 0.0)))
        print(f"{name}: {duration(seconds)}, {found['memory'] / 1e6:.0f} MB", file=sys.stderr)


def write(options: argparse.Namespace, row: Row) -> None:
    """Append what was measured, with when and where."""
    about = {
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with options.results.open("a") as file:
        file.write(json.dumps({**row, **about}) + "\n")


if __name__ == "__main__":
    main()
