"""Campaigns on a cluster: ``run --remote``, ``pause``, ``resume``, ``cancel``, and the queue in ``status``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from workflows.cli.campaign import AsJson, CampaignFile, EngineChoice, Project, conclude, forget
from workflows.cli.errors import InputError
from workflows.cli.output import print_json, print_table
from workflows.cli.remote_projects import need_jobflow_remote
from workflows.cli.tally import tally_of

if TYPE_CHECKING:
    from workflows.campaign import CampaignOptions
    from workflows.engines import Engine
    from workflows.flows import CampaignMaker
    from workflows.remote.advance import Advanced
    from workflows.remote.campaign import RemoteCampaign
    from workflows.remote.control import Held, QueueState
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
    if retry_failed:
        forget(options, maker.make())
    _go_on(campaign, as_json)


def _go_on(campaign: RemoteCampaign, as_json: bool) -> None:
    """Release what is paused, and advance."""
    from workflows.progress_view import ProgressView
    from workflows.remote.advance import advance_campaign
    from workflows.remote.control import release

    release(campaign)
    tally = tally_of(campaign.options, campaign.maker.engine, 1)
    with ProgressView(tally, sys.stderr if as_json else sys.stdout) as view:
        done = advance_campaign(campaign, view, asked=True, patience=PATIENCE)
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
    }
    if as_json:
        print_json(told)
        return
    again = f", {done.retried} tried again" if done.retried else ""
    typer.echo(f"{done.submitted} jobs handed to the queue of {campaign.project}{again}; {done.in_queue} are in it now")
    typer.echo("the campaign goes on there by itself as long as a runner is at work: see jf runner status, and status")


def pause(campaign: CampaignFile, project: Project, engine: EngineChoice = None, as_json: AsJson = False) -> None:
    """Pause a campaign in the queue of a cluster.

    Jobs at work go on to their end, and no others are begun. Go on with resume.

    \b
    Example:
      spinmultinet pause nio.yaml --remote slurm
    """
    _hold(campaign, project, engine, "paused", as_json)


def cancel(campaign: CampaignFile, project: Project, engine: EngineChoice = None, as_json: AsJson = False) -> None:
    """Cancel a campaign in the queue of a cluster.

    Its jobs there are stopped, also those at work. What is done stays; run --remote goes on from there.

    \b
    Example:
      spinmultinet cancel nio.yaml --remote slurm
    """
    _hold(campaign, project, engine, "cancelled", as_json)


def resume(campaign: CampaignFile, project: Project, engine: EngineChoice = None, as_json: AsJson = False) -> None:
    """Go on with a campaign that was paused or cancelled, as its last run --remote described it.

    \b
    Example:
      spinmultinet resume nio.yaml --remote slurm
    """
    _go_on(_submitted(campaign, project, engine), as_json)


def _hold(file: Path, project: str, engine: str | None, how: Held, as_json: bool) -> None:
    from workflows.remote.control import hold, queue_state

    campaign = _submitted(file, project, engine)
    changed = hold(campaign, how)
    left = queue_state(campaign.options.name, project, how)
    if as_json:
        print_json({"campaign": campaign.options.name, "state": how, "jobs": changed, "queue": asdict(left)})
        return
    typer.echo(f"campaign {campaign.options.name}: {how}; {changed} jobs in the queue of {project}")
    show_queue(left)
    typer.echo(f"go on with: spinmultinet resume {file} --remote {project}")


def _submitted(file: Path, project: str, engine: str | None) -> RemoteCampaign:
    """The campaign as it is in the queue."""
    from workflows.campaign import load_campaign
    from workflows.remote.control import known

    need_jobflow_remote()
    options, _ = load_campaign(file, engine)
    found = known(Path(options.folder))
    if found is None or found.project != project:
        where = f"only in that of {found.project}" if found else f"start it with spinmultinet run {file} --remote"
        raise InputError(f"campaign {options.name} is not in the queue of {project}; {where}")
    return replace(found, held="")


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


def queue_of(folder: Path, name: str, project: str) -> QueueState | None:
    """The queue's part of a status: where asked for, or where the campaign runs on a cluster."""
    from importlib.util import find_spec

    from workflows.remote.campaign import FILE
    from workflows.remote.control import known, queue_state

    if project:
        need_jobflow_remote()
    elif not (folder / FILE).is_file() or find_spec("jobflow_remote") is None:
        return None
    campaign = known(folder)
    held = campaign.held if campaign else ""
    return queue_state(name, project or (campaign.project if campaign else ""), held)


def show_queue(found: QueueState) -> None:
    """Jobs by worker and state, and what failed."""
    states = list(dict.fromkeys(state for row in found.jobs.values() for state in row))
    rows = [[worker, *(row.get(state, 0) for state in states)] for worker, row in found.jobs.items()]
    held = f" ({found.held})" if found.held else ""
    if rows:
        print_table(["worker", *(state.lower() for state in states)], rows, title=f"queue of {found.project}{held}")
    else:
        typer.echo(f"queue of {found.project}{held}: nothing of this campaign")
    for failure in found.failures:
        typer.echo(f"{failure['state'].lower()}: {failure['job']} on {failure['worker']}: {failure['error']}")
