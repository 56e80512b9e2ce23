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
from monty.json import MontyDecoder, MontyEncoder

from datastore.costs import LOG_FILE
from workflows.job_store import CampaignJobStore, open_job_store
from workflows.jobs.label import crash_document
from workflows.names import short_name
from workflows.processes import SINGLE_THREAD

Event = dict[str, Any]
Key = tuple[str, int]


JOBS = "jobs"
"""Folder of the jobs' files, in that of the run."""

SHARED = ("label", "parent")
"""Kinds of jobs that other campaigns in the same store may have too; each costs far more than a look into the store."""


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
    return str(job.metadata.get("kind", "job"))


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
        self.jobs: dict[Key, Job] = {}
        self.parents: dict[Key, set[str]] = {}
        self.waiting: deque[Key] = deque()
        self.open_uuids: dict[str, int] = {}  # uuid -> jobs of it that are not done (a replace adds one)
        self.failed: list[str] = []
        self.halted = False  # the machine has no time or space for calculations
        self.dead: set[str] = set()  # uuids whose job, or one of whose parents, failed
        self.workers: list[_Worker] = []
        self.result = RunResult()

    def add(self, flow: Flow) -> None:
        """Register the jobs of a flow; those with a stored output are done, and the flows they added follow."""
        new = [(job, set(parents)) for job, parents in flow.iterflow() if (job.uuid, job.index) not in self.jobs]
        done = self._stored([job for job, _ in new])
        for job, parents in new:
            key = (job.uuid, job.index)
            self.jobs[key], self.parents[key] = job, parents
            self.result.uuids.setdefault(job_kind(job), []).append(job.uuid)
            self.watch({"kind": "added", "job": job.name, "type": job_kind(job), "done": key in done, "uuid": job.uuid})
            if key in done:
                self.result.reused += 1
                for text in done[key]:
                    self.add(MontyDecoder().decode(text))
            else:
                self.waiting.append(key)
                self.open_uuids[job.uuid] = self.open_uuids.get(job.uuid, 0) + 1

    def _stored(self, jobs: list[Job]) -> dict[Key, list[str]]:
        """Keys of jobs whose output is stored -> flows they added.

        A job marked dynamic counts only with its flows: a kill between the two writes makes it run again.
        """
        wanted = {"uuid": {"$in": [job.uuid for job in jobs]}}
        spin_store = self.store.spin_store
        stored = {(d["uuid"], d["index"]) for d in spin_store.jobs.query(wanted, properties=["uuid", "index"])}
        flows = {(d["uuid"], d["index"]): d["flows"] for d in spin_store.flows.query(wanted)}
        return {
            key: flows.get(key, [])
            for job in jobs
            if (key := (job.uuid, job.index)) in stored and (key in flows or not job.metadata.get("dynamic"))
        }

    def loop(self, workers: int) -> None:
        """Hand out ready jobs and take in answers until nothing is left to do."""
        selector = selectors.DefaultSelector()
        while True:
            self._hand_over()
            self._skip_dead()
            while self.waiting and (key := self._next_ready()):
                worker = self._idle_worker(workers, selector)
                if worker is None:
                    self.waiting.appendleft(key)
                    break
                if not self._done_elsewhere(key):
                    self._start(worker, key)
            if not any(worker.key for worker in self.workers):
                break
            for ready, _ in selector.select(timeout=1.0):
                self._take(ready.data, selector)
            self.watch({"kind": "tick"})

    def _hand_over(self) -> None:
        """Give away the ready jobs that are done elsewhere; what depends on them stays waiting."""
        if self.elsewhere is None:
            return
        ready = [key for key in self.waiting if not any(self.open_uuids.get(uuid) for uuid in self.parents[key])]
        leaving = {key for key in ready if self.elsewhere.takes(self.jobs[key])}
        if not leaving:
            return
        self.waiting = deque(key for key in self.waiting if key not in leaving)
        jobs = [self.jobs[key] for key in ready if key in leaving]
        refused = self.elsewhere.give(jobs)
        self.result.away += len(jobs) - len(refused)
        for job in jobs:
            if job.uuid in refused:
                self._finish((job.uuid, job.index), {"kind": "failed", "error": refused[job.uuid]})

    def _next_ready(self) -> Key | None:
        for _ in range(len(self.waiting)):
            key = self.waiting.popleft()
            held = self.halted and job_kind(self.jobs[key]) in SHARED
            if not held and not any(self.open_uuids.get(parent) for parent in self.parents[key]):
                return key
            self.waiting.append(key)
        return None

    def _skip_dead(self) -> None:
        """Drop jobs that can never run because a parent failed."""
        changed = True
        while changed:
            changed = False
            for key in list(self.waiting):
                if self.parents[key] & self.dead:
                    self.waiting.remove(key)
                    self.dead.add(key[0])
                    changed = True

    def _idle_worker(self, most: int, selector: selectors.BaseSelector) -> _Worker | None:
        for worker in self.workers:
            if worker.key is None:
                return worker
        if len(self.workers) >= most:
            return None
        worker = _Worker(self.uri, self.folder)
        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
        self.workers.append(worker)
        return worker

    def _done_elsewhere(self, key: Key) -> bool:
        """Whether another run has finished the job meanwhile; then it counts as reused."""
        job = self.jobs[key]
        stored = self._stored([job]) if job_kind(job) in SHARED else {}
        if key not in stored:
            return False
        for text in stored[key]:
            self.add(MontyDecoder().decode(text))
        self.result.reused += 1
        self.open_uuids[job.uuid] -= 1
        self.watch({"kind": "done", "reused": True, "job": job.name, "type": job_kind(job), "uuid": job.uuid})
        return True

    def _start(self, worker: _Worker, key: Key) -> None:
        job = self.jobs[key]
        self.watch({"kind": "started", "job": job.name, "type": job_kind(job), "uuid": job.uuid})
        self._ledger("started", job)
        worker.give(key, job)

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
                self.watch({**message, "job": self.jobs[worker.key].name if worker.key else ""})
            elif message["kind"] in ("done", "failed") and worker.key:
                key, worker.key = worker.key, None
                self._finish(key, message)

    def _finish(self, key: Key, message: Event) -> None:
        job = self.jobs[key]
        self._ledger(message["kind"], job, seconds=message.get("seconds"))
        if message["kind"] == "failed":
            self.failed.append(f"{job.name}: {message['error']}")
            self.dead.add(job.uuid)
            self.halted = self.halted or bool(message.get("later"))
        else:
            for text in message["flows"]:
                self.add(MontyDecoder().decode(text))
            self.result.executed += 1
            count = self.result.executed_by_kind
            count[job_kind(job)] = count.get(job_kind(job), 0) + 1
        self.open_uuids[job.uuid] -= 1
        self.watch({**message, "job": job.name, "type": job_kind(job), "uuid": job.uuid})

    def _died(self, worker: _Worker) -> None:
        """A worker that vanished takes one job with it: a label becomes a recorded failure, anything else an error.

        Unless it vanished between storing the output and saying so: then the job is done.
        """
        if worker.key is None:
            return
        job, reason = self.jobs[worker.key], f"its process ended with {worker.ending()}"
        stored, seconds = self._stored([job]), time.time() - worker.given
        if worker.key in stored:
            self._finish(worker.key, {"kind": "done", "flows": stored[worker.key], "seconds": seconds})
        elif job_kind(job) == "label":
            document = crash_document(job, reason, seconds, self.folder / JOBS / folder_name(job))
            self.store.update([{**document, "uuid": job.uuid, "index": job.index}], key=["uuid", "index"])
            self._finish(worker.key, {"kind": "done", "flows": [], "seconds": seconds})
        else:
            self._finish(worker.key, {"kind": "failed", "error": reason, "seconds": seconds})

    def _ledger(self, event: str, job: Job, seconds: float | None = None) -> None:
        """Append to ``calculations.jsonl``: what was started and finished, for accounting after a crash."""
        self.folder.mkdir(parents=True, exist_ok=True)
        entry = {"time": time.time(), "event": event, "type": job_kind(job), "job": job.name, "uuid": job.uuid}
        with (self.folder / LOG_FILE).open("a") as file:
            file.write(json.dumps(entry if seconds is None else {**entry, "seconds": seconds}) + "\n")

    def told(self) -> str:
        """The first failures, how many more there are, and how many calculations were not begun."""
        more = len(self.failed) - MOST_TOLD
        waiting = sum(job_kind(self.jobs[key]) in SHARED for key in self.waiting)
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
        self.key: Key | None = None
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

    def give(self, key: Key, job: Job) -> None:
        """Send a job; its files go to ``jobs/NAME-UUID``."""
        self.key, self.given = key, time.time()
        request = {
            "uuid": job.uuid,
            "index": job.index,
            "folder": folder_name(job),
            "job": json.dumps(job, cls=MontyEncoder),
        }
        self._send(request)

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
