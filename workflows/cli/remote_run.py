"""``spinmultinet run --remote``: start a campaign on a cluster, or go on with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from workflows.cli.conclusion import conclude, forget
from workflows.cli.errors import InputError, need_jobflow_remote
from workflows.cli.output import print_json
from workflows.cli.tally import tally_of

if TYPE_CHECKING:
    from workflows.campaign import CampaignOptions
    from workflows.engines import Engine
    from workflows.flows import CampaignMaker
    from workflows.remote.advance import Advanced
    from workflows.remote.campaign import RemoteCampaign
    from workflows.remote.routing import RemoteOptions

PATIENCE = 60.0
"""Seconds that a command waits for whatever else works on the campaign, such as an advance in the queue."""


def run_remote(
    options: CampaignOptions,
    engine: Engine,
    project: str,
    worker_map: Path | None,
    retry_failed: bool,
    as_json: bool,
    unfit: Mapping[str, Any],
) -> None:
    """Start a campaign on a cluster, or go on with it after whatever stopped it."""
    from workflows.flows import CampaignMaker
    from workflows.remote.campaign import RemoteCampaign

    if not project:
        raise InputError("--worker-map is for --remote PROJECT")
    if given := [name for name, value in unfit.items() if value]:
        raise InputError(f"--remote has no {' and no '.join(given)}; leave it out")
    need_jobflow_remote()
    maker = CampaignMaker(options, engine)
    campaign = RemoteCampaign(project, _routing(maker, project, worker_map), maker)
    go_on(campaign, as_json, (lambda: forget(options, maker.make())) if retry_failed else None)


def go_on(campaign: RemoteCampaign, as_json: bool, first: Callable[[], None] | None = None) -> None:
    """Release what is paused, and advance; ``first`` is called under the campaign's lock, before anything else."""
    from workflows.remote.control import release

    release(campaign)
    step(campaign, as_json, asked=True, first=first)


def step(campaign: RemoteCampaign, as_json: bool, asked: bool, first: Callable[[], None] | None = None) -> None:
    """Advance a campaign and say what that did. ``asked``: by a person, so what waits for people is tried again."""
    from workflows.progress_view import ProgressView
    from workflows.remote.advance import advance_campaign

    tally = tally_of(campaign.options, campaign.maker.engine, 1)
    with ProgressView(tally, sys.stderr if as_json else sys.stdout) as view:
        done = advance_campaign(campaign, view, asked=asked, patience=PATIENCE, first=first)
    if done.finished:
        conclude(campaign.options, done.run, tally, as_json)
    else:
        _tell(campaign, done, as_json)


def _tell(campaign: RemoteCampaign, done: Advanced, as_json: bool) -> None:
    told = {
        "campaign": campaign.options.name,
        "project": campaign.project,
        "light_jobs_run": done.run.executed,
        "submitted": done.submitted,
        "tried_again": done.retried,
        "in_queue": done.in_queue,
        "unwanted": done.unwanted,
    }
    if as_json:
        print_json(told)
        return
    again = f", {done.retried} tried again" if done.retried else ""
    typer.echo(f"{done.submitted} jobs handed to the queue of {campaign.project}{again}; {done.in_queue} are in it now")
    if done.unwanted:
        typer.echo(f"{done.unwanted} calculations in the queue are of an earlier version of the campaign file: cancel")
        typer.echo("the campaign and run it again to leave them out, or let them end: their labels go into the store")
    typer.echo("it goes on there as jobs end, as long as a runner is at work: see jf runner status, and status")
    typer.echo("after a lost connection or a killed pilot somebody has to give this command again; a timer does:")
    typer.echo(f"spinmultinet schedule CAMPAIGN --remote {campaign.project} --install")


def _routing(maker: CampaignMaker, project: str, file: Path | None) -> RemoteOptions:
    """The worker map: the file given, else that of the run before, else the one that ``remote init`` wrote here."""
    from workflows.remote.control import known
    from workflows.remote.routing import load_remote

    written = Path(f"{project}_workers.yaml")
    before = known(maker.folder)
    if file is None and before is not None and before.project == project:
        return before.routing
    if file is None and not written.is_file():
        raise InputError(f"say which jobs go where with --worker-map FILE; there is no {written} here")
    found = load_remote(file or written)
    if found.project not in (None, project):
        raise InputError(f"{file or written} is for project {found.project}, and --remote names {project}")
    return found
