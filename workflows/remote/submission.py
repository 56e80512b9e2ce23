"""Ready jobs of a campaign into the queue of jobflow-remote: each once, whatever was killed before.

A job has the uuid of its work, in whichever campaign, and the queue keeps uuids unique: what is there is not submitted
again. Behind the jobs of each flow waits a job that advances the campaign (:mod:`workflows.remote.advance`), its tail.
It follows also where some of them failed. Whatever a kill leaves undone is completed by the next submission: flows
whose jobs are not all there, jobs without a tail.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

from jobflow import Flow, Job
from pymongo.errors import BulkWriteError

from datastore.batches import in_batches
from datastore.schema import SpinConfig
from workflows.engines import Engine
from workflows.remote.queue import ADVANCE, NOT_STARTED, PENDING, WAIT, unlocking
from workflows.remote.retries import Counts
from workflows.remote.routing import Kind, RemoteOptions, RemoteSetupError, Route, route, sized
from workflows.remote.training import PART

if TYPE_CHECKING:
    from jobflow_remote.jobs.jobcontroller import JobController

Document = dict[str, Any]
KINDS = {PART: "train"}
"""Kinds of jobs in the queue that the worker map has under another name."""

DUPLICATE = 11000
"""MongoDB's code for a key that is there."""

FIELDS = [
    *("uuid", "index", "state", "worker", "error", "remote", "run_dir", "start_time", "updated_on"),
    *("job.metadata", "job.hosts"),
]


class LockedError(RemoteSetupError):
    """A job or flow that the runner has, or had when it was killed."""


