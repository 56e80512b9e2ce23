"""Run a flow on this machine: many jobs side by side, resumable, no job twice.

jobflow's own ``run_locally`` runs one job at a time and forgets everything when it ends. Here each job's output is in
the store before it counts as done, job uuids are derived from what the job computes, and a second run of the same flow
takes from the store what is there. So does a run beside others in the same store: it looks again right before it starts
a calculation. What two runs start at the same time is still computed twice, and stored once.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from jobflow import Flow, Job

from datastore.costs import LOG_FILE
from workflows.job_graph import JobGraph, Key, OpenJob, jobs_in, kind_of
from workflows.job_store import CampaignJobStore, open_job_store
from workflows.jobs.label import crash_document
from workflows.names import short_name
from workflows.processes import SINGLE_THREAD

Event = dict[str, Any]

JOBS = "jobs"
"""Folder of the jobs' files, in that of the run."""

SHARED = ("label", "parent")
"""Kinds of jobs that other campaigns in the same store may have too; each costs far more than a look into the store."""


CHUNK = "chunk"
"""Kind of the jobs that labels replace (:mod:`workflows.jobs.chunk`, which imports more than a run needs)."""

MOST_TOLD = 3
"""Failed jobs that a RunError tells of."""


class RunError(RuntimeError):
    """Jobs that failed: what the first say, and how many more. Nothing finished is lost; the same command continues."""


