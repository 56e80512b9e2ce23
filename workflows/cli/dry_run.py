"""`spinmultinet run CAMPAIGN --dry-run`: the next step in tables and sentences."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from workflows.cli.output import print_json, print_table, reported
from workflows.names import short_name

if TYPE_CHECKING:
    from workflows.campaign import CampaignOptions
    from workflows.engines import Engine

Document = dict[str, Any]


def dry_run(options: CampaignOptions, engine: Engine, first: Document, as_json: bool) -> None:
    """Show what a run would do next; ``first``: what generation 0 holds, shown where nothing has begun."""
    from workflows.preview import preview

    with reported("asking the models"):
        found = preview(options, engine)
    begun = found.state != "not started"
    if as_json:
        print_json(asdict(found) | ({} if begun else {"first": first}))
        return
    if not begun:
        rows = [(g["parent"], g["ordering"], g["deformation"], g["count"], g["core_hours"]) for g in first["groups"]]
        print_table(["parent", "ordering", "deformation", "count", "core hours"], rows, title="first labels")
    if found.selection:
        which = "asked for already" if found.asked else "as things stand"
        print_table(
            _TITLES, [_row(choice) for choice in found.selection], title=f"labels of round {found.round}, {which}"
        )
    for one in found.explored:
        dropped = ", ".join(f"{count} {reason}" for reason, count in one["dropped"].items())
        typer.echo(f"{one['source']}: {one['count']} candidates" + (f"; dropped: {dropped}" if dropped else ""))
        for note in one["notes"]:
            typer.echo(f"{one['source']}: {note}")
    typer.echo(f"campaign {found.campaign}: {found.state}")
    if found.decision is not None:
        typer.echo(found.decision["why"])
    for sentence in found.next:
        typer.echo(f"next: {sentence}")


_TITLES = ["formula", "ordering", "deformation", "source", "core s", "score", "reason"]


def _row(choice: Document) -> list[Any]:
    candidate = choice["candidate"]
    names = (candidate["formula"], short_name(candidate["ordering"]), candidate["deformation"], candidate["source"])
    return [*names, candidate["price"], choice["score"], choice["reason"]]
