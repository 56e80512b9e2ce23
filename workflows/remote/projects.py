"""Projects of jobflow-remote and the worker maps that belong to them, from a few facts about the machines.

The campaign's own store is the job store of the project, so that what workers compute is where the campaign looks for
it; the queue is in a database beside it (jobflow-remote asks for one of its own).
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from datastore.errors import DataError
from datastore.stores import DATABASE, database_of, mask
from workflows.processes import SINGLE_THREAD
from workflows.remote.queue import FILES
from workflows.remote.routing import RemoteOptions, RemoteSetupError

Layout = Literal["workstation", "slurm", "ssh", "two-clusters"]
LAYOUTS: tuple[Layout, ...] = ("workstation", "slurm", "ssh", "two-clusters")

QUEUE = "_queue"
"""The queue's database is called as that of the campaign, with this behind it."""

FOLDER_MODE, FILE_MODE = 0o700, 0o600
"""The project holds the URI of the database, with its password: nobody else may read it."""

LOCK_SECONDS = 3600
"""After which a job that a killed runner had locked goes on by itself; longer than any step of a job takes."""

PILOT_SITES = 4
ROWS = ((8, 1, "02:00:00"), (32, 1, "08:00:00"), (64, 2, "24:00:00"))
"""Sites, nodes and time limit of labels on a cluster: where to begin, to be adapted."""


@dataclass(frozen=True)
class Host:
    """A machine reached over SSH. ``key``: path of a private key, which stays where it is; empty: the agent's."""

    host: str
    user: str = ""
    port: int = 22
    key: str = ""
    jump: Host | None = None

    def connection(self) -> dict[str, Any]:
        """As jobflow-remote's ConnectionData has it."""
        stated = {"user": self.user, "port": self.port, "key_filename": self.key}
        return {"host": self.host, **{name: value for name, value in stated.items() if value}}


@dataclass(frozen=True)
class Site:
    """Where jobs run. ``host`` None: this machine. ``pre_run``: lines of shell before each job."""

    work_dir: Path
    host: Host | None = None
    python: str = sys.executable
    pre_run: str = ""
    partition: str = "cpu"
    account: str = ""
    cores: int = 16
    max_jobs: int = 50

    def preparation(self, threads: str = "1") -> str:
        """Lines before each job: the environment, then ours, so that ``jf`` is that of ``python``."""
        own = [f"export {name}={threads}" for name in SINGLE_THREAD]
        path = [f"export PATH={Path(self.python).parent}:$PATH"] if self.python else []
        return "\n".join([*filter(None, [self.pre_run.strip()]), *path, *own])


@dataclass(frozen=True)
class Plan:
    """All that a project and its worker map are made of."""

    layout: Layout
    name: str
    uri: str = field(repr=False)
    local: Site
    labels: Site
    train: Site
    poll: float = 10.0

    def names(self) -> tuple[str, str, str]:
        """Workers of labels and trainings, and the pilot's (empty: none)."""
        return {
            "workstation": ("labels", "train", ""),
            "slurm": ("cpu", "gpu", "pilot"),
            "ssh": ("cluster_cpu", "cluster_gpu", "cluster_pilot"),
            "two-clusters": ("dft", "gpu", "pilot"),
        }[self.layout]

    @property
    def database(self) -> str:
        """Of the campaign's store."""
        return database_of(self.uri) or DATABASE


def projects_folder() -> Path:
    """Where jobflow-remote looks for projects: JFREMOTE_PROJECTS_FOLDER, or ~/.jfremote."""
    from jobflow_remote import SETTINGS

    return Path(SETTINGS.projects_folder).expanduser()


def project(plan: Plan) -> dict[str, Any]:
    """The project as jobflow-remote's YAML has it."""
    store = {"type": "MongoStore", "uri": plan.uri, "database": plan.database}
    every = plan.poll
    return {
        "name": plan.name,
        "runner": {
            "delay_checkout": every,
            "delay_check_run_status": every,
            "delay_advance_status": every,
            "delay_update_batch": every,
            "delay_refresh_limited": 10 * every,
            "lock_timeout": LOCK_SECONDS,
        },
        "workers": _workers(plan),
        "queue": {"store": {**store, "database": plan.database + QUEUE, "collection_name": "jobs"}},
        "jobstore": {
            "docs_store": {**store, "collection_name": "jobs", "key": "uuid"},
            "additional_stores": {FILES: {**store, "type": "GridFSStore", "collection_name": "remote_files"}},
        },
    }


def _workers(plan: Plan) -> dict[str, Any]:
    labels, train, pilot = plan.names()
    local = _worker(plan.local, "local") | {"scheduler_type": "shell", "max_jobs": 2}
    if plan.layout == "workstation":
        beside = {labels: plan.labels.max_jobs, train: 1}
        return {
            "local": local,
            **{n: local | {"work_dir": _below(plan.local, n), "max_jobs": m} for n, m in beside.items()},
        }
    threads = "${SLURM_CPUS_PER_TASK:-1}"
    found = {
        "local": local,
        labels: _worker(plan.labels, labels) | _slurm(plan.labels, "02:00:00") | {"max_jobs": plan.labels.max_jobs},
        train: _worker(plan.train, train, threads) | _slurm(plan.train, "12:00:00", gres="gpu:1") | {"max_jobs": 4},
    }
    if pilot:
        found[pilot] = _pilot(plan.labels, pilot)
    return found


