"""``spinmultinet data``: look into a store, and take labels out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.errors import InputError
from workflows.cli.output import print_json, print_table

if TYPE_CHECKING:
    from datastore import SpinStore

app = typer.Typer(help="Look into a store of labels, and export them.", rich_markup_mode=None)

Place = Annotated[
    str,
    typer.Argument(
        metavar="PLACE", help="Campaign YAML or campaign folder, or a store: local:FOLDER, mongodb://HOST/DATABASE."
    ),
]
Filter = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILTER",
        show_default=False,
        help="Terms FIELD=VALUE, !=, <, <=, > or >=; all must hold. A comma means 'or'; there are 'or', 'not' and "
        "parentheses. Quote < and >.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of tables.")]


@app.command()
def stats(place: Place, as_json: AsJson = False) -> None:
    """What a store holds.

    Counts of labels by formula, cell, ordering, deformation and verdict; levels of theory; labels and failures by
    campaign and engine.

    \b
    Examples:
      spinmultinet data stats configs/campaigns/quickstart_nio.yaml
      spinmultinet data stats local:runs/quickstart_nio/store --json
    """
    from datastore import queries
    from datastore.levels import names

    with _open(place, readonly=True) as opened:
        found = queries.stats(opened)
    rows = [(*key, count) for key, count in found.counts.items()]
    origins = [(*origin, *numbers) for origin, numbers in found.origins.items()]
    named = ("campaign", "engine", "labels", "failures")
    named_levels = names({level: theory for level, (_, theory) in found.levels.items()})
    if as_json:
        levels = {
            level: {"points": n, "name": named_levels[level], "level_of_theory": theory}
            for level, (n, theory) in found.levels.items()
        }
        groups = [dict(zip((*queries.GROUPING, "count"), row, strict=True)) for row in rows]
        campaigns = [dict(zip(named, row, strict=True)) for row in origins]
        rest = {"other_ordering": found.other_ordering, "failures": found.failures, "campaigns": campaigns}
        print_json({"points": found.total, "groups": groups, "levels": levels, **rest})
        return
    if rows:
        print_table([*queries.GROUPING, "count"], rows)
    if origins:
        print_table(named, origins)
    for level, (number, theory) in found.levels.items():
        typer.echo(f"level of theory {level} {named_levels[level]}: {number} labels, {_brief(theory)}")
    typer.echo(
        f"{found.total} labels, {found.other_ordering} of them in another ordering than asked for; "
        f"{found.failures} failed calculations" + (" (data query --failures)" if found.failures else "")
    )


def _brief(theory: dict[str, Any]) -> str:
    """Level of theory in a few words."""
    plain = [f"{key} {value}" for key, value in theory.items() if isinstance(value, str | int | float)]
    return ", ".join(plain[:4]) or "not described"


def _open(place: str, create: bool = False, readonly: bool = False) -> SpinStore:
    """The store that the command line names, which must exist unless ``create`` says otherwise."""
    from datastore import open_store

    uri = place
    if place.endswith((".yaml", ".yml")):
        from workflows.campaign import load_campaign

        uri = load_campaign(Path(place))[0].store
    elif Path(place).is_dir():
        uri = f"local:{Path(place) / 'store'}"
    elif ":" not in place:
        raise InputError(
            f"{place!r} names no store; give a campaign's YAML file or folder, or a URI such as local:runs/NAME/store"
        )
    return open_store(uri, create=create, readonly=readonly)
