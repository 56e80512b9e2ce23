"""``spinmultinet models``: which models there are, how they compare, and which one is in use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.curate import login
from workflows.cli.data import AsJson, Place, _open
from workflows.cli.errors import InputError
from workflows.cli.output import print_json, print_table, reported

if TYPE_CHECKING:
    from datastore import ModelRecord, SpinStore
    from datastore.promotion import Promotion
    from workflows.learning import PromoteOptions
    from workflows.policy.promotion import Compared

app = typer.Typer(help="List, compare, promote and roll back trained models.", rich_markup_mode=None)

ModelId = Annotated[str, typer.Argument(metavar="MODEL", help="Id of a model, or its beginning.")]
Campaign = Annotated[
    str, typer.Option(metavar="NAME", help="Campaign, where PLACE is a store that holds several.", show_default=False)
]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the log.")]
By = Annotated[str, typer.Option(help="Who decides; default: the user's login name.", show_default=False)]

CLEAR = 0.025
"""A model is called better where chance would make such a difference less often than this."""


@app.command("list")
def list_models(place: Place, campaign: Campaign = "", as_json: AsJson = False) -> None:
    """All models of a campaign or store, oldest first, with their errors on the test split.

    Mean absolute errors in meV/atom, meV/Angstrom and muB, each on the test split of the model's own training set: to
    compare two models use models compare.

    \b
    Examples:
      spinmultinet models list configs/campaigns/quickstart_nio.yaml
      spinmultinet models list local:runs/quickstart_nio/store --json
    """
    from datastore.registry import champion, history

    with _open(place) as store:
        names = _campaigns(store, place, campaign)
        records = [record for name in names for record in store.get_models(campaign=name)]
        used = {name: found.model_id for name in names if (found := champion(store, name))}
        log = {entry.model_id: entry for name in names for entry in history(store, name)}
    rows = [_row(record, used.get(record.campaign, ""), log.get(record.model_id)) for record in records]
    if as_json:
        print_json(rows)
        return
    if rows:
        columns = ["model", "campaign", "round", "trained (UTC)", "labels", "energy", "forces", "moments", "state"]
        names_of = (
            "model_id",
            "campaign",
            "generation",
            "created",
            "test_labels",
            "energy",
            "forces",
            "moments",
            "state",
        )
        print_table(columns, [[_short(name, row[name]) for name in names_of] for row in rows])
    typer.echo(f"{len(rows)} models" + ("" if rows else "; a campaign trains them: spinmultinet run CAMPAIGN.yaml"))


@app.command()
def show(place: Place, model: ModelId, as_json: AsJson = False) -> None:
    """All about one model: what it was trained on and how, its errors, its files, what was decided on it and why.

    \b
    Example:
      spinmultinet models show runs/quickstart_nio 8092826a
    """
    from datastore.levels import level_name
    from datastore.registry import champion, history, resolve

    with _open(place) as store:
        record = resolve(store, model)
        entries = [e for e in history(store, record.campaign) if record.model_id in (e.model_id, e.previous)]
        used = champion(store, record.campaign)
    if as_json:
        in_use = used is not None and used.model_id == record.model_id
        print_json({**record.to_document(), "in_use": in_use, "log": [entry.to_document() for entry in entries]})
        return
    for name, value in _facts(record, level_name(record.level_of_theory)):
        typer.echo(f"{name:<16}{value}")
    _show_scores(record.scores)
    for entry in entries:
        _show_entry(entry)


@app.command()
def compare(
    place: Place,
    first: Annotated[str, typer.Argument(metavar="MODEL", help="Id of a model, or its beginning.")],
    second: Annotated[str, typer.Argument(metavar="MODEL", help="Id of another one.")],
    as_json: AsJson = False,
) -> None:
    """Errors of two models on the same frozen labels, test set by test set and group by group.

    The labels are the test split of the newer training set, without those that one of the two was trained on. A model
    is called better where chance would make such a difference in less than 1 of 20 cases (paired by geometry).

    \b
    Example:
      spinmultinet models compare runs/quickstart_nio 8092826a 1f0c66a0
    """
    from datastore.registry import resolve
    from workflows.policy.promotion import overall
    from workflows.registry.judging import compare_records, left_out

    with _open(place) as store:
        old, new = resolve(store, first), resolve(store, second)
        rows, tests = compare_records(store, old, new)
    ratio = overall(rows)
    if as_json:
        about = {"first": old.model_id, "second": new.model_id, "labels_left_out": tests.left_out, "ratio": ratio}
        print_json({**about, "labels_unknown": tests.unknown, "rows": [_compared(row) for row in rows]})
        return
    if not rows:
        raise InputError(f"nothing to compare on; {'; '.join(left_out(tests)) or 'the test split has no labels'}")
    names = (old.model_id[:8], new.model_id[:8])
    columns = ["", "task", "unit", "labels", *names, "change", "better"]
    print_table(columns, [_cells(row, names) for row in rows], title="mean absolute errors")
    for line in left_out(tests):
        typer.echo(line)
    if ratio is not None:
        typer.echo(
            f"{names[1]} against {names[0]}: errors {ratio - 1:+.1%} in the geometric mean of test sets and tasks"
        )


@app.command()
def promote(
    place: Place,
    model: ModelId,
    reason: Reason,
    by: By = "",
    force: Annotated[
        bool, typer.Option("--force", help="Overrule the comparison with the model in use; never a failed check.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a model to use by hand.

    It is checked and compared as a campaign does it, by the rules in the campaign file where PLACE is one. Exit code 1:
    refused, and the model in use stays. A damaged file, or one that is not the model of its record, is never promoted.

    \b
    Examples:
      spinmultinet models promote configs/campaigns/quickstart_nio.yaml 8092826a --reason "better at AFM-I"
      spinmultinet models promote runs/quickstart_nio 8092826a --reason "trust me" --by Ada --force
    """
    from datastore.registry import resolve
    from workflows.progress import report
    from workflows.registry.by_hand import promote_by_hand

    _check_reason(reason)
    options = _rules(place)
    with _open(place) as store, reported("checking the model"):
        record = resolve(store, model)
        _check_campaign(record, _campaign_of(place))
        entry = promote_by_hand(store, record, options, by or login(), reason, force, report)
    _conclude(entry, as_json)