def _worker(site: Site, name: str, threads: str = "1") -> dict[str, Any]:
    base: dict[str, Any] = {"type": "local", "work_dir": _below(site, name), "pre_run": site.preparation(threads)}
    if site.host is None:
        return base
    jump = {"gateway": site.host.jump.connection()} if site.host.jump else {}
    return {**base, **site.host.connection(), "type": "remote", "login_shell": False, **jump}


def _below(site: Site, name: str) -> str:
    return str(site.work_dir / name)


def _slurm(site: Site, time: str, cores: int = 1, **more: str) -> dict[str, Any]:
    """What Slurm is asked for where the worker map does not say."""
    asked = {"partition": site.partition, "account": site.account, "nodes": 1, "ntasks_per_node": cores, "time": time}
    return {"scheduler_type": "slurm", "resources": {**{key: value for key, value in asked.items() if value}, **more}}


def _pilot(site: Site, name: str) -> dict[str, Any]:
    """A batch worker: its jobs take one label after the other, and end two minutes before their time or when idle."""
    hours, cores = 4, min(PILOT_SITES, site.cores)
    return {
        **_worker(site, name),
        **_slurm(site, f"{hours:02d}:00:00", cores),
        "max_jobs": 2,
        "batch": {
            "jobs_handle_dir": _below(site, f"{name}_handle"),  # one of its own: workers that share one disturb it
            "work_dir": _below(site, f"{name}_batches"),
            "max_jobs_per_batch": 200,
            "max_wait": 120,
            "max_time": hours * 1800,
            "sleep_time": 5,
        },
    }


def worker_map(plan: Plan) -> dict[str, Any]:
    """Options of :class:`workflows.remote.routing.RemoteOptions` for the project."""
    labels, train, pilot = plan.names()
    found: dict[str, Any] = {"project": plan.name, "workers": {"label": labels, "train": train, "light": "local"}}
    if plan.layout == "workstation":
        return {**found, "shared": {"local": True, labels: True, train: True}, "chunk": 50, "in_flight": 100}
    shared = plan.layout == "slurm"
    gpu = {"queue": plan.train.partition, "gpus": 1, "threads": min(8, plan.train.cores), "time": "12:00:00"}
    found["pilot"] = {"worker": pilot, "sites": PILOT_SITES, "engine": _costs(min(PILOT_SITES, plan.labels.cores))}
    found["resources"] = {
        "label": [_row(plan.labels, *row) for row in ROWS],
        "train": [{**gpu, **({"account": plan.train.account} if plan.train.account else {})}],
    }
    found["shared"] = {"local": True, labels: shared, train: shared, pilot: shared}
    return {**found, "chunk": 100, "in_flight": 400, "retries": 2, "longest": "48:00:00"}


def _row(site: Site, sites: int, nodes: int, time: str) -> dict[str, Any]:
    account = {"account": site.account} if site.account else {}
    costs = {key: value for key, value in _costs(site.cores * nodes).items() if key != "processes"}
    own = {"sites": sites, "queue": site.partition, **account, "nodes": nodes, "processes_per_node": site.cores}
    return {**own, "time": time, "engine": costs}


def _costs(processes: int) -> dict[str, int]:
    """NCORE near the square root of the processes of a group of k points, four groups where that goes."""
    kpar = math.gcd(processes, 4)
    each = processes // kpar
    ncore = max(n for n in range(1, math.isqrt(each) + 1) if each % n == 0)
    return {"processes": processes, "kpar": kpar, "ncore": ncore}


def check(plan: Plan) -> None:
    """RemoteSetupError where the two would not be understood: jobflow-remote's own classes read them."""
    from jobflow_remote.config.base import Project
    from pydantic import ValidationError

    if not plan.uri.startswith(("mongodb://", "mongodb+srv://")):
        raise RemoteSetupError("the queue and the workers' results need a MongoDB: mongodb://USER@HOST/DATABASE")
    try:
        parsed = Project.model_validate(project(plan))
        parsed.get_jobstore()
        RemoteOptions.model_validate(worker_map(plan))
    except DataError as error:
        raise RemoteSetupError(str(error)) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        text = mask(first["msg"].removeprefix("Value error, ")).strip().splitlines()[-1]
        raise RemoteSetupError(f"{where}: {text}") from None


def write(plan: Plan, map_path: Path, force: bool = False) -> Path:
    """Write both files; the project, which nobody else may read, into :func:`projects_folder`. Returns its path.

    Raises RemoteSetupError where one of them is there, unless ``force``.
    """
    path = projects_folder() / f"{plan.name}.yaml"
    check(plan)
    there = [str(each) for each in (path, map_path) if each.exists()]
    if there and not force:
        raise RemoteSetupError(f"{' and '.join(there)} exists; choose another --name, or write over it with --force")
    path.parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    temporary = path.with_suffix(".new")  # not .yaml: jobflow-remote reads all of these
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "w") as file:
        file.write(yaml.safe_dump(project(plan), sort_keys=False))
    temporary.replace(path)
    head = f"# Worker map of the project {plan.name}: adapt the numbers to your cluster (docs/cluster.md).\n"
    map_path.parent.mkdir(parents=True, exist_ok=True)
    map_path.write_text(head + yaml.safe_dump(worker_map(plan), sort_keys=False))
    return path
