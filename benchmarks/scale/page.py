"""docs/results/scale.md from what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datastore.errors import DataError
from workflows.cli.output import whole_file
from workflows.progress_view import duration

Row = dict[str, Any]
TEXT = Path(__file__).with_name("page.md")
STEPS = ("begin", "again", "status", "plan", "take_in", "freeze")

QUEUE = "queue "
GOAL = 1.2
"""Seconds per label: 2 % of a single point of 60 s."""


def write_page(results: Path, page: Path) -> None:
    """The page, from the newest result of each step at each size. Raises DataError where there is none."""
    if not results.exists():
        raise DataError(f"{results} does not exist; measure first: python -m benchmarks.scale run 2000")
    rows = _newest([json.loads(line) for line in results.read_text().splitlines()])
    sections = {
        "labels": label_table([row for row in rows if row["step"] in ("labels", "again")]),
        "queue": queue_table([row for row in rows if row["step"].startswith(QUEUE)]),
        "imports": import_lines([row for row in rows if row["step"].startswith(QUEUE)]),
        "steps": step_table([row for row in rows if row["step"] in STEPS]),
        "documents": document_lines([row for row in rows if row["step"] == "documents"]),
        "commands": command_lines(rows),
        "machine": ["; ".join(sorted({row["machine"] for row in rows}))],
    }
    text = TEXT.read_text()
    for name, lines in sections.items():
        text = text.replace(f"<!-- {name} -->", "\n".join(lines))
    with whole_file(page) as temporary:
        temporary.write_text(text)


def _newest(rows: Sequence[Row]) -> list[Row]:
    found = {(row["asked"], row["step"]): row for row in rows}
    return [found[key] for key in sorted(found)]


def command_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The command of each size, with the steps that were measured."""
    for row in (row for row in rows if row["step"].startswith(QUEUE)):
        which = f"--worker {row['worker']} --parallel {row['workers']}"
        yield f"    python -m benchmarks.scale queue {row['labels']} {which}"
    rows = [row for row in rows if not row["step"].startswith(QUEUE)]
    for asked in sorted({row["asked"] for row in rows}):
        steps = " ".join(row["step"] for row in sorted(rows, key=lambda row: row["created"]) if row["asked"] == asked)
        yield f"    python -m benchmarks.scale run {asked} --steps {steps}"


def overhead(row: Row) -> float:
    """Seconds per label: wall time times parallel jobs over labels."""
    return float(row["wall"] * row["workers"] / row["labels"])


def label_table(rows: Sequence[Row]) -> Iterator[str]:
    """One line per run."""
    yield "| labels | workers | wall | overhead per label | CPU per label: controller, workers | load |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        if row["step"] == "labels" and row["labels"]:
            each = ", ".join(f"{1e3 * row[name] / row['labels']:.1f} ms" for name in ("controller", "children"))
            yield (
                f"| {row['labels']:,} | {row['workers']} | {duration(row['wall'])} | {overhead(row):.2f} s | {each} | "
                f"{row['load']:.0f} |"
            )


def queue_table(rows: Sequence[Row]) -> Iterator[str]:
    """What a label costs in a queue, one line per worker, in seconds."""
    yield "| worker | labels | parallel | wall | overhead per label | CPU per label: its process, the runner | load |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        each = ", ".join(f"{row[name] / row['labels']:.2f} s" for name in ("jobs", "runner"))
        took = f"{duration(row['wall'])} | {overhead(row):.1f} s | {each} | {row['load']:.0f}"
        yield f"| {row['worker']} | {row['labels']} | {row['workers']} | {took} |"


def import_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Where the CPU time of a job's process goes, and whether the goal holds."""
    if not rows:
        return
    took = rows[-1]["imports"]
    yield (
        f"CPU of a job's process before it computes: {took['interpreter']:.2f} s for the interpreter alone, "
        f"{took['command']:.2f} s with the command of jobflow-remote, {took['both']:.2f} s with a label's modules."
    )
    worst = max(row["jobs"] / row["labels"] for row in rows)
    best = min(overhead(row) for row in rows)
    holds = "holds" if max(worst, best) < GOAL else "does not hold"
    yield (
        f"The goal of {GOAL} s {holds} here: a process alone has up to {worst:.2f} s of CPU, and the least overhead "
        f"measured is {best:.1f} s."
    )


def step_table(rows: Sequence[Row]) -> Iterator[str]:
    """Time and memory of each step at each size."""
    sizes = sorted({row["asked"] for row in rows})
    yield f"| | {' | '.join(f'{size:,}' for size in sizes)} |"
    yield "| --- |" + " ---: |" * len(sizes)
    for step in STEPS:
        found = {row["asked"]: row for row in rows if row["step"] == step}
        yield f"| {step} | {' | '.join(_cell(found.get(size)) for size in sizes)} |"


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    seconds = row.get("seconds", row.get("wall", row.get("check", 0.0) + row.get("write", 0.0)))
    return f"{seconds:.0f} s, {row['memory'] / 1e6:.0f} MB"


def document_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Sizes in the store."""
    if rows:
        last = rows[-1]
        flow, store = (f"{last[name] / 1e6:.1f} MB" for name in ("largest_flow", "store"))
        yield f"The largest document, the flow of a chunk of {last['chunk']} labels, has {flow}; MongoDB takes 16 MB."
        yield f"The store has {store} before the ingest of {last['asked']:,}."
