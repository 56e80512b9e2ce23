"""How VASP is started, watched and ended: options, and the time there is."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from workflows.engines.interface import EngineError


class RunOptions(BaseModel):
    """How VASP is started, watched and ended. Nothing here decides a number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vasp_cmd: str = Field(
        default="", description="command of vasp_std, such as 'srun vasp_std'; empty: atomate2's VASP_CMD"
    )
    vasp_ncl_cmd: str = Field(
        default="", description="command of vasp_ncl for vector moments; empty: atomate2's VASP_NCL_CMD"
    )
    wall_time: float | None = Field(
        default=None,
        gt=0,
        description="seconds for one configuration, which has failed where they do not suffice; the end of a Slurm job "
        "is minded anyway, and says nothing about the configuration",
    )
    buffer: float = Field(
        default=300.0, ge=0, description="seconds before that limit at which VASP is asked to stop (LABORT)"
    )
    frozen_after: float = Field(
        default=21600.0, gt=0, description="seconds without a line on VASP's output after which it counts as hanging"
    )
    max_errors: int = Field(default=5, ge=1, description="corrections before a configuration is given up")
    poll_seconds: float = Field(default=1.0, gt=0, description="between two looks whether VASP has ended")
    check_seconds: float = Field(
        default=60.0,
        gt=0,
        description="between two looks of the handlers into the files of a run; large ones take seconds",
    )
    threads: int = Field(default=1, ge=1, description="OMP_NUM_THREADS of VASP; processes are usually better")
    without: tuple[str, ...] = Field(
        default=(),
        description="handlers of atomate2 to leave out, by the names of their classes, such as LargeSigmaHandler",
    )

    @field_validator("without")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value:
            from atomate2.vasp.run import DEFAULT_HANDLERS

            names = [type(handler).__name__ for handler in DEFAULT_HANDLERS]
            if unknown := [name for name in value if name not in names]:
                raise ValueError(f"no handler is called {', '.join(unknown)}; there are {', '.join(names)}")
        return value

    @model_validator(mode="after")
    def _time_to_run(self) -> Self:
        if self.wall_time is not None and self.wall_time <= self.buffer:
            raise ValueError(
                f"wall_time: {self.wall_time:g} s leave no time to run, as VASP is asked to stop {self.buffer:g} s "
                "(buffer) before; state a longer wall_time, or a shorter buffer"
            )
        return self

    @field_validator("vasp_cmd", "vasp_ncl_cmd")
    @classmethod
    def _words(cls, value: str) -> str:
        try:
            shlex.split(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no command ({error})") from None
        return value

    def command(self, vector: bool) -> list[str]:
        """Words of the command for collinear or ``vector`` moments, with variables of the environment put in.

        Raises EngineError where quotes are not closed.
        """
        from atomate2 import SETTINGS

        own, given = (self.vasp_ncl_cmd, SETTINGS.VASP_NCL_CMD) if vector else (self.vasp_cmd, SETTINGS.VASP_CMD)
        try:
            return shlex.split(os.path.expandvars(own or given))
        except ValueError as error:
            raise EngineError(
                f"{own or given!r} is no command of VASP ({error}); correct it in ~/.atomate2.yaml or the environment"
            ) from None


def command_problem(options: RunOptions, vector: bool) -> str | None:
    """Which program of the command for collinear or ``vector`` moments is not found here, with the remedy; or None."""
    words = options.command(vector)
    programs = [*words[:1], *(word for word in words[1:] if Path(word).name.startswith("vasp"))]
    absent = [word for word in programs if shutil.which(word) is None]
    if words and not absent:
        return None
    own = "vasp_ncl_cmd" if vector else "vasp_cmd"
    setting = own.upper()
    remedy = (
        f"correct run.{own}"
        if getattr(options, own)
        else f"put `{setting}: srun /path/to/vasp` into ~/.atomate2.yaml, or ATOMATE2_{setting} into the environment"
    )
    return f"the command {' '.join(words)!r} of VASP is not found ({', '.join(absent)}): load its module, or {remedy}"


@dataclass(frozen=True)
class Limit:
    """When a run has to end."""

    seconds: float
    """From now."""
    of_job: bool
    """The Slurm job ends then, whatever it was given; otherwise it is ``wall_time``, which is meant for one run."""


def time_limit(options: RunOptions) -> Limit | None:
    """The wall time of the options, or the end of the Slurm job this runs in, whichever is sooner; None: no limit."""
    given = {False: options.wall_time, True: _slurm_seconds()}
    limits = [Limit(seconds, of_job) for of_job, seconds in given.items() if seconds is not None]
    return min(limits, key=lambda limit: limit.seconds, default=None)


def _slurm_seconds() -> float | None:
    """Seconds until the end of the Slurm job; None outside of Slurm, and where the job has no limit."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    if os.environ.get("SLURM_JOB_END_TIME", "").isdigit():
        return float(os.environ["SLURM_JOB_END_TIME"]) - time.time()
    query = ["squeue", "--noheader", "--job", os.environ["SLURM_JOB_ID"], "--format=%e"]
    plain = {**os.environ, "SLURM_TIME_FORMAT": "standard"}
    try:
        end = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True, env=plain).stdout
        return (datetime.fromisoformat(end.strip()) - datetime.now()).total_seconds()
    except (OSError, subprocess.SubprocessError, ValueError):  # no squeue, no answer, no limit
        return None
