"""Jobs of a campaign in the queue are paused, stopped, and let go on.

Jobs that an advance of another campaign waits for are left alone: both campaigns want the same label, and one of them
is not held. What a pilot job (batch worker) has before it is taken from its list on the worker; what it has begun goes
on to its end, because nothing but the end of the pilot could stop it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflows.remote.queue import ADVANCE, WAIT, QueueWarning, unlocking

if TYPE_CHECKING:
    from jobflow_remote.jobs.jobcontroller import JobController
    from jobflow_remote.utils.remote import SharedHosts

Document = dict[str, Any]
Act = Callable[[Document, int | None], object]

WAITING = ("READY", "WAITING")
ON_THE_WAY = ("CHECKED_OUT", "UPLOADED", "BATCH_SUBMITTED")
"""Given to a worker, and not begun by its scheduler or pilot."""

STOPPABLE = ("READY", "CHECKED_OUT", "UPLOADED", "BATCH_SUBMITTED", "SUBMITTED", "RUNNING")
"""What is further on only has to be fetched."""

FIELDS = ["uuid", "index", "db_id", "state", "worker"]


class _OutOfReachError(Exception):
    """A worker's host does not answer."""


def pause(controller: JobController, name: str) -> int:
    """Pause the jobs of a campaign that are not begun; returns how many. Warns of those that stayed locked."""
    from jobflow_remote.utils.remote import SharedHosts

    with SharedHosts(controller.project) as hosts:

        def act(job: Document, wait: int | None) -> None:
            if job["state"] in WAITING:
                controller.pause_job(db_id=job["db_id"], wait=wait)
            else:
                _take_back(controller, hosts, job, "PAUSED", wait)

        mine = _of_nobody_else(controller, name, {"job.metadata.campaign": name})
        return len(_each(controller, {**mine, "state": {"$in": [*WAITING, *ON_THE_WAY]}}, act, "paused"))


def stop(controller: JobController, name: str) -> int:
    """Stop the heavy jobs of a campaign, also those at work; returns how many. What waits for them goes on."""
    from jobflow_remote.utils.remote import SharedHosts

    with SharedHosts(controller.project) as hosts:

        def act(job: Document, wait: int | None) -> None:
            if job["state"] in ON_THE_WAY:
                _take_back(controller, hosts, job, "USER_STOPPED", wait)
            else:
                controller.stop_job(db_id=job["db_id"], wait=wait)

        heavy = {"job.metadata.campaign": name, "job.metadata.kind": {"$ne": ADVANCE}}
        mine = _of_nobody_else(controller, name, heavy)
        done = _each(controller, {**mine, "state": {"$in": list(STOPPABLE)}}, act, "stopped")
    refresh(controller, done)
    return len(done)


def go_on(controller: JobController, wanted: Document) -> int:
    """Let paused jobs go on; returns how many."""

    def act(job: Document, wait: int | None) -> None:
        controller.resume_job(db_id=job["db_id"], wait=wait)

    done = _each(controller, {**wanted, "state": "PAUSED"}, act, "resumed")
    refresh(controller, done)  # resuming counts a stopped parent as one that is still to come
    return len(done)


def refresh(controller: JobController, uuids: Iterable[str]) -> None:
    """Ready the jobs that wait for nothing any more, in the flows of these jobs."""
    for flow in list(controller.flows.find({"jobs": {"$in": list(uuids)}}, ["jobs"])):
        controller.refresh_children(flow["jobs"])


def _of_nobody_else(controller: JobController, name: str, mine: Document) -> Document:
    """A query without the jobs that a tail of another campaign waits for."""
    others = {"job.metadata.kind": ADVANCE, "job.metadata.campaign": {"$ne": name}, "state": "WAITING"}
    wanted = {uuid for tail in controller.get_jobs(others, ["parents"]) for uuid in tail["parents"]}
    return {**mine, "uuid": {"$nin": sorted(wanted)}}


def _each(controller: JobController, query: Document, act: Act, told: str) -> list[str]:
    """Act on the jobs of a query: first the free ones, then those that the runner had at the moment; uuids of them."""
    from jobflow_remote.utils.db import LockedDocumentError

    done: list[str] = []
    left: list[str] = []
    for wait in (None, WAIT):
        left = []
        for job in list(controller.get_jobs(query, FIELDS)):
            try:
                act(job, wait)
                done.append(job["uuid"])
            except (LockedDocumentError, _OutOfReachError) as error:
                left.append(str(error))
            except (ValueError, FileNotFoundError):
                pass  # it went on meanwhile, or its pilot has begun it
        if not left:
            break
    if left:
        warnings.warn(
            QueueWarning(f"{len(left)} jobs were not {told} ({left[0]}); {unlocking(controller)}"), stacklevel=3
        )
    return done


def _take_back(controller: JobController, hosts: SharedHosts, job: Document, state: str, wait: int | None) -> None:
    """A job that a worker has and has not begun. FileNotFoundError where a pilot was faster."""
    from jobflow_remote.jobs.data import get_reset_job_base_dict
    from jobflow_remote.jobs.state import JobState

    with controller.lock_job_flow(
        db_id=job["db_id"],
        wait=wait,
        acceptable_states=[JobState(one) for one in ON_THE_WAY],
        job_lock_kwargs={"projection": FIELDS},
        flow_lock_kwargs={"projection": ["uuid"]},
    ) as (lock, flow_lock):
        found, flow = lock.locked_document, flow_lock.locked_document
        assert found is not None  # else it raised
        assert flow is not None
        if found["state"] == "BATCH_SUBMITTED":
            _unlist(controller, hosts, found)
        changed: dict[str, dict[int, JobState | None]] = {found["uuid"]: {found["index"]: JobState(state)}}
        controller.update_flow_state(flow_uuid=flow["uuid"], updated_states=changed)
        lock.update_on_release = {"$set": {**get_reset_job_base_dict(), "state": state}}


def _unlist(controller: JobController, hosts: SharedHosts, job: Document) -> None:
    """Take a job out of the list from which pilots choose: a folder with an empty file for each."""
    from jobflow_remote.jobs.batch import SUBMITTED_DIR

    assert controller.project is not None
    batch = controller.project.workers[job["worker"]].batch
    assert batch is not None
    try:
        hosts.get_host(job["worker"]).remove(
            Path(batch.jobs_handle_dir) / SUBMITTED_DIR / f"{job['uuid']}_{job['index']}"
        )
    except FileNotFoundError:
        raise
    except Exception as error:  # of SSH there are many
        raise _OutOfReachError(f"worker {job['worker']}: {error}") from error