@dataclass
class Submission:
    """The queue, for one campaign. ``tail``: makes the job that follows jobs with these uuids."""

    controller: JobController
    routing: RemoteOptions
    campaign: str
    tail: Callable[[Sequence[str]], Job]
    submitted: int = 0
    retried: dict[str, str] = field(default_factory=dict)

    def known(self, uuids: Iterable[str]) -> dict[str, Document]:
        """uuid -> what the queue has of a job, without the job itself."""
        wanted = {"uuid": {"$in": list(uuids)}}
        return {document["uuid"]: document for document in self.controller.get_jobs(wanted, FIELDS)}

    def room(self) -> int:
        """How many more heavy jobs of this campaign the queue takes."""
        mine = {"job.metadata.campaign": self.campaign, "job.metadata.kind": {"$ne": ADVANCE}}
        return self.routing.in_flight - self.controller.count_jobs({**mine, "state": {"$in": list(PENDING)}})

    def submit(self, jobs: Sequence[Job]) -> None:
        """Add jobs that the queue does not know, as many as there is room for, in flows."""
        self.mend()
        room = max(0, self.room())
        for part in in_batches(jobs[:room], self.routing.chunk):
            flow = Flow(
                [self._prepared(job, 0) for job in part],
                name=f"{self.campaign}: {len(part)} jobs",
                metadata={"campaign": self.campaign, "whole": False},
            )
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="Some jobs are not connected")
                    self._add(flow)
            except BulkWriteError as error:
                if not _duplicate(error):
                    raise
                self.mend()  # another campaign was faster with one of them
            else:
                self._whole(flow.uuid)
                self.submitted += len(part)
        self.follow([job.uuid for job in jobs[:room]])

    def _add(self, flow: Flow) -> None:
        self.controller.add_flow(flow, worker=self.routing.workers["light"], allow_external_references=True)

    def mend(self) -> None:
        """Take what is missing out of flows whose submission was broken off; it is submitted again with the rest."""
        for flow in self.controller.flows.find({"metadata.campaign": self.campaign, "metadata.whole": False}):
            there = set(self.known(flow["jobs"]))
            missing = [uuid for uuid in flow["jobs"] if uuid not in there]
            elsewhere = [uuid for uuid in there if self._flow_of(uuid) != flow["uuid"]]
            for uuid in [*missing, *elsewhere]:
                self.controller.flows.update_one({"uuid": flow["uuid"]}, _without(flow, uuid))
            if len(missing) + len(elsewhere) == len(flow["jobs"]):
                self.controller.flows.delete_one({"uuid": flow["uuid"]})
            else:
                self._whole(flow["uuid"])

    def follow(self, uuids: Sequence[str]) -> None:
        """See to it that the campaign is advanced when these jobs of the queue have ended."""
        covered = {uuid for tail in self._tails(uuids) for uuid in tail["parents"]}
        flows: defaultdict[str, list[str]] = defaultdict(list)
        for uuid, document in self.known(set(uuids) - covered).items():
            if document["state"] in PENDING:
                flows[document["job"]["hosts"][-1]].append(uuid)
        for flow, jobs in flows.items():
            self._append_tail(flow, jobs)

    def again(
        self,
        job: Job,
        document: Document,
        clean: bool,
        after: Counts | None = None,
        elsewhere: bool = False,
    ) -> None:
        """Run a job once more that has ended in the queue, with the resources for the counts ``after`` that end.

        By default the scheduler had ended it. ``elsewhere``: forget its folder. Nothing is done where there is no room,
        or where somebody else was faster. Raises LockedError.
        """
        if self.room() <= 0:
            return
        after = after or counts(document).after("killed", False)
        new = self._prepared(job, after.attempts)
        new.metadata |= _counted(document, after)
        chosen = new.config.manager_config
        changes = {
            "worker": chosen["worker"],
            "exec_config": chosen["exec_config"],
            "resources": chosen["resources"],
            "job": {**new.as_dict(), "hosts": document["job"]["hosts"]},
        }
        if elsewhere or chosen["worker"] != document["worker"]:
            changes["run_dir"], clean = None, False  # the folder is on another machine, or no more what it was
        if not self._set(document, changes):
            return
        self._part(job.uuid)
        with self._unlocked(job.name):
            self.controller.rerun_job(job_id=job.uuid, job_index=job.index, force=True, wait=WAIT, delete_files=clean)
        self.retried[job.uuid] = "again"

    def resume(self, document: Document, after: Counts) -> None:
        """Let the runner go on with a job at the step that failed, such as a transfer. Raises LockedError."""
        counted = {f"job.metadata.{name}": value for name, value in _counted(document, after).items()}
        if not self._set(document, counted):
            return
        with self._unlocked(document["uuid"]):
            self.controller.retry_job(job_id=document["uuid"], job_index=document["index"], wait=WAIT)
        self.retried[document["uuid"]] = "resume"

    def _prepared(self, job: Job, attempt: int) -> Job:
        """The same job on its own, with worker and resources, and the engine sized for them."""
        kind = cast(Kind, KINDS.get(job.metadata["kind"], job.metadata["kind"]))
        engine, config = _subject(job)
        chosen = route(self.routing, kind, None if config is None else len(config.species), attempt)
        arguments = job.function_args if engine is None else (sized(engine, chosen), *job.function_args[1:])
        metadata = {**job.metadata, "campaign": self.campaign, "attempts": attempt}
        new = Job(
            job.function,
            arguments,
            job.function_kwargs,
            uuid=job.uuid,
            index=job.index,
            name=job.name,
            metadata=metadata,
            **job._kwargs,
        )
        new.config.manager_config = _manager(chosen)
        return new

    def _tails(self, uuids: Sequence[str]) -> list[Document]:
        """Tails of this campaign that wait for some of these jobs; one that a kill left outside of its flow goes."""
        mine = {"job.metadata.campaign": self.campaign, "job.metadata.kind": ADVANCE}
        waiting = {**mine, "parents": {"$in": list(uuids)}, "state": {"$in": list(NOT_STARTED)}}
        tails = list(self.controller.get_jobs(waiting, ["uuid", "parents"]))
        named = {"jobs": {"$in": [tail["uuid"] for tail in tails]}}
        inside = {uuid for flow in self.controller.flows.find(named, ["jobs"]) for uuid in flow["jobs"]}
        lost = [tail["uuid"] for tail in tails if tail["uuid"] not in inside]
        if lost:
            self.controller.jobs.delete_many({"uuid": {"$in": lost}})
        return [tail for tail in tails if tail["uuid"] in inside]

    def _append_tail(self, flow_uuid: str, uuids: Sequence[str]) -> None:
        """A new tail behind jobs of a flow that is in the queue, of this campaign or of another."""
        from jobflow_remote.jobs.data import get_initial_job_doc_dict

        controller = self.controller
        tail = self.tail(uuids)
        tail.hosts = [flow_uuid]
        light = self.routing.workers["light"]
        tail.config.manager_config = _manager(route(self.routing, "light"))
        number = controller.auxiliary.find_one_and_update({"next_id": {"$exists": True}}, {"$inc": {"next_id": 1}})
        assert number is not None  # seen by check_project, as is the project
        assert controller.project is not None
        db_id = f"{controller.project.queue.db_id_prefix or ''}{number['next_id']}"
        # Its document first: a flow that names a job that is not there could not be run again.
        controller.jobs.insert_one(get_initial_job_doc_dict(tail, list(uuids), db_id, light, None, None, 0))
        added = {
            "$push": {"jobs": tail.uuid, "ids": [db_id, tail.uuid, tail.index]},
            "$set": {f"parents.{tail.uuid}": {str(tail.index): list(uuids)}},
        }
        controller.flows.update_one({"uuid": flow_uuid}, added)
        flow = controller.get_flow_info_by_flow_uuid(flow_uuid, ["jobs"])
        controller.refresh_children(flow["jobs"])  # the jobs may have ended meanwhile

    def _part(self, uuid: str) -> None:
        """Take a job from the parents of tails that have begun: they are not to wait for it again."""
        flow = self.controller.get_flow_info_by_job_uuid(uuid, ["jobs"])
        begun = {"uuid": {"$in": flow["jobs"]}, "parents": uuid, "state": {"$nin": list(NOT_STARTED)}}
        for tail in self.controller.get_jobs(begun, ["uuid", "index"]):
            place = f"parents.{tail['uuid']}.{tail['index']}"
            self.controller.flows.update_one({"jobs": uuid}, {"$pull": {place: uuid}})
            self.controller.jobs.update_one({"uuid": tail["uuid"]}, {"$pull": {"parents": uuid}})

    @contextmanager
    def _unlocked(self, what: str) -> Iterator[None]:
        """Explain a lock that a runner has left when it was killed."""
        from jobflow_remote.utils.db import LockedDocumentError

        try:
            yield
        except LockedDocumentError as error:
            raise LockedError(f"{what} is locked in the queue ({error}); {unlocking(self.controller)}") from error
        except ValueError as error:  # in a state for which there is no such call any more
            raise LockedError(f"{what} was changed in the queue meanwhile ({error})") from error

    def _set(self, document: Document, changes: Document) -> bool:
        """Change a job that is as it was seen; False where it is not, because another advance was faster."""
        here = {name: document[name] for name in ("uuid", "index", "state", "updated_on")}
        return self.controller.jobs.update_one(here, {"$set": changes}).matched_count == 1

    def _whole(self, flow_uuid: str) -> None:
        self.controller.flows.update_one({"uuid": flow_uuid}, {"$set": {"metadata.whole": True}})

    def _flow_of(self, uuid: str) -> str:
        return str(self.known([uuid])[uuid]["job"]["hosts"][-1])


