"""Commands on a campaign file: what it would calculate, run it, its report."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.conclusion import conclude, forget, write_report_file
from workflows.cli.costs import campaign_cost, print_cost
from workflows.cli.errors import InputError, MissingRequirementError
from workflows.cli.output import print_json, print_table, reported, whole_file
from workflows.cli.relabel import check_where
from workflows.cli.relabel import relabel as relabel_labels
from workflows.cli.tally import tally_of
from workflows.names import short_name

if TYPE_CHECKING:
    from datastore import SpinConfig
    from datastore.locks import Held
    from workflows.campaign import CampaignOptions
    from workflows.engines import Engine
    from workflows.progress_view import Tally
    from workflows.submit import RunResult

CampaignFile = Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="YAML file of the campaign.")]
EngineChoice = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE|FILE",
        help="Another engine than the campaign's: gpaw, spin-lattice or a YAML file. Its files are kept apart.",
    ),
]
Project = Annotated[str, typer.Option("--remote", metavar="PROJECT", help="Project of jobflow-remote, on a cluster.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of tables.")]
DISK_FULL_BYTES = 100_000
"""With less free space a failed job has most likely failed for that reason."""


def structures(
    campaign: CampaignFile,
    engine: EngineChoice = None,
    out: Annotated[Path | None, typer.Option(help="Write the configurations to this extended XYZ file.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Draw the spin arrangements of each parent into this folder (PNG).")
    ] = None,
    cost: Annotated[
        bool, typer.Option("--cost", help="What it will cost, from labels made before; those done are left out.")
    ] = False,
    cost_from: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE", help="A further campaign or store to take costs from (implies --cost)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a campaign would calculate (dry run).

    Counts and estimated core hours of its first round, and of the lattices that are computed before it; nothing is
    calculated. Lattices that the campaign's store has are used.

    \b
    Examples:
      spinmultinet structures configs/campaigns/quickstart_nio.yaml --pictures pictures/
      spinmultinet structures configs/campaigns/quickstart_nio.yaml --cost-from local:labels
    """
    from workflows.campaign import load_campaign
    from workflows.parents import plan_parents, planned_structures
    from workflows.structures import TwinCount, generate

    options, chosen = load_campaign(campaign, engine)
    twins = TwinCount()
    with reported("finding orderings"):
        parents = plan_parents(options.structures, chosen, options.store)
        configs = partial(generate, planned_structures(options.structures, parents), options.name)  # never all at once
        plan = _plan(options, chosen, configs(twins=twins))
    if out is not None:
        from datastore.atoms import write_configs

        with whole_file(out) as temporary:
            write_configs(temporary, configs())
    drawn = [] if pictures is None else _draw(configs(), pictures)
    plan |= {"twins_removed": twins.rows(), "notes": twins.notes, "parents": [parent.row() for parent in parents]}
    if cost or cost_from:
        plan["cost"] = campaign_cost(options, chosen, configs(), cost_from or [])
    if as_json:
        print_json({**plan, "out": out, "pictures": drawn})
        return
    _show_plan(plan, [*([str(twins)] if twins.removed else []), *twins.notes])
    for path in [*([out] if out else []), *drawn]:
        typer.echo(str(path))


def _show_plan(plan: dict[str, Any], notes: Sequence[str]) -> None:
    """The dry run in tables and sentences."""
    _show_parents(plan["parents"])
    rows = [(g["parent"], g["ordering"], g["deformation"], g["count"], g["core_hours"]) for g in plan["groups"]]
    print_table(
        ["parent", "ordering", "deformation", "count", "core hours"], rows, title=f"campaign {plan['campaign']}"
    )
    typer.echo(
        f"{plan['configurations']} configurations, about {plan['core_hours']:.2f} core hours with {plan['engine']}; "
        f"then {plan['later']} more chosen by active learning"
    )
    for note in notes:
        typer.echo(note)
    if "cost" in plan:
        print_cost(plan["cost"])


