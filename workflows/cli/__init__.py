"""The command line: one function per command; heavy packages are imported inside the functions."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from workflows.cli import (
    campaign,
    costs,
    curate,
    data,
    datasets,
    evaluation,
    exports,
    imports,
    machine,
    models,
    query,
    registry,
    remote,
    remote_projects,
    retrain,
    schedule,
    serve,
    simulate,
    states,
    status,
    upgrade,
)
from workflows.cli.errors import FAILED, INTERRUPTED, STOPPED, report, warn_plainly

PROGRAM = "spinmultinet"

app = typer.Typer(
    name=PROGRAM,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        from workflows import __version__

        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Spin-aware potentials of magnetic oxides: first-principles campaigns, datasets, models.

    \b
    Start here:
      spinmultinet doctor
      spinmultinet structures configs/campaigns/quickstart_nio.yaml
      spinmultinet run configs/campaigns/quickstart_nio.yaml

    Exit codes: 0 done, 1 a run failed or a check found something, 2 bad input, 3 something is not installed, 70 a bug,
    75 somebody else is at it (retrain), 130 stopped by Ctrl-C.
    """


app.command("doctor")(machine.doctor)
app.command("structures")(campaign.structures)
app.command("run")(campaign.run)
app.command("status")(status.status)
app.command("serve")(serve.serve)
data.app.command("export")(exports.export)
data.app.command("query")(query.query)
data.app.command("pairs")(query.pairs)
data.app.command("import")(imports.import_files)
data.app.command("costs")(costs.costs)
for command in (datasets.snapshot, datasets.leaks, datasets.compare):
    data.app.command(command.__name__)(command)
for by_hand in (curate.override, curate.retract, curate.restore, curate.decisions, curate.verify):
    data.app.command(by_hand.__name__)(by_hand)
data.app.command("metastable")(states.metastable)
data.app.command("upgrade")(upgrade.upgrade)
app.add_typer(data.app, name="data")
app.add_typer(registry.app, name="models")
app.command("train")(models.train)
app.command("evaluate")(evaluation.evaluate)
app.command("predict")(models.predict)
app.command("relax")(models.relax)
app.command("rank-orderings")(simulate.rank_orderings)
app.command("ground-state")(simulate.ground_state)
app.command("exchange")(simulate.exchange)
app.command("md")(simulate.md)
app.command("report")(campaign.report)
app.command("retrain")(retrain.retrain)
app.command("schedule")(schedule.schedule)
for control in (remote.pause, remote.resume, remote.cancel, remote.advance):
    app.command(control.__name__)(control)
app.add_typer(remote_projects.app, name="remote")


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: the entry point of the console script."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run a command; errors become one line on stderr. Returns the exit code."""
    warn_plainly()
    try:
        result = app(arguments or ["--help"], prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at exit; give it a place where that works.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILED
    except BaseException as error:
        return report(error)
    code = result if isinstance(result, int) else 0
    if code == INTERRUPTED:  # newer typer turns Ctrl-C into an exit code by itself
        print(f"error: {STOPPED}", file=sys.stderr, flush=True)
    return code
