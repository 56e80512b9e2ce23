"""Pause, go on, cancel, look: what people do with a campaign in the queue, mapped onto its jobs there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workflows.remote.campaign import FILE, RemoteCampaign, load
from workflows.remote.holding import go_on, pause, stop
from workflows.remote.queue import PENDING, check_project, open_queue

if TYPE_CHECKING:
    from jobflow_remote.jobs.jobcontroller import JobController

Document = dict[str, Any]
Held = Literal["paused", "cancelled"]

MOST_FAILURES = 5


@dataclass(frozen=True)
class QueueState:
    """A campaign in the queue. ``jobs``: worker -> state -> number; ``failures``: name, worker, state and error."""

    project: str
    held: str
    jobs: dict[str, dict[str, int]]
    failures: list[Document]

    @property
    def pending(self) -> int:
        """Jobs that are not at their end."""
        return sum(number for row in self.jobs.values() for state, number in row.items() if state in PENDING)


def hold(campaign: RemoteCampaign, how: Held) -> int:
    """Pause (jobs at work go on to their end) or cancel (they are stopped); returns how many jobs that changed.

    An advance that is at work does no more than its light jobs. What is done stays done, and what another campaign
    waits for goes on. Warns (QueueWarning) of jobs that stayed locked.
    """
    replace(campaign, held=how).save()
    with open_queue(campaign.project) as controller:
        return held_back(controller, campaign.options.name, how)


def held_back(controller: JobController, name: str, how: str) -> int:
    """The same in the queue alone; an advance does it once more at its end, for what it has just submitted."""
    return pause(controller, name) if how == "paused" else stop(controller, name)


def release(campaign: RemoteCampaign) -> int:
    """Let paused jobs go on; those that were stopped are run again by the next advance. Returns how many.

    Writes down ``campaign`` for its jobs. Raises RemoteSetupError where the project does not fit to it.
    """
    with open_queue(campaign.project) as controller:
        check_project(controller, campaign.options.store, campaign.routing)
        replace(campaign, held="").save()
        return go_on(controller, {"job.metadata.campaign": campaign.options.name})


def queue_state(name: str, project: str, held: str = "") -> QueueState:
    """Jobs of the campaign ``name`` in the queue now. Raises RemoteSetupError where that cannot be read."""
    with open_queue(project) as controller:
        fields = ["worker", "state"]
        jobs: dict[str, Counter[str]] = {}
        for document in controller.get_jobs({"job.metadata.campaign": name}, fields):
            jobs.setdefault(document["worker"], Counter())[document["state"]] += 1
        counts = {worker: dict(sorted(row.items())) for worker, row in sorted(jobs.items())}
        return QueueState(project, held, counts, _failures(controller, name))


def known(folder: Path) -> RemoteCampaign | None:
    """The campaign in this folder as ``run --remote`` left it; None where it never ran on a cluster."""
    return load(folder) if (folder / FILE).is_file() else None


def _failures(controller: JobController, name: str) -> list[Document]:
    failed = {"job.metadata.campaign": name, "state": {"$in": ["FAILED", "REMOTE_ERROR"]}}
    fields = ["job.name", "worker", "state", "error", "remote.error", "updated_on"]
    newest = sorted(controller.get_jobs(failed, fields), key=lambda d: d["updated_on"], reverse=True)
    return [
        {"job": d["job"]["name"], "worker": d["worker"], "state": d["state"], "error": _last_line(d)}
        for d in newest[:MOST_FAILURES]
    ]


def _last_line(document: Document) -> str:
    text = document.get("error") or document["remote"].get("error") or ""
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return lines[-1] if lines else ""
