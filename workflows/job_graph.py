"""The jobs of a run that are not done: which are ready, which wait, which can never run. Linear in their number.

Flows that jobs added are read as what they are, JSON text, and a job stays text until it is run, in another process:
making jobflow's objects of thousands of configurations takes ten times the time and the memory. A job that is done
leaves its key behind, nothing else.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from jobflow import Flow, Job
from monty.json import MontyEncoder

from workflows.trusted import decode

Key = tuple[str, int]
Document = dict[str, Any]

FLOW = "a flow in the store, which a job added,"

AUTO = "auto"
"""Order of the jobs in a flow that their references decide alone."""


def kind_of(metadata: Document) -> str:
    """``label``, ``train``... as the job's maker recorded it; used for display and accounting only."""
    return str(metadata.get("kind", "job"))


@dataclass(slots=True)
class OpenJob:
    """A job that is not done. ``parents``: uuids of the jobs that it refers to."""

    uuid: str
    index: int
    name: str
    kind: str
    dynamic: bool
    parents: frozenset[str]
    source: Job | Document | str
    waits: int = 0
    """Jobs that must be done before."""

    @property
    def key(self) -> Key:
        """Uuid and index."""
        return self.uuid, self.index

    def text(self) -> str:
        """The job as JSON text, as workers take it."""
        return self.source if isinstance(self.source, str) else json.dumps(self.source, cls=MontyEncoder)

    def pack(self) -> None:
        """Keep a job that waits as text, which takes least memory."""
        if isinstance(self.source, dict):
            self.source = json.dumps(self.source)

    def job(self) -> Job:
        """The job as jobflow's object."""
        return self.source if isinstance(self.source, Job) else decode(self.text(), f"job {self.uuid}")


def jobs_in(flow: Flow | str) -> Iterator[OpenJob]:
    """Jobs of a flow, which is an object or JSON text, such that none comes before those it refers to."""
    document = json.loads(flow) if isinstance(flow, str) else None
    if document is not None and _decided_by_references(document):
        yield from _in_document(document)
        return
    found: Flow = decode(flow, FLOW) if isinstance(flow, str) else flow
    for job, parents in found.iterflow():
        dynamic = bool(job.metadata.get("dynamic"))
        yield OpenJob(job.uuid, job.index, job.name, kind_of(job.metadata), dynamic, frozenset(parents), job)


def _decided_by_references(document: Document) -> bool:
    if "jobs" not in document:
        return True
    return document.get("order", AUTO) == AUTO and all(_decided_by_references(part) for part in document["jobs"])


def _in_document(document: Document) -> Iterator[OpenJob]:
    if "jobs" in document:
        for part in document["jobs"]:
            yield from _in_document(part)
        return
    parents = {*_references(document["function_args"]), *_references(document["function_kwargs"])}
    metadata = document.get("metadata") or {}
    yield OpenJob(
        document["uuid"],
        document["index"],
        document["name"],
        kind_of(metadata),
        bool(metadata.get("dynamic")),
        frozenset(parents),
        document,
    )


def _references(content: Any) -> Iterator[str]:
    """Uuids of the jobs whose outputs are referred to."""
    if isinstance(content, list):
        for part in content:
            if isinstance(part, list | dict):
                yield from _references(part)
    elif isinstance(content, dict):
        if content.get("@class") == "OutputReference":
            yield content["uuid"]
        yield from _references(list(content.values()))


class JobGraph:
    """What is still to be done, and what depends on what. Several jobs may have one uuid: a replacement is one more."""

    def __init__(self) -> None:
        self.jobs: dict[Key, OpenJob] = {}
        """Jobs that are not done and may still run, those at work among them."""
        self.known: set[Key] = set()
        self.ready: list[OpenJob] = []
        """What has become ready since the last :meth:`take_ready`."""
        self.dead: set[str] = set()
        """Uuids whose job, or one of whose parents, failed."""
        self._new: list[OpenJob] = []
        self._open: defaultdict[str, int] = defaultdict(int)
        self._children: defaultdict[str, list[Key]] = defaultdict(list)

    def add(self, jobs: Collection[OpenJob]) -> None:
        """Take in jobs that are not done. :meth:`link` has to follow, once all that are known are here."""
        for job in jobs:
            job.pack()
            self.jobs[job.key] = job
            self._open[job.uuid] += 1
            self._new.append(job)

    def link(self) -> None:
        """Find out what new jobs wait for. Those without open parents are ready."""
        new, self._new = self._new, []
        for job in new:
            before = [uuid for uuid in job.parents if uuid in self._open]
            job.waits = len(before)
            for uuid in before:
                self._children[uuid].append(job.key)
            if job.parents & self.dead:
                self._drop(job.key)
            elif not before:
                self.ready.append(job)

    def take_ready(self) -> list[OpenJob]:
        """Jobs that have become ready since this was asked for last."""
        taken, self.ready = self.ready, []
        return taken

    def leave(self, key: Key) -> None:
        """A job is done somewhere else: it is no concern of this run any more, what depends on it stays waiting."""
        del self.jobs[key]

    def done(self, key: Key) -> None:
        """A job is done: what waited for it alone is ready."""
        del self.jobs[key]
        self._open[key[0]] -= 1
        if self._open[key[0]]:
            return
        del self._open[key[0]]
        for child in self._children.pop(key[0], ()):
            if (job := self.jobs.get(child)) is not None:
                job.waits -= 1
                if not job.waits:
                    self.ready.append(job)

    def failed(self, key: Key) -> None:
        """A job failed: what depends on it can never run."""
        self._drop(key)

    def _drop(self, key: Key) -> None:
        lost = [key]
        while lost:
            one = lost.pop()
            if self.jobs.pop(one, None) is not None:
                self.dead.add(one[0])
                lost += self._children.pop(one[0], ())
