"""``spinmultinet data`` query and pairs: labels by a filter, and how their energies differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.data import AsJson, Filter, Place, _open
from workflows.cli.output import print_json, print_table

if TYPE_CHECKING:
    from datastore import SpinStore
    from datastore.queries import PairSet

SHOWN = ("formula", "cell", "ordering", "deformation", "verdict", "generation", "energy", "total_moment")
"""Fields of a label in the table of ``query``; energy in eV per cell, total moment in muB per cell."""

OF_LEVEL = ("level_id", "level_of_theory")
"""Fields that the name of the level of theory comes from; it is in every table, because levels are not comparable."""

SHOWN_OF_FAILURES = ("config_id", "ordering", "deformation", "error_type", "error")
"""Fields of a failure in the table of ``query --failures``."""

Criteria = dict[str, Any]
Limit = Annotated[int, typer.Option(min=0, help="At most so many; 0 shows all.")]
Mongo = Annotated[str, typer.Option("--mongo", metavar="JSON", help="A MongoDB filter, beside the terms or instead.")]


def query(
    place: Place,
    terms: Filter = None,
    mongo: Mongo = "",
    failures: Annotated[
        bool, typer.Option("--failures", help="Calculations that gave no label, and why, instead of labels.")
    ] = False,
    sort: Annotated[str, typer.Option(help="Field to sort by; -FIELD for the largest first.")] = "",
    limit: Limit = 20,
    fields: Annotated[str, typer.Option(metavar="LIST", help="Only these fields, such as ordering,fmax,'m(Ni)'.")] = "",
    group: Annotated[
        str, typer.Option("--count-by", metavar="LIST", help="How many there are for each value of these fields.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Labels, or failures, that match a filter.

    Energies in eV per cell, moments in muB, forces in eV/Angstrom, above in meV/atom. All fields: docs/queries.md.

    \b
    Examples:
      spinmultinet data query configs/campaigns/quickstart_nio.yaml "ordering=AFM-II verdict=accepted"
      spinmultinet data query local:runs/quickstart_nio/store "energy<-30" --sort -energy --limit 5
      spinmultinet data query local:labels "x(Co)>=0.25 (flipped or m(Ni)<1.2) since=2026-11-01"
      spinmultinet data query local:labels "fmax<0.5 above<20" --fields "ordering,fmax,m(Ni)" --json
      spinmultinet data query local:labels --count-by formula,ordering
      spinmultinet data query local:labels --mongo '{"energy": {"$lt": -30}}'
      spinmultinet data query configs/campaigns/quickstart_nio.yaml --failures error_type=not-converged
    """
    from datastore.select import count, count_by

    criteria = asked(terms, mongo, failures)
    with _open(place, readonly=True) as opened:
        if group:
            names = group.split(",")
            counts = count_by(opened, names, criteria, failures)
            _show_counts(names, counts, as_json)
            return
        found = _found(opened, criteria, _listed(fields), sort, limit, failures, as_json)
        total = None if as_json else count(opened, criteria, failures)
    if as_json:
        print_json(found)
        return
    what = "failures" if failures else "labels"
    typer.echo(f"{len(found)} of {total} {what}" + (" (--limit 0 shows all)" if len(found) < (total or 0) else ""))


