"""Which worker of a cluster gets a job, with which resources and costs: options, and a pure function of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from workflows.engines import Engine, EngineError
from workflows.options import load_yaml, parse_options

Kind = Literal["label", "parent", "train", "light"]

STEEPNESS = 2.5
"""Time limits of structures above the largest row grow with the number of sites to this power (of DFT)."""

MORE = 2
"""Each further attempt gets this many times the time and the memory of the one before."""


class RemoteSetupError(ValueError):
    """A worker map or a project that cannot be used; the message says where and names the remedy."""


def _seconds(value: Any) -> Any:
    """Seconds of ``HH:MM:SS`` or ``D-HH:MM:SS``; YAML reads an unquoted 24:00:00 as seconds by itself."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)", value.strip())
    if found is None:
        raise ValueError(f"{value!r} is no time; write HH:MM:SS or D-HH:MM:SS, such as 02:00:00")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


Seconds = Annotated[int, BeforeValidator(_seconds), Field(gt=0)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CostOptions(_Options):
    """Settings of VASP that decide how fast it is, and no number."""

    ncore: int | None = Field(default=None, ge=1, description="processes that share a band (NCORE)")
    kpar: int | None = Field(default=None, ge=1, description="k points side by side (KPAR)")
    processes: int | None = Field(
        default=None, ge=1, description="MPI processes of VASP; default: nodes times processes per node"
    )
    threads: int | None = Field(default=None, ge=1, description="OMP_NUM_THREADS of VASP; default: those of the row")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        groups = (self.kpar or 1) * (self.ncore or 1)
        if self.processes and self.processes % groups:
            raise ValueError(
                f"{self.processes} processes cannot be shared out to kpar x ncore = {groups} groups; choose divisors"
            )
        return self


class Row(_Options):
    """What the scheduler is asked for, for structures of up to ``sites`` sites."""

    sites: int | None = Field(default=None, ge=1, description="largest number of sites; left out: any")
    queue: str | None = Field(default=None, description="partition or queue of the scheduler")
    nodes: int = Field(default=1, ge=1)
    processes_per_node: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1, description="cores per process")
    memory: int | None = Field(default=None, ge=1, description="MB per core")
    gpus: int | None = Field(default=None, ge=1, description="per job")
    time: Seconds = Field(description="time limit, HH:MM:SS")
    account: str | None = None
    qos: str | None = None
    scheduler: dict[str, Any] = Field(
        default={}, description="anything else by the scheduler's own name, as qtoolkit's template has it"
    )
    engine: CostOptions = CostOptions()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        CostOptions.model_validate(self.costs())
        return self

    def costs(self) -> dict[str, int]:
        """Cost settings of the engine, with its processes and threads taken from the row where not stated."""
        default = {"processes": self.nodes * self.processes_per_node, "threads": self.threads}
        return {**default, **self.engine.model_dump(exclude_none=True)}


class PilotOptions(_Options):
    """A batch worker: one job of the scheduler computes many small structures one after the other."""

    worker: str
    sites: int = Field(default=8, ge=1, description="structures of up to this many sites go there")
    engine: CostOptions = CostOptions()


