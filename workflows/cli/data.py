"""``spinmultinet data``: look into a store, and take labels out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.errors import InputError
from workflows.cli.output import print_json, print_table, whole_file

if TYPE_CHECKING:
    from datastore import SpinStore

app = typer.Typer(help="Look into a store of labels, and export them.", rich_markup_mode=None)

CampaignFile = Annotated[
    Path | None, typer.Argument(metavar="[CAMPAIGN]", help="YAML file of a campaign, whose store is meant.")
]
StoreUri = Annotated[
    str | None, typer.Option("--store", metavar="URI", help="local:FOLDER or mongodb://HOST/DATABASE, instead.")
]
Filter = Annotated[
    str, typer.Option("--filter", help="Terms FIELD=VALUE, !=, <, <=, > or >=; all must hold. A comma means 'or'.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of tables.")]

SHOWN = ("formula", "cell", "ordering", "deformation", "verdict", "generation", "energy", "total_moment")
"""Fields of a label in the table of ``query``; energy in eV per cell, total moment in muB per cell."""


@app.command()
def stats(campaign: CampaignFile = None, store: StoreUri = None, as_json: AsJson = False) -> None:
    """What a store holds.

    Counts of labels by formula, cell, ordering, deformation and verdict; levels of theory; failures.

    \b
    Examples:
      spinmultinet data stats configs/campaigns/quickstart_nio.yaml
      spinmultinet data stats --store local:runs/quickstart_nio/store --json
    """
    from datastore import queries

    with _open(campaign, store) as opened:
        found = queries.stats(opened)
    rows = [(*key, count) for key, count in found.counts.items()]
    if as_json:
        levels = {level: {"points": n, "level_of_theory": theory} for level, (n, theory) in found.levels.items()}
        groups = [dict(zip((*queries.GROUPING, "count"), row, strict=True)) for row in rows]
        rest = {"other_ordering": found.other_ordering, "failures": found.failures, "campaigns": found.campaigns}
        print_json({"points": found.total, "groups": groups, "levels": levels, **rest})
        return
    if rows:
        print_table([*queries.GROUPING, "count"], rows)
    for level, (number, theory) in found.levels.items():
        typer.echo(f"level of theory {level}: {number} labels, {_brief(theory)}")
    typer.echo(
        f"{found.total} labels, {found.other_ordering} of them in another ordering than asked for; "
        f"{found.failures} failed calculations"
    )


@app.command()
def query(
    campaign: CampaignFile = None,
    store: StoreUri = None,
    terms: Filter = "",
    sort: Annotated[str, typer.Option(help="Field to sort by; -FIELD for the largest first.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many labels; 0 shows all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Labels that match a filter.

    Energies in eV per cell, moments in muB.

    \b
    Examples:
      spinmultinet data query --store local:runs/quickstart_nio/store --filter "ordering=AFM-II verdict=accepted"
      spinmultinet data query configs/campaigns/quickstart_nio.yaml --filter "energy<-30" --sort -energy --limit 5
    """
    from datastore.queries import parse_filter
    from datastore.stores import explained

    criteria = parse_filter(terms)
    order = {_sort_field(sort): -1 if sort.startswith("-") else 1} if sort else None
    with _open(campaign, store) as opened, explained(opened.uri):
        fields = None if as_json else ["point_id", *SHOWN]
        found = list(opened.points.query(criteria, fields, sort=order, limit=limit))
        total = opened.points.count(criteria)
    if as_json:
        print_json([{key: value for key, value in document.items() if key != "_id"} for document in found])
        return
    rows = [[document["point_id"][:12], *(document.get(field) for field in SHOWN)] for document in found]
    if rows:
        print_table(["id", *SHOWN], rows)
    typer.echo(f"{len(rows)} of {total} labels" + (" (--limit 0 shows all)" if len(rows) < total else ""))


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="Extended XYZ file to write.")],
    campaign: CampaignFile = None,
    store: StoreUri = None,
    terms: Filter = "",
    level: Annotated[str, typer.Option(help="Only this level of theory: its id, or the beginning of it.")] = "",
    rejected: Annotated[bool, typer.Option("--rejected", help="Rejected labels as well.")] = False,
) -> None:
    """Write labels to an extended XYZ file.

    Accepted ones at one level of theory, unless told otherwise.

    \b
    Example:
      spinmultinet data export configs/campaigns/quickstart_nio.yaml --out nio.extxyz
    """
    from datastore import queries
    from datastore.atoms import write_points

    criteria = [c for c in (queries.parse_filter(terms), {} if rejected else {"verdict": "accepted"}) if c]
    with _open(campaign, store) as opened:
        found = queries.stats(opened, {"$and": criteria} if criteria else {})
        chosen = _one_level(found.levels, level)
        wanted = {"$and": [*criteria, {"level_id": chosen}]}
        with whole_file(out) as temporary:
            count = write_points(temporary, queries.find(opened, wanted))
    typer.echo(f"{out}: {count} labels at level of theory {chosen}")


def _one_level(levels: dict[str, tuple[int, dict[str, Any]]], asked: str) -> str:
    """The level to export; InputError where there is none or more than one."""
    matching = [level for level in levels if level.startswith(asked)]
    if len(matching) == 1:
        return matching[0]
    listed = "; ".join(f"{level} ({n} labels, {_brief(theory)})" for level, (n, theory) in levels.items())
    if not levels:
        raise InputError("no label matches; see what there is with: spinmultinet data stats")
    if not matching:
        raise InputError(f"no label at level of theory {asked!r}; there are {listed}")
    raise InputError(f"these labels have different levels of theory and must not be mixed; choose --level: {listed}")


def _brief(theory: dict[str, Any]) -> str:
    """Level of theory in a few words."""
    plain = [f"{key} {value}" for key, value in theory.items() if isinstance(value, str | int | float)]
    return ", ".join(plain[:4]) or "not described"


def _sort_field(text: str) -> str:
    from datastore.queries import NUMBER_FIELDS, TEXT_FIELDS

    field = text.removeprefix("-")
    if field not in [*NUMBER_FIELDS, *TEXT_FIELDS]:
        raise InputError(f"--sort: unknown field {field!r}; known: {', '.join([*TEXT_FIELDS, *NUMBER_FIELDS])}")
    return field


def _open(campaign: Path | None, uri: str | None) -> SpinStore:
    """The store that the command line names, which must exist."""
    from datastore import open_store

    if (campaign is None) == (uri is None):
        raise InputError("name one store: a campaign file, or --store URI such as local:runs/NAME/store")
    if campaign is not None:
        from workflows.campaign import load_campaign

        uri = load_campaign(campaign)[0].store
    return open_store(str(uri), create=False)
