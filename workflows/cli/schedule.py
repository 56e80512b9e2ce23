"""Command that makes a timer of a campaign's retraining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.campaign import AsJson, CampaignFile, EngineChoice, Project
from workflows.cli.errors import InputError
from workflows.cli.output import print_json, whole_file

if TYPE_CHECKING:
    from workflows.schedule import Entry, Kind, Task


def schedule(
    campaign: CampaignFile,
    kind: Annotated[str, typer.Option("--as", metavar="cron|systemd|scrontab", help="What runs it.")] = "cron",
    every: Annotated[
        str, typer.Option(metavar="INTERVAL|FIELDS", help="15min, 6h, 1d, or five fields of cron in quotes.")
    ] = "15min",
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write the files into this folder.")] = None,
    install: Annotated[bool, typer.Option("--install", help="Put the timer in place, or a new one for it.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the timer of this campaign out.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Which timers of ours are in place on this machine.")] = False,
    sbatch: Annotated[
        list[str] | None, typer.Option(metavar="OPTION", help="Of sbatch, for scrontab, such as --time=4:00:00.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Passed on to retrain.")] = None,
    remote: Project = "",
    engine: EngineChoice = None,
    as_json: AsJson = False,
) -> None:
    """Make a timer that calls `spinmultinet retrain CAMPAIGN --if-due`, or with --remote `spinmultinet advance`.

    Without --install the lines or units are only shown. They name this Python and the present folder, which the paths
    in the campaign file are relative to. No flock is needed: both lock the campaign, on all hosts.

    \b
    Examples:
      spinmultinet schedule configs/campaigns/quickstart_nio.yaml
      spinmultinet schedule configs/campaigns/quickstart_nio.yaml --as systemd --every 6h --install
      spinmultinet schedule nio.yaml --as scrontab --every "0 3 * * 1-5" --sbatch=--time=4:00:00
      spinmultinet schedule nio.yaml --remote slurm --install
    """
    from workflows.campaign import load_campaign
    from workflows.schedule import KINDS, entry
    from workflows.schedule_install import render

    if kind not in KINDS:
        raise InputError(f"--as {kind}: choose one of {', '.join(KINDS)}")
    if sum((install, remove, show)) > 1:
        raise InputError("--install, --remove and --show are three commands; give one of them")
    if show:
        _show(as_json)
        return
    options, _ = load_campaign(campaign, engine)
    if remote and workers:
        raise InputError("--workers is for retrain, and --remote makes a timer for advance; leave one out")
    given = {"--engine": engine, "--workers": workers, "--remote": remote}
    arguments = [word for name, value in given.items() if value for word in (name, str(value))]
    task: Task = "advance" if remote else "retrain"
    timer = entry(options.name, campaign, Path.cwd(), every, arguments, sbatch or (), task)
    files = render(timer, kind)
    written = [] if out is None else _write(files, out)
    done = _change(timer, kind, install, remove)
    if as_json:
        told = {"name": timer.name, "as": kind, "cron": timer.cron}
        print_json({**told, "files": files, "written": written, "did": done})
        return
    _tell(files, written, done)


def _tell(files: dict[str, str], written: Sequence[Path], done: str) -> None:
    for path in written:
        typer.echo(str(path))
    if done:
        typer.echo(done)
    elif not written:
        typer.echo("\n".join(files.values()).rstrip("\n"))


def _change(timer: Entry, kind: Kind, install: bool, remove: bool) -> str:
    from workflows import schedule_install

    if install:
        schedule_install.install(timer, kind)
        return f"{timer.name} is in place ({kind}, {timer.cron}); what it says goes to {timer.log}"
    if remove:
        gone = schedule_install.remove(timer, kind)
        return f"{timer.name} is taken out" if gone else f"there is no {timer.name} in {kind}"
    return ""


def _write(files: dict[str, str], folder: Path) -> list[Path]:
    paths = []
    for name, content in files.items():
        with whole_file(folder / name) as temporary:
            temporary.write_text(content)
        paths.append(folder / name)
    return paths


def _show(as_json: bool) -> None:
    from workflows.schedule_install import installed

    found: dict[str, Any] = dict(installed())
    if as_json:
        print_json(found)
        return
    for kind, lines in found.items():
        if isinstance(lines, str):
            typer.echo(f"{kind}: {lines}")
        else:
            typer.echo("\n".join([f"{kind}: {len(lines) or 'no'} lines of ours", *lines]))
