"""``spinmultinet run --relabel``: the same configurations at another level of theory."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from workflows.cli.data import _open
from workflows.cli.errors import InputError
from workflows.cli.output import print_json, print_table

if TYPE_CHECKING:
    from datastore.locks import Held
    from workflows.campaign import CampaignOptions
    from workflows.engines import Engine
    from workflows.relabel import RelabelOutcome, RelabelPlan
    from workflows.submit import RunResult


def relabel(
    options: CampaignOptions,
    engine: Engine,
    place: str,
    where: str,
    workers: int,
    retry_failed: bool,
    as_json: bool,
    held: Held,
) -> None:
    """Label what ``place`` holds with ``engine`` into the store of the campaign, and say what came of it."""
    from datastore import open_store
    from datastore.queries import parse_filter
    from workflows.campaign_lock import watched
    from workflows.progress_view import ProgressView, Tally
    from workflows.relabel import outcome_of, plan_relabel, relabel_flow, run_relabel
    from workflows.results import forget_failures

    criteria = parse_filter(where)
    with _open(place) as source, open_store(options.store) as target:
        same = source.uri == target.uri
        plan = plan_relabel(target if same else source, target, engine, criteria)
        flow = relabel_flow(plan, engine, options.name)
        if retry_failed:
            typer.echo(f"{forget_failures(flow, target)} failed calculations will be done again", err=True)
    seconds = sum(map(engine.seconds_estimate, plan.configs)) / max(1, len(plan.configs)) / engine.cores()
    tally = Tally(workers, {"labels": seconds}, {("labels", 0): len(plan.configs)})
    # stdout belongs to the JSON document where one was asked for.
    shown = ProgressView(tally, sys.stderr if as_json else sys.stdout) if plan.configs else nullcontext(lambda _: None)
    with shown as view:
        result = run_relabel(flow, options.store, Path(options.folder), workers, watched(held, view))
    with open_store(options.store) as target:
        outcome = outcome_of(plan, target)
    content = _content(options, engine, plan, result, outcome)
    if as_json:
        print_json(content)
    else:
        _show(content, place, same)


def _content(
    options: CampaignOptions, engine: Engine, plan: RelabelPlan, result: RunResult, outcome: RelabelOutcome
) -> dict[str, Any]:
    from datastore.levels import level_name

    sources = [{"level_id": level, "name": name, "labels": n} for level, (name, n) in plan.sources.items()]
    return {
        "campaign": options.name,
        "store": options.store,
        "level_id": engine.level_id(),
        "level": level_name(engine.level_of_theory()),
        "sources": sources,
        "configurations": len(plan.point_ids),
        "calculations_run": result.executed,
        "calculations_reused": plan.reused + result.reused,
        "accepted": outcome.accepted,
        "rejected": outcome.rejected,
        "other_level": outcome.other_level,
        "without_label": outcome.missing,
        "reasons": outcome.reasons,
        "seconds": result.seconds,
    }


def _show(content: dict[str, Any], place: str, same: bool) -> None:
    rows = [("from", s["level_id"], s["name"], s["labels"], "", "") for s in content["sources"]]
    counts = [content[key] for key in ("accepted", "rejected", "without_label")]
    rows.append(("to", content["level_id"], content["level"], *counts))
    print_table(["", "level of theory", "name", "accepted", "rejected", "without label"], rows)
    for reason, count in content["reasons"].items():
        typer.echo(f"{count} {reason}")
    typer.echo(
        f"{content['configurations']} configurations: {content['calculations_run']} calculated now, "
        f"{content['calculations_reused']} taken from the store"
    )
    typer.echo(f"labels are in {content['store']}")
    others = [s["level_id"] for s in content["sources"] if s["level_id"] != content["level_id"]]
    if others:
        command = f"spinmultinet data compare {place} {others[0][:8]} {content['level_id'][:8]}"
        typer.echo(f"see what changed: {command}" + ("" if same else f" --with {content['store']}"))


def check_where(where: str, place: str) -> None:
    """Refuse a filter without anything to apply it to."""
    if where and not place:
        raise InputError("--where chooses among labels to label again; say which with --relabel PLACE")
