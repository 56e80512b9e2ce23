"""What commands print and write: tables, JSON, files that are whole or not there."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from workflows.names import short_name

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS = 15.0
"""Between two lines of progress where there is no terminal."""

PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe, where nobody can say how wide the window is."""


def console() -> Console:
    """Rich console on stdout that does not squeeze tables where there is no terminal."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PLAIN_WIDTH
    return Console(width=wide, highlight=False, markup=False)


def print_json(content: Any) -> None:
    """One JSON document on stdout; NaN becomes null, because JSON has none."""
    typer.echo(json.dumps(_clean(content), indent=1, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """A table; columns whose cells are all numbers stand on the right."""
    from rich import box
    from rich.table import Table

    lines = [list(row) for row in rows]
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for number, name in enumerate(columns):
        numeric = all(isinstance(line[number], int | float) for line in lines)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for line in lines:
        # One sign per cation would fill the screen; --json has the whole name.
        cells = [short_name(str(v)) if c == "ordering" else v for c, v in zip(columns, line, strict=True)]
        table.add_row(*[_cell(value) for value in cells])
    console().print(table)


@contextmanager
def share_bar(title: str) -> Iterator[Callable[[float], None]]:
    """Bar on stderr with the time left; call what it gives with the share that is done, 0 to 1.

    Where stderr is no terminal, a line now and then.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    if not sys.stderr.isatty():
        yield _share_lines(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=1.0)
        yield lambda share: progress.update(task, completed=share)


@contextmanager
def reported(title: str) -> Iterator[None]:
    """A bar of what the block tells :func:`workflows.progress.report`; none where that is nothing."""
    from workflows.progress import set_reporter

    with ExitStack() as stack:
        bars: list[Callable[[float], None]] = []

        def tell(share: float, _: str) -> None:
            if not bars:
                bars.append(stack.enter_context(share_bar(title)))
            bars[0](share)

        before = set_reporter(tell)
        try:
            yield
        finally:
            set_reporter(before)


def _share_lines(title: str) -> Callable[[float], None]:
    started = last = time.monotonic()

    def tell(share: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_SECONDS and share > 0:
            last = now
            left = (now - started) * (1 - share) / share
            print(f"{title}: {share:.0%}, about {left:.0f} s left", file=sys.stderr, flush=True)

    return tell


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.4g}"
    return "-" if value is None else str(value)


def _clean(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _clean(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_clean(value) for value in content]
    if hasattr(content, "tolist"):
        return _clean(content.tolist())
    if isinstance(content, float) and (content != content or content in (float("inf"), float("-inf"))):
        return None
    return content if isinstance(content, str | int | float | bool | None) else str(content)
