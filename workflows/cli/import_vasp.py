"""``spinmultinet data import`` of VASP folders and task documents."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflows.cli.data import _open
from workflows.cli.errors import InputError
from workflows.cli.output import LINE_SECONDS, print_json, share_bar

if TYPE_CHECKING:
    from datastore.importing import ImportReport, Replacement

LEVEL_FILE = "write an engine's settings (type: vasp, ...), or level_of_theory: {...} as --report or data stats show it"


def import_runs(
    places: list[str],
    into: str,
    level: Path | None,
    campaign: str,
    replace: Replacement | None,
    processes: int,
    limit: float,
) -> ImportReport:
    """Import with a bar; see :func:`workflows.vasp_import.runner.import_vasp`."""
    from workflows.vasp_import.runner import VaspImport, import_vasp

    levels = tuple(_levels(level, into))
    with _open(into, create=True) as store, _progress() as watch:
        return import_vasp(store, places, VaspImport(processes or _cores(), limit, levels, campaign, replace, watch))


def show_levels(places: list[str], processes: int, limit: float, as_json: bool) -> None:
    """Levels of theory of the runs, as files for --level; those that differ in elements only as one."""
    import typer
    import yaml

    from workflows.vasp_import.runner import VaspImport, levels_found

    with _progress() as watch:
        found = levels_found(places, VaspImport(processes or _cores(), limit, watch=watch))
    if as_json:
        print_json([{"labels": number, "level_of_theory": level} for level, number in found])
        return
    if not found:
        raise InputError("no run gives a label; import them for the reasons")
    for level, number in found:
        typer.echo(f"# for --level: {number} labels, with {', '.join(level['potcars'])}")
        typer.echo(yaml.safe_dump({"level_of_theory": level}, sort_keys=False))


def _levels(file: Path | None, into: str) -> Iterator[Mapping[str, Any]]:
    """Levels that runs may be at: of --level, and of the campaign that the labels go into."""
    from workflows.engines import get_engine
    from workflows.options import load_yaml

    if file is not None:
        content = load_yaml(file, InputError)
        if isinstance(content.get("level_of_theory"), dict):
            yield content["level_of_theory"]
        elif "type" in content:
            yield get_engine(content).level_of_theory()
        else:
            raise InputError(f"{file} states no level of theory; {LEVEL_FILE}")
    if into.endswith((".yaml", ".yml")):
        from workflows.campaign import load_campaign

        _, engine = load_campaign(Path(into))
        if engine.type == "vasp":
            yield engine.level_of_theory()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """How many runs were found, and then a bar of those that are done."""
    with ExitStack() as stack:
        bars: list[Callable[[float], None]] = []
        found, last = 0, time.monotonic()

        def watch(done: int, total: int) -> None:
            nonlocal found, last
            if total:
                if not bars:
                    bars.append(stack.enter_context(share_bar("import")))
                bars[0](done / total)
                return
            found += 1
            if time.monotonic() - last >= LINE_SECONDS:
                last = time.monotonic()
                print(f"looking for runs: {found} so far", file=sys.stderr, flush=True)

        yield watch
