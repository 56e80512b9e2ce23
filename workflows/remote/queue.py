"""The queue of a project of jobflow-remote: opened, and checked against the campaign that goes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from datastore import open_store
from datastore.stores import mask
from workflows.remote.routing import RemoteOptions, RemoteSetupError

if TYPE_CHECKING:
    from jobflow_remote.config.base import Project
    from jobflow_remote.jobs.jobcontroller import JobController

FILES = "files"
"""Name of the additional store that takes snapshots and checkpoints of workers that do not share the folder."""

ADVANCE = "advance"
"""Kind of the tails, the jobs that advance a campaign."""

WAIT = 20
"""Seconds to wait for the lock of a job or flow that the runner has at the moment; it looks every ten."""

NOT_STARTED = ("WAITING", "READY", "PAUSED")
PENDING = (
    *NOT_STARTED,
    *("CHECKED_OUT", "UPLOADED", "SUBMITTED", "RUNNING", "RUN_FINISHED", "DOWNLOADED"),
    *("BATCH_SUBMITTED", "BATCH_RUNNING"),
)
"""States of jobs in the queue that go on by themselves, or when they are resumed."""


class QueueWarning(UserWarning):
    """Something in the queue that was left as it is, and goes on with the next advance or command."""


def unlocking(controller: JobController) -> str:
    """What to do about locks that a runner has left when it was killed."""
    name = controller.project.name if controller.project else ""
    return (
        "give the same command again; where the runner was killed, first: "
        f"jf -p {name} admin unlock; jf -p {name} admin unlock-flow"
    )


@contextmanager
def open_queue(project: str) -> Iterator[JobController]:
    """The queue of a project. Raises RemoteSetupError where there is none, or its database cannot be reached."""
    from jobflow_remote.jobs.jobcontroller import JobController

    found = load_project(project)
    try:
        controller = JobController.from_project(found)
        try:
            yield controller
        finally:
            controller.close()
    except PyMongoError as error:
        told = mask(str(error).split(", Timeout", maxsplit=1)[0].splitlines()[0])[:200]
        raise RemoteSetupError(
            f"project {project}: its database cannot be reached or refused ({told}); start the server, check host, "
            "port, user and network"
        ) from error


def load_project(name: str) -> Project:
    """A project of jobflow-remote by its name."""
    from jobflow_remote.config.base import ConfigError
    from jobflow_remote.config.manager import ConfigManager

    try:
        manager = ConfigManager()
        return manager.get_project(name)
    except ConfigError as error:
        known = ", ".join(sorted(manager.projects)) or "none"
        raise RemoteSetupError(
            f"jobflow-remote: {error} (in {manager.projects_folder}; known: {known}); write one with spinmultinet "
            "remote init, or see what is wrong in its file with: jf project list --warn"
        ) from None


def check_project(controller: JobController, store_uri: str, routing: RemoteOptions) -> None:
    """Refuse what would fail later: stores that are not the campaign's, workers that are not there.

    Sees to the indexes by which a campaign looks into the queue.
    """
    project = controller.project
    assert project is not None
    _check_store(controller, store_uri)
    _check_workers(project, routing)
    if not all(_shared(routing, kind) for kind in ("train",)) and FILES not in controller.jobstore.additional_stores:
        raise RemoteSetupError(
            f"project {project.name}: worker {routing.workers['train']} trains without sharing the campaign's folder, "
            f"so its files need a store: add additional_stores: {{{FILES}: {{type: GridFSStore, ...}}}} to the "
            "project's jobstore, or state shared in the worker map"
        )
    controller.create_indexes(["parents", "job.metadata.campaign"])


def _shared(routing: RemoteOptions, kind: Any) -> bool:
    return routing.shared.get(routing.workers[kind], False)


def _check_store(controller: JobController, store_uri: str) -> None:
    """The project writes where the campaign reads; the queue's own documents stay out of its database."""
    name = controller.project.name if controller.project else ""
    with open_store(store_uri) as store:
        mine = _place(store.jobs)
    if mine is None:
        raise RemoteSetupError(
            f"store {mask(store_uri)} cannot be reached by a queue; name a MongoDB in the campaign file, such as "
            "store: mongodb://HOST/DATABASE"
        )
    if (theirs := _place(controller.jobstore.docs_store)) != mine:
        raise RemoteSetupError(
            f"project {name} stores outputs in {_told(theirs)}, and the campaign reads {_told(mine)}; let the "
            "project's jobstore.docs_store be the campaign's store, collection jobs"
        )
    queue = _place(controller.queue_store)
    if queue is not None and queue[:2] == mine[:2]:
        raise RemoteSetupError(
            f"project {name} keeps its queue in the database of the campaign ({queue[1]}); give the queue's store a "
            "database of its own"
        )
    if controller.auxiliary.find_one({"next_id": {"$exists": True}}) is None:
        raise RemoteSetupError(f"the queue of project {name} was never set up; run: jf -p {name} admin reset")


Place = tuple[frozenset[tuple[str, int | None]], str, str]


def _place(store: Any) -> Place | None:
    """Servers, database and collection of a connected store; None where it is no MongoDB."""
    collection: Any = getattr(store, "_collection", None)
    client = getattr(getattr(collection, "database", None), "client", None)
    if not isinstance(client, MongoClient):
        return None
    client.admin.command("ping")  # the servers are known once one has answered
    nodes = frozenset(("127.0.0.1" if host == "localhost" else host, port) for host, port in client.nodes)
    return nodes, collection.database.name, collection.name


def _told(place: Place | None) -> str:
    if place is None:
        return "no MongoDB"
    hosts = ",".join(sorted(f"{host}:{port}" for host, port in place[0]))
    return f"{hosts}/{place[1]}, collection {place[2]}"


def _check_workers(project: Project, routing: RemoteOptions) -> None:
    if unknown := sorted(routing.mentioned() - set(project.workers)):
        raise RemoteSetupError(
            f"project {project.name} has no worker {', '.join(unknown)}, which the worker map names; it has "
            f"{', '.join(project.workers)}"
        )
    if unknown := sorted(set(routing.exec_config.values()) - set(project.exec_config)):
        raise RemoteSetupError(f"project {project.name} has no exec_config {', '.join(unknown)}")
    if not project.workers[routing.workers["light"]].is_local:
        raise RemoteSetupError(
            f"worker {routing.workers['light']} is to run the light jobs, which need the campaign's folder; name a "
            "worker of type local for light"
        )