@app.command()
def rollback(
    place: Place,
    reason: Reason,
    to: Annotated[
        str, typer.Option(metavar="MODEL", help="An earlier model; default: the one in use before.", show_default=False)
    ] = "",
    by: By = "",
    campaign: Campaign = "",
    as_json: AsJson = False,
) -> None:
    """Go back to the model in use before, or to an earlier one.

    Its files are checked first. The campaign does not promote the model it went back from again by itself; models
    promote does, and rollback --to goes forth again.

    \b
    Examples:
      spinmultinet models rollback runs/quickstart_nio --reason "explodes at 900 K"
      spinmultinet models rollback runs/quickstart_nio --to 8092826a --reason "it was the thermostat"
    """
    from datastore.registry import resolve
    from workflows.registry.by_hand import rollback_by_hand

    _check_reason(reason)
    with _open(place) as store:
        record = resolve(store, to) if to else None
        if record is not None:
            _check_campaign(record, campaign or _campaign_of(place))
        name = record.campaign if record is not None else _one_campaign(store, place, campaign)
        entry = rollback_by_hand(store, name, by or login(), reason, record.model_id if record is not None else "")
    _conclude(entry, as_json)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise InputError("--reason is empty; say why, it is kept in the log")


def _campaign_of(place: str) -> str:
    """Name of the campaign whose file ``place`` is; empty where it is none."""
    from workflows.campaign import load_campaign

    return load_campaign(Path(place))[0].name if place.endswith((".yaml", ".yml")) else ""


def _check_campaign(record: ModelRecord, name: str) -> None:
    """Refuse a model of another campaign than ``name`` (empty: any): several may share a store."""
    if name and record.campaign != name:
        raise InputError(
            f"model {record.model_id} is of campaign {record.campaign!r}, not of {name!r}; give the campaign file of "
            f"{record.campaign!r}, or a model of {name!r}"
        )


def _rules(place: str) -> PromoteOptions:
    """Those of the campaign file where ``place`` is one, else the defaults."""
    from workflows.campaign import load_campaign
    from workflows.learning import PromoteOptions

    if place.endswith((".yaml", ".yml")):
        return load_campaign(Path(place))[0].active_learning.promote
    return PromoteOptions()


def _campaigns(store: SpinStore, place: str, name: str) -> list[str]:
    """Campaigns to show: the one named, the one whose file ``place`` is, else all of the store."""
    from datastore.registry import campaigns

    name = name or _campaign_of(place)
    known = campaigns(store)
    if name and name not in known:
        raise InputError(f"no model of campaign {name!r} in this store; there are {', '.join(known) or 'none'}")
    return [name] if name else known


