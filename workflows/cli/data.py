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
        help="Terms FIELD=VALUE, !=, <, <=, > or >=; all must hold. A comma means 'or'. Quote < and >.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of tables.")]

SHOWN = ("formula", "cell", "ordering", "deformation", "verdict", "generation", "energy", "total_moment")
"""Fields of a label in the table of ``query``; energy in eV per cell, total moment in muB per cell."""

OF_LEVEL = ("level_id", "level_of_theory")
"""Fields that the name of the level of theory comes from; it is in every table, because levels are not comparable."""

SHOWN_OF_FAILURES = ("config_id", "ordering", "deformation", "error_type", "error")
"""Fields of a failure in the table of ``query --failures``."""


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

    with _open(place) as opened:
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


@app.command()
def query(
    place: Place,
    terms: Filter = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="Calculations that gave no label, and why, instead of labels.")
    ] = False,
    sort: Annotated[str, typer.Option(help="Field to sort by; -FIELD for the largest first.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0 shows all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Labels, or failures, that match a filter.

    Energies in eV per cell, moments in muB.

    \b
    Examples:
      spinmultinet data query configs/campaigns/quickstart_nio.yaml "ordering=AFM-II verdict=accepted"
      spinmultinet data query local:runs/quickstart_nio/store "energy<-30" --sort -energy --limit 5
      spinmultinet data query local:labels level_id=5edba1
      spinmultinet data query configs/campaigns/quickstart_nio.yaml --failures error_type=not-converged
    """
    from datastore.levels import names
    from datastore.queries import check_field, parse_filter
    from datastore.stores import explained

    criteria = parse_filter(" ".join(terms or []), failures)
    if sort:
        check_field(sort.removeprefix("-"), failures)
    order = {sort.removeprefix("-"): -1 if sort.startswith("-") else 1} if sort else None
    columns = SHOWN_OF_FAILURES if failures else ("point_id", *SHOWN)
    with _open(place) as opened, explained(opened.uri):
        collection = opened.failures if failures else opened.points
        found = list(collection.query(criteria, None if as_json else [*columns, *OF_LEVEL], sort=order, limit=limit))
        total = collection.count(criteria)
    if as_json:
        print_json([{key: value for key, value in document.items() if key != "_id"} for document in found])
        return
    if found:
        level = names({document["level_id"]: document["level_of_theory"] for document in found})
        rows = [[*_row(document, columns), level[document["level_id"]]] for document in found]
        print_table(["id", *columns[1:], "level of theory"], rows)
    what = "failures" if failures else "labels"
    typer.echo(f"{len(found)} of {total} {what}" + (" (--limit 0 shows all)" if len(found) < total else ""))


def _row(document: dict[str, Any], columns: tuple[str, ...]) -> list[Any]:
    """Cells of one document; of its id, which comes first, the beginning."""
    return [str(document[columns[0]])[:12], *(document.get(field) for field in columns[1:])]


def _brief(theory: dict[str, Any]) -> str:
    """Level of theory in a few words."""
    plain = [f"{key} {value}" for key, value in theory.items() if isinstance(value, str | int | float)]
    return ", ".join(plain[:4]) or "not described"


def _open(place: str, create: bool = False) -> SpinStore:
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
    return open_store(uri, create=create)
