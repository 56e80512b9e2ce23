"""``spinmultinet data upgrade``: documents of earlier versions become documents of this one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from workflows.cli.data import AsJson, Place, _open
from workflows.cli.errors import FAILED
from workflows.cli.output import print_json, share_bar


def upgrade(
    place: Place,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is old; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the documents of a store to this version, in place, and make its indexes.

    Needed once after an update of the software that says so. It may be stopped, killed and run again, also while
    campaigns run; checksums are checked before and are right afterwards. Exit code 1: documents are damaged; they are
    named and left as they are.

    \b
    Examples:
      spinmultinet data upgrade local:runs/quickstart_nio/store --dry-run
      spinmultinet data upgrade configs/campaigns/quickstart_nio.yaml
    """
    from datastore.store_upgrade import upgrade_store

    with _open(place, readonly=dry_run) as opened, share_bar("upgrade") as show:
        report = upgrade_store(opened, dry_run, show)
    if as_json:
        print_json({"dry_run": dry_run, **asdict(report)})
    else:
        for line in report.damaged:
            typer.echo(line)
        old = ", ".join(f"{number} {name}" for name, number in report.upgraded.items() if number) or "nothing"
        verb = "to be upgraded" if dry_run else "upgraded"
        typer.echo(f"looked at {sum(report.documents.values())} documents; {verb}: {old}")
        if report.changed_meanwhile:
            typer.echo(f"{report.changed_meanwhile} were written by somebody else meanwhile; run this command again")
        if report.damaged:
            typer.echo(f"{len(report.damaged)} damaged; see: spinmultinet data verify {place}")
    if report.damaged:
        raise typer.Exit(FAILED)
