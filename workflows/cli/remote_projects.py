"""``spinmultinet remote init``: a project of jobflow-remote for this workstation or for clusters."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflows.cli.campaign import AsJson
from workflows.cli.errors import InputError, need_jobflow_remote
from workflows.cli.output import print_json

if TYPE_CHECKING:
    from workflows.remote.projects import Host, Plan

VARIABLE = "SPINMULTINET_STORE_URI"
"""Environment variable with the URI of the database, so that it need not be typed or shown."""

app = typer.Typer(help="Clusters: projects of jobflow-remote, and the queue.", no_args_is_help=True)

Jump = Annotated[str, typer.Option(metavar="[USER@]HOST[:PORT]", help="Jump host on the way to --host.")]
Store = Annotated[
    str,
    typer.Option(metavar="env:NAME|URI", help=f"MongoDB of the campaign; default env:{VARIABLE}, else asked for."),
]
PreRun = Annotated[str, typer.Option(metavar="SHELL", help="Lines before each job there, such as 'module load vasp'.")]
GpuHost = Annotated[
    str, typer.Option(metavar="[USER@]HOST[:PORT]", help="Login node of the GPU cluster (two-clusters).")
]
WorkDir = Annotated[Path | None, typer.Option(help="Folder of jobs here; default: ~/spinmultinet_remote/NAME.")]
Scratch = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Folder of jobs on the cluster, absolute; may be purged.")
]
MaxJobs = Annotated[
    int, typer.Option(min=1, help="Most jobs of labels at a time; on a workstation one per core is right.")
]
WorkerMap = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Where the worker map goes; default: NAME_workers.yaml here.")
]


@app.command("init")
def init(
    layout: Annotated[str, typer.Argument(metavar="workstation|slurm|ssh|two-clusters", help="What there is.")],
    name: Annotated[str, typer.Option(help="Of the project; default: the layout's.")] = "",
    store: Store = "",
    host: Annotated[str, typer.Option(metavar="[USER@]HOST[:PORT]", help="Login node (ssh, two-clusters).")] = "",
    key: Annotated[Path | None, typer.Option(help="Private SSH key; only its path is written.")] = None,
    jump: Jump = "",
    gpu_host: GpuHost = "",
    gpu_key: Annotated[Path | None, typer.Option(help="Its private SSH key; default: --key.")] = None,
    gpu_jump: Jump = "",
    partition: Annotated[str, typer.Option(help="Of labels.")] = "cpu",
    gpu_partition: Annotated[str, typer.Option(help="Of trainings.")] = "gpu",
    account: Annotated[str, typer.Option(help="That pays for labels, where the cluster wants one.")] = "",
    gpu_account: Annotated[str, typer.Option(help="That pays for trainings.")] = "",
    cores: Annotated[int, typer.Option(min=1, help="Of one node for labels.")] = 16,
    python: Annotated[str, typer.Option(metavar="PATH", help="Python of the workers; default: this one.")] = "",
    gpu_python: Annotated[str, typer.Option(metavar="PATH", help="That of the GPU cluster; default: --python.")] = "",
    pre_run: PreRun = "",
    work_dir: WorkDir = None,
    scratch: Scratch = None,
    gpu_scratch: Annotated[Path | None, typer.Option(metavar="FOLDER", help="That of the GPU cluster.")] = None,
    max_jobs: MaxJobs = 50,
    poll: Annotated[float, typer.Option(min=1, help="Seconds between two looks of the runner.")] = 10.0,
    worker_map: WorkerMap = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a project of jobflow-remote and the worker map that belongs to it.

    workstation: jobs on this machine, one queue for many campaigns. slurm: this is the login node. ssh: a cluster that
    is reached from here. two-clusters: DFT on one, training on another.
    The project (~/.jfremote/NAME.yaml) holds the database's URI, and is for your eyes only. Keys are not copied.

    \b
    Examples:
      spinmultinet remote init workstation --store env:MY_STORE_URI
      spinmultinet remote init slurm --partition normal --gpu-partition gpu --account p1 --cores 48
      spinmultinet remote init ssh --host me@login.example.org --key ~/.ssh/id_ed25519 --jump gate.example.org \\
        --python /home/me/venv/bin/python --scratch /scratch/me
    """
    from workflows.remote.projects import LAYOUTS, Plan, Site, write

    if layout not in LAYOUTS:
        raise InputError(f"{layout}: choose one of {', '.join(LAYOUTS)}")
    need_jobflow_remote()
    _need(layout, "ssh two-clusters", {"--host": host, "--scratch": scratch, "--python": python})
    _need(layout, "two-clusters", {"--gpu-host": gpu_host, "--gpu-scratch": gpu_scratch})
    title = name or layout.replace("-", "_")
    here = (work_dir or Path("~/spinmultinet_remote", title)).expanduser().resolve()
    cpu, gpu = _host(host, key, jump), _host(gpu_host, gpu_key or key, gpu_jump)
    there, beside = _folder(scratch, here), _folder(gpu_scratch, _folder(scratch, here))
    interpreter = python or sys.executable
    labels = Site(there, cpu, interpreter, pre_run, partition, account, cores, max_jobs)
    interpreter, account = gpu_python or interpreter, gpu_account or account
    train = Site(beside, gpu or cpu, interpreter, pre_run, gpu_partition, account, cores, max_jobs)
    plan = Plan(layout, title, _store_uri(store), Site(here), labels, train, poll)
    map_path = worker_map or Path(f"{title}_workers.yaml")
    path = write(plan, map_path, force)
    _tell(plan, path, map_path, as_json)