def _show_parents(parents: list[dict[str, Any]]) -> None:
    """Lattices that come before the labels: those still to be computed, and what is known of the others."""
    if not parents:
        return
    names = ("parent", "ordering", "method", "using", "calculations", "core_hours", "volume_per_atom")
    titles = ["start", "ordering", "method", "using", "calculations", "core hours", "Angstrom^3/atom"]
    rows = [["-" if row[name] is None else row[name] for name in names] for row in parents]
    print_table(titles, rows, title="lattices")
    waiting = [row for row in parents if not row["computed"]]
    if waiting:
        hours = sum(row["core_hours"] for row in waiting)
        typer.echo(
            f"{len(waiting)} lattices are computed first, in about {hours:.2f} core hours; "
            "below, the given lattice stands in for them"
        )


def _plan(options: CampaignOptions, engine: Engine, configs: Iterable[SpinConfig]) -> dict[str, Any]:
    """Counts and estimated core hours per parent, ordering and deformation."""
    counts: Counter[tuple[str, str, str]] = Counter()
    hours: Counter[tuple[str, str, str]] = Counter()
    for config in configs:
        key = (config.parent, config.ordering, config.deformation)
        counts[key] += 1
        hours[key] += engine.seconds_estimate(config) / 3600  # type: ignore[assignment]
    names = ("parent", "ordering", "deformation")
    return {
        "campaign": options.name,
        "engine": engine.type,
        "configurations": counts.total(),
        "later": options.active_learning.rounds * options.active_learning.labels,
        "core_hours": float(sum(hours.values())),
        "groups": [
            {**dict(zip(names, key, strict=True)), "count": counts[key], "core_hours": float(hours[key])}
            for key in counts
        ],
    }


def _draw(configs: Iterable[SpinConfig], folder: Path) -> list[Path]:
    """One picture per parent and ordering, of the undeformed configuration where there is one."""
    from workflows.structures import draw_structure

    plain: dict[tuple[str, str], SpinConfig] = {}
    deformed: dict[tuple[str, str], SpinConfig] = {}
    for config in configs:
        found = plain if config.deformation == "none" else deformed
        found.setdefault((config.parent, config.ordering), config)
    chosen = plain | {key: config for key, config in deformed.items() if key not in plain}
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for (parent, ordering), config in chosen.items():
        path = folder / f"{parent}_{short_name(ordering)}.png"
        with whole_file(path) as temporary:
            draw_structure(config.to_structure(), f"{config.formula} {config.cell}, {short_name(ordering)}").savefig(
                temporary, format="png"
            )
        paths.append(path)
    return paths


def run(
    campaign: CampaignFile,
    engine: EngineChoice = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Calculations and trainings side by side; default: one per core.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Calculate again what failed before, and train on the result.")
    ] = False,
    relabel: Annotated[
        str,
        typer.Option(metavar="PLACE", help="Only label again what this campaign or store holds, with this engine."),
    ] = "",
    where: Annotated[str, typer.Option(metavar="FILTER", help="With --relabel: which labels, as for data query.")] = "",
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Show the next step and the labels it would choose; calculate nothing.")
    ] = False,
    remote: Project = "",
    worker_map: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --remote: which jobs go to which worker, with what.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a campaign, or go on with it.

    Calculates, checks, trains, tests, chooses what to calculate next. Finished calculations are never done twice.
    Stop with Ctrl-C at any time; the same command goes on. With --relabel nothing is trained: the configurations of
    accepted labels get labels at another level of theory, beside the others. With --remote the heavy jobs go to the
    queue of a cluster and the campaign goes on there by itself; after whatever stopped it, the same command goes on.

    \b
    Examples:
      spinmultinet run configs/campaigns/quickstart_nio.yaml
      spinmultinet run nio.yaml --remote slurm --worker-map configs/remote/slurm.yaml
      spinmultinet run configs/campaigns/quickstart_nio.yaml --engine spin-lattice --workers 2
      spinmultinet run configs/campaigns/quickstart_nio.yaml --dry-run
      spinmultinet run nio.yaml --engine other_u.yaml --relabel runs/nio --where "ordering=FM,AFM-II"
    """
    from spinmultinet.hypers import read_config
    from workflows.campaign import load_campaign

    check_where(where, relabel)
    options, chosen = load_campaign(campaign, engine)
    for file in filter(None, (options.model, options.baseline)):
        read_config(file)  # a mistake in it should not be found after hours of labelling
    if dry:
        _dry_run(options, chosen, relabel, as_json)
        return
    if remote or worker_map:
        from workflows.cli.remote_run import run_remote

        unfit = {"--relabel": relabel, "--workers": workers}
        run_remote(options, chosen, remote, worker_map, retry_failed, as_json, unfit)
        return
    _require(chosen, campaign)
    _run_here(options, chosen, workers or len(os.sched_getaffinity(0)), relabel, where, retry_failed, as_json)


def _run_here(
    options: CampaignOptions,
    chosen: Engine,
    count: int,
    relabel: str,
    where: str,
    retry_failed: bool,
    as_json: bool,
) -> None:
    """Run on this machine, ``count`` jobs at a time, under the campaign's lock."""
    from workflows.campaign_lock import campaign_lock
    from workflows.submit import RunError

    folder = Path(options.folder)
    with campaign_lock(options, "spinmultinet run") as held:
        try:
            if relabel:
                relabel_labels(options, chosen, relabel, where, count, retry_failed, as_json, held)
                return
            result, tally = _run(options, chosen, count, retry_failed, as_json, held)
        except RunError as error:
            # On a full disk a job cannot even say what went wrong.
            if shutil.disk_usage(folder).free < DISK_FULL_BYTES:
                raise OSError(errno.ENOSPC, "no space left on device", str(folder)) from error
            raise
        conclude(options, result, tally, as_json)


