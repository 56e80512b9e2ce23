"""``spinmultinet data``: decide on labels by hand, and look for damage."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.data import AsJson, Place, _open
from workflows.cli.errors import FAILED, InputError
from workflows.cli.output import print_json, print_table, share_bar

if TYPE_CHECKING:
    from datastore.decisions import UsedIn
    from datastore.schema import DecisionAction
    from datastore.verify import Problem

PointIds = Annotated[
    list[str], typer.Argument(metavar="POINT_ID...", help="Labels: their ids, or beginnings that fit one label each.")
]
Reason = Annotated[str, typer.Option(help="Why; stays in the log for good.")]
NOT_KNOWN = (
    "models trained outside of campaigns are in no store; look for these snapshots in what their checkpoints say "
    "(snapshot_id, data_sha256)"
)
"""What a decision cannot be followed to."""

Author = Annotated[str, typer.Option(help="Who decides; default: the user's login name.", show_default=False)]


def override(
    place: Place,
    point_ids: PointIds,
    reason: Reason,
    accept: Annotated[bool, typer.Option("--accept/--reject", help="The verdict.", show_default=False)],
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Accept or reject labels against the rules.

    The decision stays in force when labels are ingested or judged again, until 'data restore'.

    \b
    Examples:
      spinmultinet data override runs/nio 1f0c66a0e5d1 --accept --author Ada --reason "checked the DOS"
      spinmultinet data override runs/nio 1f0c66a0e5d1 --reject --author Ada --reason "k mesh too coarse"
    """
    _decide(place, point_ids, "accept" if accept else "reject", author, reason, as_json)


def retract(place: Place, point_ids: PointIds, reason: Reason, author: Author = "", as_json: AsJson = False) -> None:
    """Withdraw labels that should not have been used.

    They stay queryable but enter no training set any more. Names the snapshots and models of this store that have seen
    them. A model trained elsewhere ('spinmultinet train') is in no store: its checkpoint names its snapshot.

    \b
    Example:
      spinmultinet data retract runs/nio 1f0c66a0e5d1 9bd8827ac6f0 --author Ada --reason "wrong setups"
    """
    _decide(place, point_ids, "retract", author, reason, as_json)


def restore(place: Place, point_ids: PointIds, reason: Reason, author: Author = "", as_json: AsJson = False) -> None:
    """Undo overrides and retractions: the verdict of the rules is back.

    \b
    Example:
      spinmultinet data restore runs/nio 1f0c66a0e5d1 --author Ada --reason "the setups were right"
    """
    _decide(place, point_ids, "restore", author, reason, as_json)


def decisions(place: Place, as_json: AsJson = False) -> None:
    """The log of manual decisions, oldest first.

    \b
    Example:
      spinmultinet data decisions runs/nio
    """
    from datastore.decisions import decisions as read_log

    with _open(place) as opened:
        log = list(read_log(opened))
    if as_json:
        print_json([entry.to_document() for entry in log])
        return
    if log:
        rows = [(d.created[:19], d.action, d.point_id[:12], d.author, d.reason) for d in log]
        print_table(["when (UTC)", "action", "label", "author", "reason"], rows)
    typer.echo(f"{len(log)} decisions")


def verify(
    place: Place,
    rejudge: Annotated[
        bool, typer.Option("--rejudge", help="First judge all labels by the rules of this version, and salvage flips.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look for damaged documents and files.

    Documents are checked against their checksums, ids and verdicts; training sets and models against their SHA-256.
    Says which labels and models are concerned and how to mend it. Exit code 1: something is damaged.

    \b
    Examples:
      spinmultinet data verify configs/campaigns/quickstart_nio.yaml
      spinmultinet data verify local:runs/quickstart_nio/store --json
    """
    from datastore.ingest import rejudge as judge_again
    from datastore.verify import verify as look

    with _open(place) as opened, share_bar("verify") as show:
        changed = judge_again(opened) if rejudge else 0
        found = look(opened, show)
    if as_json:
        print_json({"rejudged": changed, **asdict(found)})
    else:
        _print_problems(found.problems)
        counted = ", ".join(f"{number} {name}" for name, number in found.documents.items())
        again = f"; {changed} verdicts are new" if rejudge else ""
        typer.echo(f"checked {counted}, {found.files} files: {len(found.problems) or 'no'} problems{again}")
    if found.problems:
        raise typer.Exit(FAILED)


def _decide(place: str, point_ids: list[str], action: DecisionAction, author: str, reason: str, as_json: bool) -> None:
    from datastore.decisions import affected, decide

    with _open(place) as opened:
        changed = decide(opened, point_ids, action, author or login(), reason)
        used = affected(opened, changed)
    if as_json:
        points = [
            {"point_id": key, "verdict": p.verdict, "verdict_reasons": p.verdict_reasons, "overruled": p.overruled}
            for key, p in changed.items()
        ]
        print_json({"action": action, "points": points, **_by_kind(used), "not_known": NOT_KNOWN})
        return
    for point_id, point in changed.items():
        why = "; ".join(point.verdict_reasons or point.overruled)
        typer.echo(f"{point_id}: {point.verdict}{f' ({why})' if why else ''}")
    print_used(used)


def print_used(used: list[UsedIn]) -> None:
    """Table of the snapshots and models that have seen labels which are other labels now; nothing where none has."""
    if used:
        print_table(["seen by", "id", "campaign", "how"], [(u.kind, u.name, u.campaign, u.how) for u in used])
    models = sum(u.kind == "model" for u in used)
    if models:
        typer.echo(f"{models} models know of it: train them again on a new snapshot")
    if any(u.kind == "snapshot" for u in used):
        typer.echo(f"not known here: {NOT_KNOWN}")


def _by_kind(used: list[UsedIn]) -> dict[str, list[dict[str, Any]]]:
    return {f"{kind}s": [asdict(u) for u in used if u.kind == kind] for kind in ("snapshot", "model")}


def login() -> str:
    """Name of the user. Raises InputError where the machine knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise InputError("this machine does not know your name; give --author NAME") from error


def _print_problems(problems: list[Problem]) -> None:
    for problem in problems:
        typer.echo(f"{problem.collection} {problem.name}: {problem.what}")
        for used in problem.used_in:
            typer.echo(f"  concerns {used.kind} {used.name} ({used.how})")
        typer.echo(f"  to mend it: {problem.remedy}")
