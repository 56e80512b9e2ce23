"""What the tests of this folder do alike: start a small campaign in a project, wait, see where its jobs ran."""

from pathlib import Path
from typing import Any

from tests.support.cli import tiny_campaign
from tests.support.cluster.stack import Stack

SMALL = [
    {"kind": "none"},
    {"kind": "displacement", "count": 2, "amplitude": [0.02, 0.06]},
    {"kind": "volume", "count": 1, "amplitude": [0.95, 1.05]},
]
LABELS = 8
"""Of a campaign with these deformations and two orderings."""


def start(stack: Stack, name: str, worker_map: Path, **changes: Any) -> Path:
    """Hand a campaign to the queue of the project ``name``, with a runner at work; its file."""
    folder = stack.folder / f"{name}_campaign"
    folder.mkdir()
    few = {"structures__deformations": SMALL, "active_learning__rounds": 0, "baseline": ""}
    options = {"store": stack.uri(name), **few, **changes}
    path = tiny_campaign(folder, **options)
    stack.run(name)
    again(stack, name, path, worker_map)
    return path


def again(stack: Stack, name: str, path: Path, worker_map: Path) -> str:
    """The same command as at first, which goes on; what it says."""
    return stack.spinmultinet("run", path, "--remote", name, "--worker-map", worker_map, folder=path.parent)


def of_kind(jobs: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Documents of the queue whose jobs are of this kind."""
    return [job for job in jobs if job["job"]["metadata"].get("kind") == kind]


def scheduled(stack: Stack, jobs: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Of each document of the queue, the job as Slurm tells of it."""
    told = {job["JobId"]: job for job in stack.slurm.jobs()}
    return [told[job["remote"]["process_id"]] for job in jobs]
