"""``spinmultinet data costs``, and the part of ``structures`` that says what a campaign will cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.data import AsJson, Place, _open
from workflows.cli.output import print_json, print_table

if TYPE_CHECKING:
    from datastore import SpinConfig
    from datastore.costs import Cost, LogEntry
    from workflows.campaign import CampaignOptions
    from workflows.engines import Engine

BY = "campaign,level_id,formula,atoms"
AT_ONCE = 500
"""Configurations that are looked up together."""

Filter = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILTER", show_default=False, help="As for data query --failures: fields that both have."),
]


def costs(
    place: Place,
    terms: Filter = None,
    by: Annotated[str, typer.Option(help="Fields to group by, separated by commas.")] = BY,
    as_json: AsJson = False,
) -> None:
    """What labels have cost, failures included.

    Core hours are wall time times cores. Where PLACE is a campaign, also what the log of its runs says: trainings, and
    calculations that were cut off, whose cost is not known.

    \b
    Examples:
      spinmultinet data costs configs/campaigns/quickstart_nio.yaml
      spinmultinet data costs local:runs/quickstart_nio/store formula=NiO --by ordering,atoms --json
    """
    from datastore.costs import ledger, read_log, total
    from datastore.queries import parse_filter

    fields = [name.strip() for name in by.split(",") if name.strip()]
    with _open(place) as store:
        found = ledger(store, parse_filter(" ".join(terms or []), failures=True), fields)
    everything = total(found.values())
    log = read_log(_log_file(place))
    if as_json:
        rows = [{**dict(zip(fields, key, strict=True)), **_numbers(cost)} for key, cost in found.items()]
        runs = {kind: {**vars(entry), "cut_off": entry.cut_off} for kind, entry in log.items()}
        print_json({"by": fields, "costs": rows, "total": _numbers(everything), "runs": runs})
        return
    if found:
        columns = [*fields, "accepted", "rejected", "failed", "cost", "of this wasted", "per accepted label"]
        print_table(columns, [(*key, *_cells(cost)) for key, cost in found.items()])
    typer.echo(_sum_up(everything))
    _print_runs(log)


def _numbers(cost: Cost) -> dict[str, Any]:
    return {**vars(cost), "core_hours": cost.seconds / 3600, "seconds_per_accepted": cost.per_accepted}


def _cells(cost: Cost) -> tuple[int, int, int, str, str, str]:
    each = "-" if cost.per_accepted is None else duration(cost.per_accepted)
    share = f"{cost.wasted / cost.seconds:.0%}" if cost.seconds else "-"
    return cost.accepted, cost.rejected, cost.failed, duration(cost.seconds), share, each


def _sum_up(cost: Cost) -> str:
    parts = [f"{duration(cost.seconds)} for {cost.accepted} accepted labels"]
    if cost.per_accepted is not None:
        parts.append(f"{duration(cost.per_accepted)} each")
    if cost.rejected or cost.failed:
        parts.append(f"{duration(cost.wasted)} of it for {cost.rejected} rejected labels and {cost.failed} failures")
    if cost.untimed:
        parts.append(f"{cost.untimed} calculations do not say how long they took and count as nothing")
    return "; ".join(parts)


def _print_runs(log: dict[str, LogEntry]) -> None:
    if not log:
        return
    rows = [(kind, e.started, e.finished, e.cut_off, duration(e.seconds)) for kind, e in log.items()]
    print_table(["jobs of the runs", "started", "finished", "cut off", "cost with overhead"], rows)
    cut = sum(entry.cut_off for entry in log.values())
    if cut:
        typer.echo(f"{cut} jobs were cut off with the run, or are running; what they cost is counted nowhere")


def _log_file(place: str) -> Path:
    """The log of the campaign's runs that belongs to a place; it need not exist."""
    from datastore.costs import LOG_FILE

    if place.endswith((".yaml", ".yml")):
        from workflows.campaign import load_campaign

        return Path(load_campaign(Path(place))[0].folder) / LOG_FILE
    if Path(place).is_dir():
        return Path(place) / LOG_FILE
    return Path(place.removeprefix("local:")).parent / LOG_FILE


def duration(seconds: float) -> str:
    """Core seconds for people, with three digits."""
    if seconds < 60:
        return f"{seconds:.3g} core s"
    return f"{seconds / 60:.3g} core min" if seconds < 3600 else f"{seconds / 3600:.3g} core h"


def campaign_cost(
    options: CampaignOptions, engine: Engine, configs: Iterable[SpinConfig], places: Sequence[str]
) -> dict[str, Any]:
    """Estimated cost of a campaign's calculations that are not done, from labels in its store and in ``places``."""
    from dataclasses import asdict

    from datastore import open_store
    from datastore.batches import in_batches
    from datastore.costs import estimate
    from workflows.costs import not_done, work, works

    total, todo, done = 0, [], []
    here = not options.store.startswith("local:") or Path(options.store.removeprefix("local:")).is_dir()
    with open_store(options.store, create=False) if here else nullcontext() as store:
        for some in in_batches(configs, AT_ONCE):
            total += len(some)
            todo += [work(config, engine) for config in (not_done(store, engine, some) if store else some)]
        done += list(works(store, engine)) if store else []
    for place in places:
        with _open(place) as store:
            done += list(works(store, engine))
    found = estimate(todo, done, engine.level_id(), engine.type)
    return {"calculations": len(todo), "already_done": total - len(todo), **asdict(found)}


def print_cost(cost: dict[str, Any]) -> None:
    """The estimate, its range and what it rests on."""
    typer.echo(f"{cost['calculations']} calculations to do, {cost['already_done']} already done")
    known = any(basis["samples"] for basis in cost["bases"])
    spread = f" (10-90 %: {duration(cost['low'])} to {duration(cost['high'])})" if known else ""
    typer.echo(f"about {duration(cost['seconds'])}{spread}")
    for basis in cost["bases"]:
        law = "" if basis["exponent"] is None else f", seconds ~ atoms^{basis['exponent']:.1f}"
        number = f"{basis['samples']} " if basis["samples"] else ""
        typer.echo(f"  {basis['formula']}, {basis['calculations']} to do: from {number}{basis['rests_on']}{law}")
