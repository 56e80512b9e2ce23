"""What is run: tasks, strategies, seeds. ``plan.yaml`` was committed before the runs that the tables show."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.active_learning.candidates import PoolSize
from datastore.schema import content_hash
from spinmultinet.hypers import ModelOptions, TrainOptions
from workflows.learning import SelectOptions

PLAN = Path(__file__).with_name("plan.yaml")
TaskName = Literal["spin-lattice", "gpaw"]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(_Options):
    """Labels to choose among, and how a model is trained on them.

    ``counts``: labels at which models are trained, the first ones drawn at random. Every model takes ``steps`` steps,
    however many labels it has, so that what is compared is the labels and not the length of the training.
    """

    name: TaskName
    counts: list[int] = Field(min_length=2)
    seeds: list[int]
    strategies: list[str]
    steps: int
    model: ModelOptions
    training: TrainOptions
    size: PoolSize = PoolSize()


class Strategy(_Options):
    """A rule with its options as in a campaign file, and how many models it asks."""

    select: SelectOptions
    members: int = 1


class Plan(_Options):
    """``default``: the strategy that is compared with the ``baselines``."""

    default: str
    baselines: list[str]
    strategies: dict[str, Strategy]
    tasks: list[Task]

    def source(self, task: Task) -> str:
        """What results of a task were computed with; others are not read."""
        said = self.model_dump(mode="json", exclude_unset=True)
        how = task.model_dump(mode="json", exclude_unset=True, exclude={"seeds", "strategies"})
        return content_hash([how, said["strategies"]], 16)

    def task(self, name: str) -> Task:
        """By its name."""
        return next(task for task in self.tasks if task.name == name)


def read_plan(path: Path = PLAN) -> Plan:
    """The plan of a YAML file."""
    return Plan.model_validate(yaml.safe_load(path.read_text()))
