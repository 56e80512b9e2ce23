"""The end of a run: its summary and report; and what is to be done again in the next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from workflows.cli.errors import InputError
from workflows.cli.output import console, print_json, whole_file

if TYPE_CHECKING:
    from jobflow import Flow

    from datastore import SpinStore
    from workflows.campaign import CampaignOptions
    from workflows.progress_view import Tally
    from workflows.submit import RunResult

REPORT_FILE = "report.html"


def forget(options: CampaignOptions, flow: Flow) -> None:
    """Failed calculations of a campaign are to be done again."""
    from datastore import open_store
    from workflows.results import forget_failures

    with open_store(options.store) as store:
        count = forget_failures(flow, store)
    typer.echo(f"{count} failed calculations will be done again", err=True)


def conclude(options: CampaignOptions, result: RunResult, tally: Tally, as_json: bool) -> None:
    """Summary, report, and what this run did."""
    from datastore import open_store
    from workflows.registry.errors import RefusedError
    from workflows.report import print_summary, summarise
    from workflows.results import latest_evaluation, never_used

    reused = sum(stage.reused for key, stage in tally.stages.items() if key[0] == "labels")
    done = {
        "calculations_run": result.executed_by_kind.get("label", 0),
        "calculations_reused": reused,
        "parents_run": result.executed_by_kind.get("parent", 0),
        "jobs_run": result.executed,
        "jobs_reused": result.reused,
        "seconds": result.seconds,
    }
    with open_store(options.store) as store:
        path = write_report_file(options, store)
        summary = summarise(options, store, latest_evaluation(store, options.name))
        problem = never_used(store, options.name)
    if as_json:
        print_json({"campaign": options.name, **done, "report": path, "summary": summary.model_dump(mode="json")})
    else:
        print_summary(summary, console())
        typer.echo(f"calculations: {done['calculations_run']} run now, {reused} taken from the store")
        typer.echo(f"report: {path}")
    if problem:
        raise RefusedError(problem)


def write_report_file(options: CampaignOptions, store: SpinStore, out: Path | None = None) -> Path:
    """Write the HTML report of a campaign, by default into its folder; returns the path."""
    from workflows.report import write_report
    from workflows.results import latest_evaluation

    path = (out or Path(options.folder) / REPORT_FILE).resolve()
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it, such as {path / REPORT_FILE}")
    with whole_file(path) as temporary:
        write_report(options, store, latest_evaluation(store, options.name), temporary)
    return path