class RemoteOptions(_Options):
    """The worker map: where each kind of job of a campaign runs, and with what."""

    project: str | None = Field(default=None, description="project of jobflow-remote; --remote states it as well")
    workers: dict[Kind, str] = Field(description="kind of job -> worker of the project")
    resources: dict[Kind, tuple[Row, ...]] = Field(
        default={}, description="rows by size; none: the resources that the worker has in the project"
    )
    pilot: PilotOptions | None = None
    exec_config: dict[str, str] = Field(
        default={}, description="worker -> exec_config of the project, such as modules to load"
    )
    shared: dict[str, bool] = Field(default={}, description="worker -> whether it sees the folder of the campaign")
    scratch: dict[str, Path] = Field(default={}, description="worker -> folder for large files, which may be purged")
    chunk: int = Field(default=100, ge=1, description="most jobs in one flow of the queue")
    in_flight: int = Field(default=400, ge=1, description="most heavy jobs in the queue at a time")
    retries: int = Field(default=2, ge=0, description="further attempts of a job that the scheduler ended")
    longest: Seconds = Field(default=24 * 3600, description="longest time limit of a further attempt, HH:MM:SS")
    most_memory: int | None = Field(default=None, ge=1, description="largest memory of a further attempt, MB per core")

    @field_validator("workers")
    @classmethod
    def _all_kinds(cls, value: dict[str, str]) -> dict[str, str]:
        if missing := [kind for kind in ("label", "train", "light") if kind not in value]:
            raise ValueError(f"name a worker for {', '.join(missing)} as well")
        return {"parent": value["label"], **value}

    @field_validator("resources")
    @classmethod
    def _by_size(cls, value: dict[str, tuple[Row, ...]]) -> dict[str, tuple[Row, ...]]:
        for kind, rows in value.items():
            sizes = [row.sites for row in rows]
            if len(set(sizes)) < len(sizes):
                raise ValueError(f"{kind}: two rows are for the same number of sites")
        return {kind: tuple(sorted(rows, key=lambda row: row.sites or float("inf"))) for kind, rows in value.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for kind, rows in self.resources.items():
            for row in rows:
                if row.time > self.longest:
                    raise ValueError(f"resources.{kind}: a time limit is above 'longest'; raise that")
        return self

    def names(self) -> set[str]:
        """All workers that jobs go to."""
        return {*self.workers.values(), *([self.pilot.worker] if self.pilot else [])}

    def mentioned(self) -> set[str]:
        """All workers that are named anywhere; the project has to have them."""
        return {*self.names(), *self.exec_config, *self.shared, *self.scratch}


@dataclass(frozen=True)
class Route:
    """Where one job goes. ``resources``: of qtoolkit, JSON-able, empty for those of the worker; ``engine``: costs."""

    worker: str
    resources: dict[str, Any] = field(default_factory=dict)
    exec_config: str | None = None
    engine: dict[str, int] = field(default_factory=dict)


def load_remote(path: Path) -> RemoteOptions:
    """Worker map in a YAML file; RemoteSetupError says what is wrong in it."""
    return parse_options(RemoteOptions, load_yaml(path, RemoteSetupError), str(path), RemoteSetupError)


def route(options: RemoteOptions, kind: Kind, sites: int | None = None, attempt: int = 0) -> Route:
    """Where a job of this ``kind`` on ``sites`` sites goes, on its first try (``attempt`` 0) or a further one.

    A further attempt has more time and memory, and is a job of its own where the first one was a pilot's.
    """
    pilot = options.pilot
    if pilot and kind == "label" and sites is not None and sites <= pilot.sites and not attempt:
        costs = pilot.engine.model_dump(exclude_none=True)
        return Route(pilot.worker, {}, options.exec_config.get(pilot.worker), costs)
    worker = options.workers[kind]
    rows = options.resources.get(kind, ())
    if not rows:
        return Route(worker, {}, options.exec_config.get(worker))
    row = next((row for row in rows if sites is None or row.sites is None or sites <= row.sites), rows[-1])
    return Route(worker, _resources(options, row, sites, attempt), options.exec_config.get(worker), row.costs())


def _resources(options: RemoteOptions, row: Row, sites: int | None, attempt: int) -> dict[str, Any]:
    """The row as qtoolkit's QResources in JSON, with the time (and memory) that size and attempt ask for."""
    larger = max(1.0, (sites or 1) / row.sites) if row.sites else 1.0
    seconds = min(options.longest, round(row.time * larger**STEEPNESS) * MORE**attempt)
    memory = row.memory and min(options.most_memory or float("inf"), row.memory * MORE**attempt)
    asked = {
        "queue_name": row.queue,
        "nodes": row.nodes,
        "processes_per_node": row.processes_per_node,
        "threads_per_process": row.threads,
        "memory_per_thread": memory,
        "gpus_per_job": row.gpus,
        "time_limit": seconds,
        "account": row.account,
        "qos": row.qos,
        "scheduler_kwargs": row.scheduler or None,
    }
    stated = {key: value for key, value in asked.items() if value is not None}
    return {"@module": "qtoolkit.core.data_objects", "@class": "QResources", **stated}


def sized(engine: Engine, chosen: Route) -> Engine:
    """``engine`` with the cost settings of the route. Raises EngineError where they change its level of theory."""
    new = engine.with_costs(chosen.engine)
    if new.level_id() != engine.level_id():
        raise EngineError(
            f"the cost settings {chosen.engine} would change the level of theory; take them out of the resources"
        )
    return new