def counts(document: Document) -> Counts:
    """How a job of the queue had ended before the end that it is at now."""
    metadata = document["job"]["metadata"]
    before = metadata.get("before") or {}
    found = before if before.get("end") == str(document["updated_on"]) else metadata
    return Counts(int(found.get("attempts") or 0), int(found.get("transfers") or 0))


def _counted(document: Document, after: Counts) -> Document:
    """Metadata with an end counted, and which: after a kill before the job runs again it is not counted twice."""
    return {**asdict(after), "before": {**asdict(counts(document)), "end": str(document["updated_on"])}}


def _duplicate(error: BulkWriteError) -> bool:
    return all(problem.get("code") == DUPLICATE for problem in (error.details or {}).get("writeErrors", []))


def _manager(chosen: Route) -> Document:
    # An empty dict would not mean those of the worker, but none.
    return {"worker": chosen.worker, "exec_config": chosen.exec_config, "resources": chosen.resources or None}


def _subject(job: Job) -> tuple[Engine | None, SpinConfig | None]:
    """Engine and configuration of a job that has them; an engine is its first argument."""
    engine = next((part for part in job.function_args if isinstance(part, Engine)), None)
    config = next((part for part in job.function_args if isinstance(part, SpinConfig)), None)
    return engine, config


def _without(flow: Document, uuid: str) -> Document:
    """Update of a flow's document that takes a job out of it."""
    ids = [item for item in flow["ids"] if item[1] == uuid]
    return {"$pull": {"jobs": uuid, "ids": {"$in": ids}}, "$unset": {f"parents.{uuid}": ""}}
