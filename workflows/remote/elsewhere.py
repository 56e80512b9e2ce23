"""The queue of a cluster as the place where a run's heavy jobs are done (:class:`workflows.submit.Elsewhere`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jobflow import Job

from workflows.campaign import CampaignOptions
from workflows.jobs.label import crash_document
from workflows.remote.queue import PENDING
from workflows.remote.retries import Decision, cause_of, decide
from workflows.remote.routing import RemoteOptions
from workflows.remote.submission import Submission, attempts
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
    ):
        self.controller, self.routing, self.options, self.asked = controller, routing, options, asked
        self.submission = Submission(controller, routing, options.name, lambda uuids: tail(options, uuids))
        self.returned = False
        """Whether results were met that the run has not seen yet."""

    def takes(self, job: Job) -> bool:
        """Calculations and trainings; a lattice from a model is light, and its model lies in the campaign's folder."""
        kind = job_kind(job)
        return kind == "label" or (kind == "parent" and not job.function_args[1])

    def give(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Submit what the queue does not know, and decide about what ended there; uuid -> error of the hopeless."""
        known = self.submission.known(job.uuid for job in jobs)
        new = [job for job in jobs if job.uuid not in known]
        refused: dict[str, str] = {}
        for job in jobs:
            document = known.get(job.uuid)
            if document is not None and document["state"] not in PENDING:
                error = self._ended(job, document)
                refused |= {job.uuid: error} if error else {}
        self.submission.submit(new)
        self.submission.follow([uuid for uuid in known if uuid not in refused])
        return refused

    def waiting(self) -> int:
        """Heavy jobs of the campaign in the queue."""
        return self.routing.in_flight - self.submission.room()

    def _ended(self, job: Job, document: Document) -> str:
        """Act on a job that ended in the queue; returns its error where nothing more can be done."""
        if self._stored(job):
            self.returned = True
            return ""
        found = _decision(document, job_kind(job), self.routing.retries, self.asked)
        if found.action == "again":
            self.submission.again(job, document, found.clean)
        elif found.action == "resume":
            self.submission.resume(document)
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
        tries = attempts(document) + 1
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
    return decide(kind, document["state"], cause, attempts(document), most, asked)


def _told(document: Document) -> str:
    """Last line of what a job of the queue said, and where."""
    text = document.get("error") or document["remote"].get("error") or document["state"]
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return f"{lines[-1] if lines else document['state']} (worker {document['worker']}, {document.get('run_dir')})"
