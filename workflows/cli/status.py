"""``spinmultinet status``: where a campaign is, what it costs, how good it is and what it does next."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from workflows.cli.campaign import AsJson, CampaignFile, EngineChoice, Project
from workflows.cli.costs import duration
from workflows.cli.errors import FAILED
from workflows.cli.output import print_json, print_table, reported
from workflows.cli.remote import queue_of, show_queue

if TYPE_CHECKING:
    from workflows.status import Status

MOST_GENERATIONS = 12
"""Rows of the table of errors; --json has all."""


def status(campaign: CampaignFile, engine: EngineChoice = None, remote: Project = "", as_json: AsJson = False) -> None:
    """Where a campaign is, and what it will do next.

    Its round and stage, whether a process on this machine runs it, what labels and trainings have cost and what is
    left, errors on the frozen tests beside their targets, the model in use and the last decision about it, failures.
    Reads only; works before the first run, during one, after a kill and at the end. Exit code 1 where a job has failed
    and nothing runs: the campaign waits for somebody. Of a campaign on a cluster, also its jobs in the queue.

    \b
    Examples:
      spinmultinet status configs/campaigns/active_mn_co_ni.yaml
      spinmultinet status configs/campaigns/quickstart_nio.yaml --engine spin-lattice --json
      spinmultinet status nio.yaml --remote slurm
    """
    from workflows.campaign import load_campaign
    from workflows.status import campaign_status

    options, chosen = load_campaign(campaign, engine)
    with reported("finding orderings"):
        found = campaign_status(options, chosen)
        queue = queue_of(Path(options.folder), options.name, remote)
    if queue and queue.pending and not queue.held and found.state in ("not started", "stopped"):
        found = replace(found, state="running", at_work=f"in the queue of {queue.project}")
    if as_json:
        print_json(_document(found) | ({"queue": asdict(queue)} if queue else {}))
    else:
        _show(found)
        if queue is not None:
            show_queue(queue)
    if found.state == "failed":
        raise typer.Exit(FAILED)


def _document(found: Status) -> dict[str, Any]:
    return {**asdict(found), "targets": [{**asdict(target), "met": target.met} for target in found.targets]}


def _show(found: Status) -> None:
    typer.echo(_where(found))
    rows = [(kind, *counts.values()) for kind, counts in found.jobs.items()]
    print_table(["jobs", "done", "failed", "running", "waiting"], rows)
    typer.echo(_paid(found))
    typer.echo(_to_pay(found))
    _show_errors(found)
    for line in [*_champion(found), *_failures(found)]:
        typer.echo(line)
    for line in found.next:
        typer.echo(f"next: {line}" if line is found.next[0] else line)


def _where(found: Status) -> str:
    who = found.at_work or (f"process {found.process}" if found.process else "")
    at = f", round {found.generation} of at most {found.rounds}" if found.rounds else ""
    stage = f", {'at' if found.state == 'running' else 'next is'}: {found.stage}" if found.stage else ""
    why = f"; {found.stopped_because}" if found.state == "finished" and found.stopped_because else ""
    return f"campaign {found.campaign}: {found.state}{f' ({who})' if who else ''}{at}{stage}{why}"


def _paid(found: Status) -> str:
    cost = found.cost
    parts = [f"{cost.accepted} labels accepted, {cost.rejected} rejected, {cost.failed} failed"]
    lost = f", {duration(cost.wasted)} of it for rejected and failed ones" if cost.wasted else ""
    parts.append(f"cost {duration(cost.seconds)}{lost}")
    if found.training_seconds:
        parts.append(f"training {duration(found.training_seconds)}")
    return "so far: " + "; ".join(parts)


def _to_pay(found: Status) -> str:
    left, parts = found.left, []
    if left.labels:
        parts.append(_some(left.labels, "label", left.seconds / left.labels))
    if left.trainings:
        parts.append(_some(left.trainings, "training", left.training_each))
    if left.labels_later:
        each = None if left.seconds_later is None else left.seconds_later / left.labels_later
        later = [_some(left.labels_later, "label", each), _some(left.trainings_later, "training", left.training_each)]
        parts.append(f"at most {' and '.join(later)} in later rounds")
    return "left: " + ("; ".join(parts) if parts else "no labels and no trainings")


def _some(count: int, what: str, each: float | None = None) -> str:
    """``6 labels (about 3 core h)``."""
    cost = "" if each is None else f" (about {duration(count * each)})"
    return f"{count} {what}{'' if count == 1 else 's'}{cost}"


def _show_errors(found: Status) -> None:
    """Errors by generation: those with a target, else all of the first test set and the energies of the others."""
    from workflows.status import TASKS, UNITS

    if not found.errors:
        return
    wanted = {(target.test, target.task): target for target in found.targets}
    newest = found.errors[-1].tests
    first = next(iter(newest), "")
    columns = list(wanted) or [
        (t, k) for t, errors in newest.items() for k in TASKS if k in errors and (t == first or k == "energy")
    ]
    rows: list[list[Any]] = [
        [str(e.generation), e.labels, *(e.tests.get(test, {}).get(task) for test, task in columns)]
        for e in found.errors[-MOST_GENERATIONS:]
    ]
    if wanted:
        rows.append(["target", None, *(wanted[column].target for column in columns)])
        rows.append(["met", None, *("yes" if wanted[column].met else "no" for column in columns)])
    print_table(
        ["round", "labels", *(f"{test} {task}, {UNITS[task]}" for test, task in columns)],
        rows,
        title="mean absolute errors on the frozen tests",
    )


def _champion(found: Status) -> list[str]:
    lines = []
    if found.champion:
        lines.append(f"model in use: {found.champion['model_id']}, of round {found.champion['generation']}")
    else:
        lines.append("model in use: none" if found.state == "finished" else "model in use: none yet")
    if found.promotion:
        entry = found.promotion
        verdict = {"promote": "promoted", "refuse": "refused", "rollback": "gone back to"}[entry["action"]]
        which = entry["model_id"] if entry["generation"] is None else f"model of round {entry['generation']}"
        lines.append(f"last decision: {which} {verdict}: {'; '.join(entry['reasons'])}")
    if found.retraining:
        outcome = found.retraining["outcome"] or "not at its end"
        told = "; ".join(found.retraining["reasons"] or found.retraining["why"])
        lines.append(f"last retraining, {found.retraining['started'][:16]}: {outcome}: {told}")
    return lines


def _failures(found: Status) -> list[str]:
    return [f"failed: {f.job}: {f.error}{f' (details: {f.file})' if f.file else ''}" for f in found.failures]