def _dry_run(options: CampaignOptions, engine: Engine, relabel: str, as_json: bool) -> None:
    """Nothing is locked or written, so this is for campaigns that run, too."""
    from workflows.cli.dry_run import dry_run
    from workflows.parents import plan_parents, planned_structures
    from workflows.structures import generate

    if relabel:
        raise InputError("--dry-run shows the next step of a campaign; --relabel has none, use data query with --where")
    with reported("finding orderings"):
        parents = plan_parents(options.structures, engine, options.store)
        configs = generate(planned_structures(options.structures, parents), campaign=options.name)
        first = _plan(options, engine, configs) | {"parents": [parent.row() for parent in parents]}
    dry_run(options, engine, first, as_json)


def _require(engine: Engine, campaign: Path) -> None:
    """Refuse before anything is done where the engine cannot run; never fall back to another one by ourselves."""
    missing = engine.missing()
    if missing:
        other = f"without installing anything: spinmultinet run {campaign} --engine spin-lattice (a model Hamiltonian)"
        raise MissingRequirementError(f"engine {engine.type} cannot run here. {'; '.join(missing)}. Or, {other}")


def _run(
    options: CampaignOptions, engine: Engine, workers: int, retry: bool, as_json: bool, held: Held
) -> tuple[RunResult, Tally]:
    from workflows.campaign_lock import watched
    from workflows.flows import CampaignMaker
    from workflows.progress_view import ProgressView
    from workflows.submit import run_local

    flow = CampaignMaker(options, engine).make()
    if retry:
        forget(options, flow)
    tally = tally_of(options, engine, workers)
    # stdout belongs to the JSON document where one was asked for.
    with ProgressView(tally, sys.stderr if as_json else sys.stdout) as view:
        result = run_local(flow, options.store, Path(options.folder), workers, watched(held, view))
    return result, tally


def report(
    campaign: CampaignFile,
    engine: EngineChoice = None,
    out: Annotated[Path | None, typer.Option(help="HTML file; default: report.html in the campaign's folder.")] = None,
) -> None:
    """Build the HTML report of a campaign again.

    Works for unfinished campaigns too; prints the path of the file.

    \b
    Example:
      spinmultinet report configs/campaigns/quickstart_nio.yaml
    """
    from datastore import open_store
    from workflows.campaign import load_campaign

    options, _ = load_campaign(campaign, engine)
    with open_store(options.store, create=False) as store:
        typer.echo(str(write_report_file(options, store, out)))
