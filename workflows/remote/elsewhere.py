"""The queue of a cluster as the place where a run's heavy jobs are done (:class:`workflows.submit.Elsewhere`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobflow import Job

from workflows.campaign import CampaignOptions
from workflows.jobs.label import crash_document
from workflows.remote.holding import go_on
from workflows.remote.queue import FILES, PENDING, QueueWarning
from workflows.remote.retries import Decision, cause_of, decide, killed_pilot
from workflows.remote.routing import RemoteOptions, route
from workflows.remote.submission import LockedError, Submission, counts
from workflows.remote.training import PART, StuckError, drop_copies, next_part, part_uuid, parts_of, take_in
from workflows.submit import job_kind

if TYPE_CHECKING:
    from jobflow_remote.jobs.jobcontroller import JobController

Document = dict[str, Any]


class Queue:
    """Hands labels, lattices and trainings of one campaign to the queue, and decides about those that failed there."""

    def __init__(
        self,
        controller: JobController,
        routing: RemoteOptions,
        options: CampaignOptions,
        tail: Callable[[CampaignOptions, Sequence[str]], Job],
        asked: bool,
        held: Callable[[], str],
    ):
        self.controller, self.routing, self.asked, self.held = controller, routing, asked, held
        self.submission = Submission(controller, routing, options.name, lambda uuids: tail(options, uuids))
        self.returned = False
        """Whether results were met that the run has not seen yet."""

    def takes(self, job: Job) -> bool:
        """Calculations and trainings; a lattice from a model is light, and its model lies in the campaign's folder.

        A training that is finished there is taken in, and the run's own job finds it.
        """
        kind = job_kind(job)
        if kind == "train":
            return not self._trained(job)
        return kind == "label" or (kind == "parent" and not job.function_args[1])

    def give(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Submit what the queue does not know, and decide about what ended there; uuid -> error of the hopeless."""
        refused: dict[str, str] = {}
        remote = {}
        for job in jobs:
            try:
                remote[job.uuid] = self._part(job) if job_kind(job) == "train" else job
            except StuckError as error:
                refused[job.uuid] = str(error)
        if self.held():
            return refused
        known = self.submission.known(job.uuid for job in remote.values())
        foreign = {"job.metadata.campaign": {"$ne": self.submission.campaign}}
        go_on(self.controller, {"uuid": {"$in": list(known)}, **foreign})  # another campaign's pause is not ours
        locked = []
        for uuid, job in remote.items():
            document = known.get(job.uuid)
            if document is not None and document["state"] not in PENDING:
                try:
                    hopeless = self._ended(job, document)
                except LockedError as error:
                    locked.append(str(error))
                    continue
                refused |= {uuid: hopeless} if hopeless else {}
        if locked:
            warnings.warn(QueueWarning(f"{len(locked)} jobs are left to the next advance: {locked[0]}"), stacklevel=2)
        self.submission.submit([job for job in remote.values() if job.uuid not in known])
        self.submission.follow([job.uuid for uuid, job in remote.items() if job.uuid in known and uuid not in refused])
        return refused

    def waiting(self) -> int:
        """Heavy jobs of the campaign in the queue."""
        return self.routing.in_flight - self.submission.room()

    def unwanted(self, uuids: Mapping[str, Sequence[str]]) -> int:
        """Calculations of the campaign in the queue that are not among those of its flow (kind -> uuids)."""
        calculations = {"job.metadata.kind": {"$in": ["label", "parent"]}, "state": {"$in": list(PENDING)}}
        mine = {**calculations, "job.metadata.campaign": self.submission.campaign}
        there = {document["uuid"] for document in self.controller.get_jobs(mine, ["uuid"])}
        return len(there.difference(*uuids.values()))

    def tidy(self) -> None:
        """Remove the copies that trainings sent here and there, of those that are done."""
        mine = {"job.metadata.kind": PART, "job.metadata.campaign": self.submission.campaign}
        parts = self.controller.get_jobs(mine, ["uuid", "job.metadata"])
        drop_copies({part["uuid"]: part["job"]["metadata"] for part in parts}, self.controller.jobstore)

    def _part(self, train: Job) -> Job:
        """The next part of a training."""
        chosen = route(self.routing, "train")
        scratch = self.routing.scratch.get(chosen.worker)
        seconds = chosen.resources.get("time_limit")
        return next_part(train, self.controller.jobstore, self._shared(chosen.worker), scratch, seconds)

    def _trained(self, train: Job) -> bool:
        store = self.controller.jobstore
        parts = parts_of(train, store)
        if not parts or not parts[-1]["finished"]:
            return False
        if FILES in parts[-1]:
            take_in(train, store)
            self._purge([part_uuid(train, number) for number in range(len(parts))])
        return True

    def _purge(self, uuids: Sequence[str]) -> None:
        """Remove the folders of these jobs on their worker, of which everything is here; a courtesy."""
        jobs = self.controller.get_jobs_info_query({"uuid": {"$in": list(uuids)}})
        try:
            self.controller.safe_delete_files(jobs)
        except Exception as error:  # of SSH there are many
            warnings.warn(QueueWarning(f"folders of a finished training stay on its worker: {error}"), stacklevel=2)

    def _shared(self, worker: str) -> bool:
        return self.routing.shared.get(worker, False)

    def _ended(self, job: Job, document: Document) -> str:
        """Act on a job that ended in the queue; returns its error where nothing more can be done."""
        if self._stored(job):
            self.returned = True
            return ""
        # What another campaign stopped there may be wanted here.
        foreign = document["job"]["metadata"].get("campaign") != self.submission.campaign
        asked = self.asked or (foreign and document["state"] in ("STOPPED", "USER_STOPPED"))
        found = _decision(document, job_kind(job), self.routing.retries, asked)
        after = counts(document).after(found.cause, asked)
        if found.action == "again":
            self.submission.again(job, document, found.clean, after, elsewhere=found.cause == "purged")
        elif found.action == "resume":
            self.submission.resume(document, after)
        elif found.action == "record":
            self._record(job, document, found)
        elif found.action == "refuse":
            return _told(document)
        return ""

    def _stored(self, job: Job) -> bool:
        wanted = {"uuid": job.uuid, "index": job.index}
        return self.controller.jobstore.docs_store.query_one(wanted, ["uuid"]) is not None

    def _record(self, job: Job, document: Document, found: Decision) -> None:
        """A label that the scheduler ended each time becomes a failure on record, and the campaign goes on."""
        tries = counts(document).attempts + 1
        reason = f"worker {document['worker']} ended it {tries} times, last because of: {found.cause}"
        started, ended = document.get("start_time"), document.get("updated_on")
        seconds = (ended - started).total_seconds() if started and ended else 0.0
        lost = {**crash_document(job, reason, seconds), "uuid": job.uuid, "index": job.index}
        self.controller.jobstore.docs_store.update([lost], key=["uuid", "index"])
        self.returned = True


def _decision(document: Document, kind: str, most: int, asked: bool) -> Decision:
    remote = document["remote"]
    error = f"{document.get('error') or ''}\n{remote.get('error') or ''}"
    output = f"{remote.get('queue_out') or ''}\n{remote.get('queue_err') or ''}"
    cause = cause_of(document["state"], error, output)
    if cause == "lost" and killed_pilot(error):
        cause = "killed"
    return decide(kind, document["state"], cause, counts(document).of(cause), most, asked)


def _told(document: Document) -> str:
    """Last line of what a job of the queue said, and where."""
    text = document.get("error") or document["remote"].get("error") or document["state"]
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return f"{lines[-1] if lines else document['state']} (worker {document['worker']}, {document.get('run_dir')})"
