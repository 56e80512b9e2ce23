"""Campaigns on a cluster: ``pause``, ``resume``, ``cancel``, ``advance``, and the queue in ``status``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from workflows.cli.campaign import AsJson, CampaignFile, EngineChoice, Project
from workflows.cli.errors import BUSY, InputError, need_jobflow_remote
from workflows.cli.output import print_json, print_table
from workflows.cli.remote_run import go_on, step

if TYPE_CHECKING:
    from workflows.remote.campaign import RemoteCampaign
    from workflows.remote.control import Held, QueueState


def pause(campaign: CampaignFile, project: Project, engine: EngineChoice = None, as_json: AsJson = False) -> None:
    """Pause a campaign in the queue of a cluster.

    What a scheduler has, or a pilot job has begun, goes on to its end; no others are begun. Go on with resume.

    \b
    Example:
      spinmultinet pause nio.yaml --remote slurm
    """
    _hold(campaign, project, engine, "paused", as_json)


def cancel(campaign: CampaignFile, project: Project, engine: EngineChoice = None, as_json: AsJson = False) -> None:
    """Cancel a campaign in the queue of a cluster.

    Its jobs there are stopped, also those at work, but for the label a pilot job is at. What is done stays; run
    --remote goes on from there.

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
    go_on(_submitted(campaign, project, engine), as_json)


def advance(campaign: CampaignFile, project: Project, engine: EngineChoice = None, as_json: AsJson = False) -> None:
    """Take a campaign in the queue of a cluster a step on, for timers.

    As run --remote does, but a campaign that is paused or cancelled stays so, and what waits for people waits on.
    Exit code 75 where something else works on the campaign.

    \b
    Examples:
      spinmultinet advance nio.yaml --remote slurm
      spinmultinet schedule nio.yaml --remote slurm --install
    """
    from datastore.locks import BusyError

    found = _submitted(campaign, project, engine)
    if found.held:
        told = f"campaign {found.options.name} is {found.held}; nothing was done"
        print_json({"campaign": found.options.name, "state": found.held}) if as_json else typer.echo(told)
        return
    try:
        step(found, as_json, asked=False)
    except BusyError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(BUSY) from None


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
