"""How many jobs of a jobflow-remote project are in which state, by worker. Read only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workflows.serve.errors import ServeError


@dataclass(frozen=True)
class QueueState:
    """Jobs of a project; ``runner``: host and process of the runner that says it is alive, empty without one."""

    project: str
    counts: dict[str, dict[str, int]]
    """Worker -> state -> number of jobs."""
    runner: str

    @property
    def states(self) -> list[str]:
        """States that occur, in the order of a job's life."""
        from jobflow_remote.jobs.state import JobState

        present = {state for row in self.counts.values() for state in row}
        return [state.value for state in JobState if state.value in present]


def queue_state(project: str) -> QueueState:
    """The queue of a project now. Raises ServeError where there is no such project, or its database is away."""
    from jobflow_remote.config import ConfigError
    from jobflow_remote.jobs.jobcontroller import JobController
    from pymongo.errors import PyMongoError

    try:
        controller = JobController.from_project_name(project)
    except (ConfigError, OSError, ValueError) as error:
        raise ServeError(f"jobflow-remote project {project!r} cannot be used; see: jf project list") from error
    try:
        groups = [{"$group": {"_id": {"worker": "$worker", "state": "$state"}, "n": {"$sum": 1}}}]
        counts: dict[str, dict[str, int]] = {}
        for found in controller.jobs.aggregate(groups):
            row = counts.setdefault(str(found["_id"].get("worker")), {})
            row[str(found["_id"].get("state"))] = int(found["n"])
        return QueueState(project, dict(sorted(counts.items())), _runner(controller.get_running_runner()))
    except PyMongoError as error:
        raise ServeError(f"the queue of project {project!r} cannot be reached; is its database running?") from error
    finally:
        controller.close()


def _runner(found: Any) -> str:
    if not isinstance(found, dict):
        return ""
    return f"{found.get('hostname') or 'a host'}, process {found.get('daemon_dir') or found.get('runner_id') or '?'}"