class Elsewhere(Protocol):
    """A place that does some of the jobs of a run, such as the queue of a cluster, after the run has ended."""

    def takes(self, job: Job) -> bool:
        """Whether a job that is ready is done there, and not here."""

    def give(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Hand over such jobs, also those that are there already; uuid -> error of those that cannot be done."""


@dataclass
class RunResult:
    """What one call of :func:`run_local` did."""

    executed: int = 0
    reused: int = 0
    seconds: float = 0.0
    executed_by_kind: dict[str, int] = field(default_factory=dict)
    away: int = 0
    """Jobs that are not done because they are somewhere else; what depends on them was not begun."""
    uuids: dict[str, list[str]] = field(default_factory=dict)
    """Kind -> uuids of all jobs of the flow, run now or taken from the store, in the order they were added."""


def run_local(
    flow: Flow,
    store_uri: str,
    folder: Path,
    workers: int | None = None,
    watch: Callable[[Event], None] | None = None,
    elsewhere: Elsewhere | None = None,
) -> RunResult:
    """Run ``flow`` and every flow its jobs add, ``workers`` jobs at a time (default: one per core).

    ``watch`` receives events: ``added`` (name, kind, done), ``started``, ``progress``, ``done``, ``failed``. Ready jobs
    that ``elsewhere`` takes are handed over, and the run ends when nothing is left to do here.
    Raises RunError when jobs failed; jobs that do not depend on them are finished first, but no calculation is begun
    any more where the machine is what stands in the way (no time, no space).
    """
    started = time.time()
    run = _Run(open_job_store(store_uri), store_uri, folder.resolve(), watch or (lambda event: None), elsewhere)
    run.add(flow)
    try:
        run.loop(workers or len(os.sched_getaffinity(0)))
    finally:
        run.stop()
    run.result.seconds = time.time() - started
    if run.failed:
        raise RunError(run.told())
    return run.result


def job_kind(job: Job) -> str:
    """``label``, ``train``... as the job's maker recorded it; used for display and accounting only."""
    return kind_of(job.metadata)


def folder_name(job: Job) -> str:
    """Where a job's files go, below JOBS in the folder of the run."""
    return folder_of(job.name, job.uuid)


def folder_of(name: str, uuid: str) -> str:
    """As :func:`folder_name`, of a job whose name and uuid are known."""
    return f"{short_name(name.replace(' ', '_').replace('/', '_'))}-{uuid[:8]}"


class _Run:
    """State of one run: jobs waiting, running and done."""

    def __init__(
        self,
        store: CampaignJobStore,
        uri: str,
        folder: Path,
        watch: Callable[[Event], None],
        elsewhere: Elsewhere | None = None,
    ):
        self.store, self.uri, self.folder, self.watch, self.elsewhere = store, uri, folder, watch, elsewhere
        self.graph = JobGraph()
        self.ready: deque[OpenJob] = deque()
        self.failed: list[str] = []
        self.halted = False  # the machine has no time or space for calculations
        self.workers: list[_Worker] = []
        self.result = RunResult()

    def add(self, *flows: Flow | str) -> None:
        """Register the jobs of flows; those with a stored output are done, and the flows they added follow."""
        self._register(*flows)
        self.graph.link()

    def _register(self, *flows: Flow | str) -> None:
        waiting: deque[Flow | str | OpenJob] = deque(flows)
        while waiting:
            one = waiting.popleft()
            if isinstance(one, OpenJob):  # one after the other: those of a large campaign are hundreds of MB
                if not self._finished_chunk(one):
                    waiting.extendleft(reversed(self._flows_of(one.key)))
                continue
            found = {job.key: job for job in jobs_in(one) if job.key not in self.graph.known}
            done = self._stored(list(found.values()))
            for key, job in found.items():
                self._tell("added", job, done=key in done)
                self.result.uuids.setdefault(job.kind, []).append(job.uuid)
            self.graph.known.update(found)
            self.result.reused += len(done)
            self.graph.add([job for key, job in found.items() if key not in done])
            waiting.extend(found[key] for key, grown in done.items() if grown)

    def _finished_chunk(self, job: OpenJob) -> bool:
        """Whether the job is a chunk whose labels are all done; they count as found, and its flow need not be read.

        Its replacement's last job has its uuid, the next index, and references to all labels for an output.
        """
        if job.kind != CHUNK:
            return False
        last = {"uuid": job.uuid, "index": job.index + 1}
        document = self.store.spin_store.jobs.query_one(last, ["output"])
        if document is None:
            return False
        for label in document["output"]:
            key = (label["uuid"], 1)
            if key not in self.graph.known:
                self.graph.known.add(key)
                self.result.reused += 1
                self.result.uuids.setdefault("label", []).append(key[0])
                self.watch({"kind": "added", "job": job.name, "type": "label", "uuid": key[0], "done": True})
        return True

    def _stored(self, jobs: Sequence[OpenJob]) -> dict[Key, bool]:
        """Keys of jobs whose output is stored -> whether they added flows.

        A job marked dynamic counts only with its flows: a kill between the two writes makes it run again.
        """
        wanted, properties = {"uuid": {"$in": [job.uuid for job in jobs]}}, ["uuid", "index"]
        spin_store = self.store.spin_store
        stored = {(d["uuid"], d["index"]) for d in spin_store.jobs.query(wanted, properties)}
        grown = {(d["uuid"], d["index"]) for d in spin_store.flows.query(wanted, properties)}
        return {
            job.key: job.key in grown for job in jobs if job.key in stored and (job.key in grown or not job.dynamic)
        }

    def _flows_of(self, key: Key) -> list[str]:
        document = self.store.spin_store.flows.query_one({"uuid": key[0], "index": key[1]}, ["flows"])
        return list(document["flows"]) if document else []

    def loop(self, workers: int) -> None:
        """Hand out ready jobs and take in answers until nothing is left to do."""
        selector = selectors.DefaultSelector()
        while True:
            self._hand_over()
            while (job := self._next_ready()) is not None:
                worker = self._idle_worker(workers, selector)
                if worker is None:
                    self.ready.appendleft(job)
                    break
                if not self._done_elsewhere(job):
                    self._start(worker, job)
            if not any(worker.job for worker in self.workers):
                break
            for ready, _ in selector.select(timeout=1.0):
                self._take(ready.data, selector)
            self.watch({"kind": "tick"})

    def _hand_over(self) -> None:
        """Give away those of the newly ready jobs that are done elsewhere; what depends on them stays waiting."""
        new = self.graph.take_ready()
        # Each is decoded once: there may be a thousand.
        made = [] if self.elsewhere is None else [(job, job.job()) for job in new]
        leaving = {job.key: (job, one) for job, one in made if self.elsewhere is not None and self.elsewhere.takes(one)}
        for job in new:
            if job.dynamic and job.key not in leaving:  # it adds jobs: the others should never run out of work
                self.ready.appendleft(job)
            elif job.key not in leaving:
                self.ready.append(job)
        if self.elsewhere is None or not leaving:
            return
        refused = self.elsewhere.give([one for _, one in leaving.values()])
        self.result.away += len(leaving) - len(refused)
        for job, _ in leaving.values():
            if job.uuid in refused:
                self._finish(job, {"kind": "failed", "error": refused[job.uuid]})
            else:
                self.graph.leave(job.key)

    def _next_ready(self) -> OpenJob | None:
        """The next job, but no calculation where the machine has no time or space for one: those are not begun."""
        while self.ready:
            job = self.ready.popleft()
            if not (self.halted and job.kind in SHARED):
                return job
        return None

    def _idle_worker(self, most: int, selector: selectors.BaseSelector) -> _Worker | None:
        for worker in self.workers:
            if worker.job is None:
                return worker
        if len(self.workers) >= most:
            return None
        worker = _Worker(self.uri, self.folder)
        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
        self.workers.append(worker)
        return worker

    def _done_elsewhere(self, job: OpenJob) -> bool:
        """Whether another run has finished the job meanwhile; then it counts as reused."""
        stored = self._stored([job]) if job.kind in SHARED else {}
        if job.key not in stored:
            return False
        self.add(*self._flows_of(job.key))
        self.result.reused += 1
        self.graph.done(job.key)
        self._tell("done", job, reused=True)
        return True

    def _start(self, worker: _Worker, job: OpenJob) -> None:
        self._tell("started", job)
        self._ledger("started", job)
        worker.give(job)

    def _tell(self, event: str, job: OpenJob, **more: Any) -> None:
        self.watch({**more, "kind": event, "job": job.name, "type": job.kind, "uuid": job.uuid})

    def _take(self, worker: _Worker, selector: selectors.BaseSelector) -> None:
        """Read what a worker has to say; an end of file means that it died."""
        messages = worker.read()
        if messages is None:
            selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
            self.workers.remove(worker)
            self._died(worker)
            return
        for message in messages:
            if message["kind"] == "progress":
                self.watch({**message, "job": worker.job.name if worker.job else ""})
            elif message["kind"] in ("done", "failed") and worker.job:
                job, worker.job = worker.job, None
                self._finish(job, message)

    def _finish(self, job: OpenJob, message: Event) -> None:
        self._ledger(message["kind"], job, seconds=message.get("seconds"))
        if message["kind"] == "failed":
            self.failed.append(f"{job.name}: {message['error']}")
            self.graph.failed(job.key)
            self.halted = self.halted or bool(message.get("later"))
        else:
            self.add(*message["flows"])
            self.result.executed += 1
            count = self.result.executed_by_kind
            count[job.kind] = count.get(job.kind, 0) + 1
            self.graph.done(job.key)
        self._tell(job=job, event=message["kind"], **{name: message[name] for name in message.keys() - {"kind"}})

    def _died(self, worker: _Worker) -> None:
        """A worker that vanished takes one job with it: a label becomes a recorded failure, anything else an error.

        Unless it vanished between storing the output and saying so: then the job is done.
        """
        if (job := worker.job) is None:
            return
        reason = f"its process ended with {worker.ending()}"
        stored, seconds = self._stored([job]), time.time() - worker.given
        if job.key in stored:
            self._finish(job, {"kind": "done", "flows": self._flows_of(job.key), "seconds": seconds})
        elif job.kind == "label":
            folder = self.folder / JOBS / folder_of(job.name, job.uuid)
            document = crash_document(job.job(), reason, seconds, folder)
            self.store.update([{**document, "uuid": job.uuid, "index": job.index}], key=["uuid", "index"])
            self._finish(job, {"kind": "done", "flows": [], "seconds": seconds})
        else:
            self._finish(job, {"kind": "failed", "error": reason, "seconds": seconds})

    def _ledger(self, event: str, job: OpenJob, seconds: float | None = None) -> None:
        """Append to ``calculations.jsonl``: what was started and finished, for accounting after a crash."""
        self.folder.mkdir(parents=True, exist_ok=True)
        entry = {"time": time.time(), "event": event, "type": job.kind, "job": job.name, "uuid": job.uuid}
        with (self.folder / LOG_FILE).open("a") as file:
            file.write(json.dumps(entry if seconds is None else {**entry, "seconds": seconds}) + "\n")

    def told(self) -> str:
        """The first failures, how many more there are, and how many calculations were not begun."""
        more = len(self.failed) - MOST_TOLD
        waiting = sum(job.kind in SHARED for job in self.graph.jobs.values())
        rest = [f"and {more} more"] if more > 0 else []
        if waiting:
            rest.append(f"{waiting} calculations were not begun; the same command continues with them")
        return "; ".join([*self.failed[:MOST_TOLD], *rest])

    def stop(self) -> None:
        """End all workers; jobs in flight are simply run again next time."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
        self.store.close()


class _Worker:
    """A worker process and the job it has."""

    def __init__(self, uri: str, folder: Path):
        self.job: OpenJob | None = None
        self.given = 0.0  # when it got its job
        self.buffer = b""
        folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workflows.worker", str(folder / JOBS), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **SINGLE_THREAD},
            start_new_session=True,  # Ctrl-C is for the parent, which ends its workers
        )
        self._send({"store": uri})  # it may hold a password, and everybody can read arguments

    def give(self, job: OpenJob) -> None:
        """Send a job; its files go to ``jobs/NAME-UUID``."""
        self.job, self.given = job, time.time()
        folder = folder_of(job.name, job.uuid)
        self._send({"uuid": job.uuid, "index": job.index, "folder": folder, "job": job.text()})

    def _send(self, message: Event) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died just now: the end of file on its stdout tells the loop

    def read(self) -> list[Event] | None:
        """Complete messages that have arrived; None when the process has closed its end."""
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def ending(self) -> str:
        """How the process ended, for people."""
        code = self.process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"