def _one_campaign(store: SpinStore, place: str, name: str) -> str:
    found = _campaigns(store, place, name)
    if len(found) != 1:
        raise InputError(f"this store has models of {', '.join(found) or 'no campaign'}; choose with --campaign NAME")
    return found[0]


def _row(record: ModelRecord, in_use: str, entry: Promotion | None) -> dict[str, Any]:
    """What the list tells of a model; errors in meV/atom, meV/Angstrom, muB."""
    scores = record.scores.get("model") or {}
    state = "in use" if record.model_id == in_use else record.status
    refused = entry is not None and entry.action == "refuse" and state == "candidate"
    return {
        "model_id": record.model_id,
        "campaign": record.campaign,
        "generation": record.generation,
        "created": record.created,
        "snapshot_id": record.snapshot_id,
        "level_id": record.level_id,
        "members": len(record.files),
        "test_labels": (scores.get("energy") or {}).get("n"),
        **{task: (scores.get(task) or {}).get("mae") for task in ("energy", "forces", "moments")},
        "state": "refused" if refused else state,
        "reasons": [] if entry is None else entry.reasons,
    }


def _short(name: str, value: Any) -> Any:
    lengths = {"model_id": 12, "created": 19}
    return value[: lengths[name]] if name in lengths else value


def _facts(record: ModelRecord, level: str) -> list[tuple[str, str]]:
    """Label and value of each line of ``show``."""
    model, training = (record.hypers.get(part) or {} for part in ("model", "training"))
    chosen = [f"{key} {model[key]}" for key in ("layers", "channels", "l_max", "cutoff", "spin") if key in model]
    chosen += [f"{key} {training[key]}" for key in ("epochs", "learning_rate") if key in training]
    environment = ", ".join(f"{name} {version}" for name, version in record.environment.items())
    facts = [
        ("model", record.model_id),
        ("campaign", f"{record.campaign}, round {record.generation}, {record.status}"),
        ("trained", f"{record.created}, code {record.code_version}{f', {environment}' if environment else ''}"),
        ("training set", record.snapshot_id),
        ("level of theory", f"{level} ({record.level_id}), moments are a {record.moment_role}"),
        ("species", ", ".join(record.species)),
        ("options", ", ".join(chosen) or "not recorded"),
        ("parents", ", ".join(record.parents) or "none"),
    ]
    facts += [("seeds", ", ".join(map(str, record.seeds)))] if record.seeds else []
    if record.calibration:
        facts.append(("error / spread", ", ".join(f"{task} {x:.3g}" for task, x in record.calibration.items())))
    return facts + [
        ("file", f"{f.path}, SHA-256 {f.sha256[:12]}{f', copy {f.uri}' if f.uri else ''}") for f in record.files
    ]


def _show_scores(scores: dict[str, Any]) -> None:
    """Errors by test set and group, as they were when the model was evaluated."""
    rows = []
    for part in ("tests", "groups"):
        for name, found in (scores.get(part) or {}).items():
            rows.append(
                [name, found.get("n"), *((found.get(t) or {}).get("mae") for t in ("energy", "forces", "moments"))]
            )
    if not rows:
        whole = scores.get("model") or {}
        rows = [["test split", None, *((whole.get(t) or {}).get("mae") for t in ("energy", "forces", "moments"))]]
    print_table(
        ["", "labels", "energy meV/atom", "forces meV/Angstrom", "moments muB"], rows, title="mean absolute errors"
    )


def _show_entry(entry: Promotion) -> None:
    what = {"promote": "promoted", "refuse": "refused", "rollback": "gone back to"}[entry.action]
    instead = f" in place of {entry.previous[:12]}" if entry.previous and entry.action != "refuse" else ""
    typer.echo(f"{entry.created[:19]} {entry.model_id[:12]} {what}{instead} by {entry.by}")
    for reason in entry.reasons:
        typer.echo(f"  {reason}")


def _compared(row: Compared) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(row), "growth": row.growth, "chance": row.chance, "better": _better(row, ("first", "second"))}


def _better(row: Compared, names: tuple[str, str]) -> str | None:
    if row.geometries < 2 and row.finite:
        return None
    return names[1] if row.chance > 1 - CLEAR else names[0] if row.chance < CLEAR else None


def _cells(row: Compared, names: tuple[str, str]) -> list[Any]:
    where = row.name if row.kind == "group" else f"test set {row.name}"
    return [where, row.task, row.unit, row.labels, row.old, row.new, f"{row.growth:+.0%}", _better(row, names)]


def _conclude(entry: Promotion, as_json: bool) -> None:
    if as_json:
        print_json(entry.to_document())
        return
    _show_entry(entry)