def _tell(plan: Plan, path: Path, map_path: Path, as_json: bool) -> None:
    if as_json:
        print_json({"project": str(path), "worker_map": str(map_path)})
        return
    for line in (
        f"project: {path} (for you only: it holds the database's URI)",
        f"worker map: {map_path}; adapt its numbers",
        "next:",
        f"  spinmultinet doctor --remote {plan.name}    # permissions, database, do workers answer",
        f"  jf -p {plan.name} project check             # the same by jobflow-remote",
        f"  jf -p {plan.name} admin reset               # once: makes the queue, and empties one that is there",
        f"  jf -p {plan.name} runner start",
        f"  spinmultinet run CAMPAIGN --remote {plan.name} --worker-map {map_path}",
    ):
        typer.echo(line)


def _need(layout: str, layouts: str, given: dict[str, object]) -> None:
    """Options that some layouts cannot do without, and that mean nothing to the others."""
    lacking = [option for option, value in given.items() if not value]
    wanted = layout in layouts.split()
    if wanted and lacking:
        raise InputError(f"{layout}: state {', '.join(lacking)} as well, which are the cluster's")
    stray = [option for option, value in given.items() if value and option.endswith("host")]
    if stray and not wanted:
        raise InputError(f"{layout} has no place for {', '.join(stray)}; choose one of {layouts.replace(' ', ', ')}")


def _host(text: str, key: Path | None, jump: str) -> Host | None:
    from workflows.remote.checks import key_problem
    from workflows.remote.projects import Host

    if not text:
        return None
    path = "" if key is None else str(key.expanduser().absolute())
    if path and (problem := key_problem(Path(path))):
        raise InputError(problem)
    through = Host(*_parts(jump), path) if jump else None
    return Host(*_parts(text), path, through)


def _parts(text: str) -> tuple[str, str, int]:
    """Host, user (empty: this one's) and port of ``[USER@]HOST[:PORT]``."""
    user, _, rest = text.rpartition("@")
    name, _, port = rest.partition(":")
    if not name or (port and not port.isdigit()):
        raise InputError(f"{text!r} is no host; write [USER@]HOST[:PORT]")
    return name, user, int(port or 22)


def _folder(path: Path | None, default: Path) -> Path:
    """A folder of the cluster; nothing here knows its variables or its home."""
    if path is not None and not path.is_absolute():
        raise InputError(f"{path}: give the cluster's folder as an absolute path, without variables")
    return path or default


def _store_uri(given: str) -> str:
    """The URI from a variable of the environment, or asked for without showing it."""
    from datastore.stores import mask

    if given.startswith("env:") or (not given and os.environ.get(VARIABLE)):
        variable = given.removeprefix("env:") or VARIABLE
        if not os.environ.get(variable):
            raise InputError(f"the environment has no variable {variable}; export it with the URI of the database")
        return os.environ[variable]
    if not given:
        return str(typer.prompt("URI of the MongoDB (mongodb://USER:PASSWORD@HOST/DATABASE)", hide_input=True))
    if mask(given) != given:
        raise InputError(
            "everybody can read a password on a command line: put the URI into a variable of the environment, and give "
            "--store env:NAME; change this password"
        )
    return given