def pairs(
    place: Place,
    terms: Filter = None,
    mongo: Mongo = "",
    level: Annotated[str, typer.Option(help="Only this level of theory: beginning of its id, or its name.")] = "",
    rejected: Annotated[bool, typer.Option("--rejected", help="Rejected labels as well.")] = False,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Labels of one geometry in several orderings, and how far each lies above the lowest (meV/atom).

    Accepted labels of one level of theory each.

    \b
    Examples:
      spinmultinet data pairs configs/campaigns/quickstart_nio.yaml
      spinmultinet data pairs local:labels "formula=NiO deformation=none" --level GPAW-PBE+U-Ni6.2-700eV --json
    """
    from datastore import queries

    criteria = asked(terms, mongo)
    with _open(place, readonly=True) as opened:
        if level:
            criteria = {"$and": [criteria, {"level_id": queries.find_level(opened, level).level_id}]}
        found = list(queries.pairs(opened, criteria, accepted_only=not rejected, limit=limit))
    from datastore.levels import names

    named = names({one.level_id: one.points[0].level_of_theory for one in found})
    if as_json:
        print_json([_pair(one, named[one.level_id]) for one in found])
        return
    rows = [
        (one.pair_id, p.formula, p.deformation, p.ordering, 1e3 * above, p.point_id[:12], named[one.level_id])
        for one in found
        for p, above in zip(one.points, one.differences, strict=True)
    ]
    if rows:
        columns = ["pair", "formula", "deformation", "ordering", "above, meV/atom", "id", "level of theory"]
        print_table(columns, rows)
    typer.echo(f"{len(found)} geometries" + (" (--limit 0 shows all)" if limit and len(found) == limit else ""))


def asked(terms: list[str] | None, mongo: str, failures: bool = False) -> Criteria:
    """Criteria of a filter and a MongoDB filter of the command line, both of which have to hold."""
    from datastore.filters import parse_filter, parse_mongo

    parts = [parse_filter(" ".join(terms or []), failures), parse_mongo(mongo) if mongo else {}]
    given = [part for part in parts if part]
    return {"$and": given} if len(given) > 1 else (given[0] if given else {})


def _listed(fields: str) -> list[str]:
    return [name.strip() for name in fields.split(",")] if fields else []


def _found(
    store: SpinStore, criteria: Criteria, fields: list[str], sort: str, limit: int, failures: bool, as_json: bool
) -> list[dict[str, Any]]:
    """Documents as JSON wants them; for people they are shown, too."""
    from datastore.levels import names
    from datastore.queries import documents
    from datastore.select import select

    if as_json and not fields:
        found = select(store, criteria, sort=sort, limit=limit, failures=failures)
        return [{key: value for key, value in document.items() if key != "_id"} for document in found]
    columns = fields or list(SHOWN_OF_FAILURES if failures else ("point_id", *SHOWN))
    if as_json:
        return list(documents(store, columns, criteria, sort, limit, failures))
    shown = list(documents(store, [*columns, *OF_LEVEL], criteria, sort, limit, failures))
    if shown:
        level = names({document["level_id"]: document["level_of_theory"] for document in shown})
        heads = columns if fields else ["id", *columns[1:]]
        rows = [[*_row(document, columns, cut=not fields), level[document["level_id"]]] for document in shown]
        print_table([*heads, "level of theory"], rows)
    return shown


def _row(document: dict[str, Any], columns: list[str], cut: bool) -> list[Any]:
    """Cells of one document; with ``cut``, of its id, which comes first, the beginning."""
    cells = [document.get(field) for field in columns]
    return [str(cells[0])[:12], *cells[1:]] if cut else cells


def _show_counts(names: list[str], counts: dict[tuple[Any, ...], int], as_json: bool) -> None:
    if as_json:
        print_json([{**dict(zip(names, values, strict=True)), "count": number} for values, number in counts.items()])
        return
    if counts:
        print_table([*names, "count"], [(*values, number) for values, number in counts.items()])
    typer.echo(f"{sum(counts.values())} in {len(counts)} groups")


def _pair(found: PairSet, level: str) -> dict[str, Any]:
    points = [
        {
            **{name: getattr(point, name) for name in ("point_id", "ordering", "ordering_found", "verdict", "energy")},
            "above_mev_per_atom": 1e3 * above,
        }
        for point, above in zip(found.points, found.differences, strict=True)
    ]
    first = found.points[0]
    about = {"pair_id": found.pair_id, "level_id": found.level_id, "level": level, "formula": first.formula}
    return {**about, "deformation": first.deformation, "points": points}
