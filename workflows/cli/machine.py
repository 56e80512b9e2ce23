"""``spinmultinet doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from workflows.cli.errors import MISSING, need_jobflow_remote
from workflows.cli.output import print_json


def doctor(
    store: Annotated[
        str | None, typer.Option(metavar="URI", help="Also see whether this store can be reached.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(metavar="TYPE|FILE", help="Judge this engine alone, such as a YAML file with your POTCARs."),
    ] = None,
    remote: Annotated[
        str | None,
        typer.Option(metavar="PROJECT", help="Also look at this project of jobflow-remote: keys, database, workers."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of text.")] = False,
) -> None:
    """What this machine has and lacks.

    Each problem comes with its remedy. Exit code 3 when no engine, or not the one that is named, can run,
    or when something else is amiss.

    \b
    Examples:
      spinmultinet doctor
      spinmultinet doctor --engine configs/engines/vasp.yaml
      spinmultinet doctor --store local:runs/quickstart_nio/store
      spinmultinet doctor --remote slurm
    """
    from workflows.doctor import inspect, lines

    if remote is not None:
        need_jobflow_remote()
    found = inspect(store, engine, remote)
    if as_json:
        print_json(found)
    else:
        for line in lines(found):
            typer.echo(line)
    if not found["ready"]:
        raise typer.Exit(MISSING)
