"""Commands that keep a campaign's model up to date: retrain it now, or where it is due."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.campaign import AsJson, CampaignFile, EngineChoice
from workflows.cli.errors import BUSY, FAILED, InputError
from workflows.cli.output import print_json

if TYPE_CHECKING:
    from datastore.retraining import Retraining
    from workflows.campaign import CampaignOptions
    from workflows.engines import Engine
    from workflows.progress_view import ProgressView
    from workflows.retrain import Looked, Retrained

BY_HAND = "asked for by hand"
JOBS = 6
"""Jobs of a retraining besides trainings: ingest, due, dataset, evaluation, promotion, record."""


def retrain(
    campaign: CampaignFile,
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only where it is due by active_learning.retrain of the campaign file.")
    ] = False,
    flag: Annotated[
        str, typer.Option(metavar="REASON", help="Retrain nothing now; make it due, for the next --if-due.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say whether it is due, and why; do nothing.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Trainings side by side; default: one per core.")] = None,
    engine: EngineChoice = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="With --if-due: no word where nothing is done; for timers.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Train the model of a campaign again on all labels there are, and put it to use if it is better.

    New labels may come from anywhere: runs, other campaigns in the store, imports. The new committee is judged beside
    the model in use on the same frozen tests; a worse one is refused, and the model in use stays, as it does after a
    failure. One retraining or run of a campaign works at a time, on all hosts. With --if-due it may be called every
    minute (see `spinmultinet schedule`). What was interrupted is continued.

    \b
    Exit codes: 0 new model in use, or nothing to do; 1 failed or refused; 75 somebody else works on the campaign
    (with --if-due: 0).

    \b
    Examples:
      spinmultinet retrain configs/campaigns/quickstart_nio.yaml --if-due
      spinmultinet retrain configs/campaigns/quickstart_nio.yaml --if-due --dry-run
      spinmultinet retrain configs/campaigns/quickstart_nio.yaml --flag "labels of November were wrong"
    """
    from workflows.campaign import load_campaign
    from workflows.retrain import look

    if flag and (if_due or dry_run):
        raise InputError("--flag only leaves a note for the next --if-due; give it without --if-due and --dry-run")
    options, chosen = load_campaign(campaign, engine)
    if flag:
        _flag(options, flag, as_json)
        return 0
    looked = look(options)
    if dry_run or (if_due and not looked.has_work):
        _show_look(options, looked, if_due, quiet and not dry_run, as_json)
        return 0
    return _retrain(options, chosen, workers or len(os.sched_getaffinity(0)), if_due, quiet, as_json)


def _retrain(options: CampaignOptions, engine: Engine, workers: int, if_due: bool, quiet: bool, as_json: bool) -> int:
    from datastore.locks import BusyError
    from workflows.retrain import retrain as work

    try:
        with _view(options, workers, as_json) as view:
            done = work(options, engine, "" if if_due else BY_HAND, workers, view)
    except BusyError as error:
        if not if_due:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return BUSY
        if not quiet:
            _say({"outcome": "busy", "reasons": [str(error)]}, f"nothing done: {error}", as_json)
        return 0
    return _conclude(options, done, quiet, as_json)


def _conclude(options: CampaignOptions, done: Retrained, quiet: bool, as_json: bool) -> int:
    from workflows.retrain import told

    for problem in done.problems:
        print(f"warning: {problem}", file=sys.stderr, flush=True)
    if done.record is None:
        if not quiet:
            _say({"campaign": options.name, "outcome": "", "due": []}, "nothing due", as_json)
        return 0
    _say(told(done.record), _line(done.record), as_json)
    return FAILED if done.record.outcome in ("failed", "refused") else 0


def _line(record: Retraining) -> str:
    """One line for a log."""
    what = {
        "promoted": f"model {record.model_id} is in use now, in place of {record.champion}",
        "refused": f"model {record.model_id} was refused, {record.champion} stays in use",
        "failed": f"failed, {record.champion} stays in use",
        "unchanged": f"not needed, {record.champion} stays in use",
    }.get(record.outcome, record.outcome)
    why = f"because {'; '.join(record.why)}"
    return f"{record.ended} retraining of {record.campaign}, {why}: {what}: {'; '.join(record.reasons)}"


def _flag(options: CampaignOptions, reason: str, as_json: bool) -> None:
    import getpass

    from datastore import open_store
    from datastore.retrainings import raise_flag

    with open_store(options.store, create=False) as store:
        flag = raise_flag(store, options.name, reason, getpass.getuser())
    _say(flag.to_document(), f"{options.name} is flagged for retraining: {flag.reason}", as_json)


def _show_look(options: CampaignOptions, looked: Looked, if_due: bool, quiet: bool, as_json: bool) -> None:
    content: dict[str, Any] = {"campaign": options.name, "outcome": "", "due": looked.why}
    if looked.survey is None:
        line = f"{options.name} has no model in use yet, so there is nothing to retrain"
    else:
        state = looked.survey.state
        content |= {"model_id": looked.survey.champion.model_id, **asdict(state)}
        content |= {"labels": len(looked.survey.point_ids), "not_ingested": len(looked.survey.pending)}
        content |= {"unreadable": looked.survey.unreadable, "problems": looked.survey.problems}
        line = f"{_verdict(looked, if_due)}; {_known(options, looked)}"
    if not quiet:
        _say(content, line, as_json)


def _verdict(looked: Looked, if_due: bool) -> str:
    if looked.why:
        return f"due: {'; '.join(looked.why)}"
    return "nothing due" if if_due else f"nothing due, but would retrain: {BY_HAND}"


def _known(options: CampaignOptions, looked: Looked) -> str:
    assert looked.survey is not None
    state, wanted = looked.survey.state, options.active_learning.retrain
    parts = [f"{state.unseen} new labels" + (f" of {wanted.new_points}" if wanted.new_points else "")]
    if looked.survey.pending:
        parts.append(f"{len(looked.survey.pending)} labels not taken in yet")
    if looked.survey.unreadable:
        parts.append(
            f"{len(looked.survey.unreadable)} label outputs that cannot be read ({looked.survey.unreadable[0]})"
        )
    parts += looked.survey.problems
    if state.drift:
        parts.append("drift " + ", ".join(f"{task} {ratio:.2f}" for task, ratio in state.drift.items()))
    if state.failed_hours is not None:
        parts.append(f"failed {state.failed_hours:.1f} h ago")
    parts.append(f"model {looked.survey.champion.model_id} is {state.age_days:.1f} days old")
    return ", ".join(parts)


def _view(options: CampaignOptions, workers: int, as_json: bool) -> ProgressView:
    from workflows.progress_view import OTHER, ProgressView, Tally

    tally = Tally(workers, {}, {("training", 0): options.committee, (OTHER, 0): JOBS})
    return ProgressView(tally, sys.stderr if as_json else sys.stdout)


def _say(content: dict[str, Any], line: str, as_json: bool) -> None:
    if as_json:
        print_json(content)
    else:
        typer.echo(line)
