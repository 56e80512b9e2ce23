"""How far each job of a campaign is: the flow its file describes, and every flow that its jobs added.

Read only, and without the model: job documents of the store tell what is done, the log of the campaign's runs on this
machine what was begun or failed. So a campaign that was edited is shown as a run would go on with it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
from jobflow import Flow, Job

from datastore import SpinStore
from datastore.costs import LOG_FILE, log_events
from datastore.schema import SpinConfig
from datastore.stores import explained
from workflows.jobs.chunk import FOLDER, LEVEL, SLICE
from workflows.jobs.label import label_uuid
from workflows.jobs.slices import Slices
from workflows.submit import JOBS, folder_of, job_kind

State = Literal["done", "running", "failed", "waiting"]
Document = dict[str, Any]

TOLD = ("evaluate", "promote", "select", "decide", "conclude")
"""Kinds of jobs whose outputs say how the campaign goes; those of others are large and stay in the store."""

ERROR_FILE = "error.txt"


@dataclass(frozen=True)
class CampaignJob:
    """One job. ``generation``: round that it belongs to. A label that failed is done, with its failure on record."""

    uuid: str
    name: str
    kind: str
    generation: int
    state: State
    config: SpinConfig | None = None
    """What a label that is not done is to compute, where its job is there."""
    size: tuple[str, int, float] | None = None
    """Formula, atoms and core seconds of a label that is not done and that a chunk is still to add."""
    failure: str = ""
    """Error of a label on record, in one line."""
    seconds: float | None = None
    """Wall seconds of a training that is done."""
    completed: str = ""
    """ISO 8601; empty where it is not done."""
    output: Document | None = None
    """Of a job that is done, where its kind is one of TOLD."""

    @property
    def folder(self) -> str:
        """Name of the folder with its files, below ``jobs/`` in the campaign's folder."""
        return folder_of(self.name, self.uuid)


@dataclass(frozen=True)
class _Found:
    uuid: str
    name: str
    kind: str
    dynamic: bool
    config: SpinConfig | Document | None
    chunk: tuple[str, int, str] | None = None
    """Folder and number of the slice whose labels it adds, and their level of theory."""
    size: tuple[str, int, float] | None = None


def campaign_jobs(flow: Flow, store: SpinStore | None, folder: Path, since: float | None = None) -> list[CampaignJob]:
    """Jobs of ``flow`` and of the flows they added, in that order; without a store nothing is done.

    ``folder``: the campaign's, for the log of its runs. ``since``: start of the run that is at work now (Unix time),
    None where none is: then nothing is running, whatever the log says. A failure before it will be tried again.
    """
    log = _newest(folder / LOG_FILE)
    jobs: list[CampaignJob] = []
    waiting: deque[list[_Found] | _Found] = deque([_of_flow(flow)])
    seen: set[str] = set()
    while waiting:
        next_one = waiting.popleft()
        for found in [next_one] if isinstance(next_one, list) else _added(store, next_one):
            batch = [job for job in found if job.uuid not in seen]
            seen.update(job.uuid for job in batch)
            documents = {} if store is None else _documents(store, batch)
            grown = set() if store is None else _grown(store, batch)
            for job, generation in zip(batch, _generations(batch), strict=True):
                document = documents.get(job.uuid)
                if document is not None and job.dynamic and job.uuid not in grown:
                    document = None  # killed between its two writes: it runs again
                waiting += [list(_to_come(job))] if document is None and job.chunk else []
                jobs.append(_job(job, generation, document, log.get(job.uuid), since))
                waiting += [job] if job.uuid in grown else []
    return jobs


def error_of(job: CampaignJob, folder: Path) -> tuple[str, str]:
    """What a failed job said, in one line, and the file with the details; both empty where there is no such file."""
    path = folder / JOBS / job.folder / ERROR_FILE
    if not path.is_file():
        return "", ""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return (lines[-1] if lines else ""), str(path)


def _newest(path: Path) -> dict[str, Mapping[str, Any]]:
    """uuid -> its last line in the log."""
    return {event["uuid"]: event for event in log_events(path)}


def _of_flow(flow: Flow) -> list[_Found]:
    """Jobs in the order they were added; ``iterflow`` loads what draws graphs, for a third of a second."""
    return [found for part in flow.jobs for found in (_of_flow(part) if isinstance(part, Flow) else [_of_job(part)])]


def _of_job(job: Job) -> _Found:
    config = next((part for part in job.function_args if isinstance(part, SpinConfig)), None)
    dynamic = bool(job.metadata.get("dynamic"))
    return _Found(job.uuid, job.name, job_kind(job), dynamic, config, _chunk(job.metadata))


def _of_document(document: Document, plain: bool = False) -> Iterator[_Found]:
    """Jobs in a stored flow, read as what it is: making jobflow's objects of all its parts would take much longer.

    ``plain``: also configurations stay documents; most are of labels that are done, and nobody asks for them.
    """
    if document.get("@class") == "Flow":
        for part in document["jobs"]:
            yield from _of_document(part, plain)
        return
    metadata = document.get("metadata") or {}
    kind, dynamic = str(metadata.get("kind", "job")), bool(metadata.get("dynamic"))
    configs = [part for part in document.get("function_args") or [] if _is_config(part)]
    config = None if not configs else configs[0] if plain else SpinConfig.from_document(configs[0])
    yield _Found(document["uuid"], document["name"], kind, dynamic, config, _chunk(metadata))


def _chunk(metadata: Document) -> tuple[str, int, str] | None:
    return (metadata[FOLDER], metadata[SLICE], metadata[LEVEL]) if LEVEL in metadata else None


def _to_come(job: _Found) -> Iterator[_Found]:
    """Labels that the job of a chunk is to add; some may be done, as after an edit of the campaign's file."""
    folder, at, level = job.chunk or ("", 0, "")
    slices = Slices(folder)
    if slices.exists:
        for config_id, size in zip(slices.config_ids(at), slices.sizes(at), strict=True):
            yield _Found(label_uuid(config_id, level), f"label of {job.name}", "label", False, None, size=size)


def _is_config(part: Any) -> bool:
    return isinstance(part, dict) and part.get("@class") == "SpinConfig"


def _generations(batch: Sequence[_Found]) -> list[int]:
    """Round of each job: the number in its name; labels have none and go with the first job that uses them."""
    own = [_number(job.name) if job.kind != "label" else None for job in batch]
    shared = next((number for number in own if number is not None), 0)
    return [shared if number is None else number for number in own]


def _number(name: str) -> int | None:
    found = re.match(r"[a-z-]+ (\d+)\b", name)
    return int(found[1]) if found else None


def _documents(store: SpinStore, batch: Sequence[_Found]) -> dict[str, Document]:
    """uuid -> what the store has of a job's output; whole for kinds of TOLD."""
    fields = ["uuid", "completed_at", "output.error_type", "output.error", "output.seconds"]
    told = [job.uuid for job in batch if job.kind in TOLD]
    others = [job.uuid for job in batch if job.kind not in TOLD]
    found: dict[str, Document] = {}
    with explained(store.uri):
        for uuids, properties in ((others, fields), (told, ["uuid", "completed_at", "output"])):
            if uuids:
                found |= {d["uuid"]: d for d in store.jobs.query({"uuid": {"$in": uuids}}, properties)}
    return found


def _grown(store: SpinStore, batch: Sequence[_Found]) -> set[str]:
    """uuids of those jobs that have stored the flows they added."""
    uuids = [job.uuid for job in batch if job.dynamic]
    if not uuids:
        return set()
    with explained(store.uri):
        return {d["uuid"] for d in store.flows.query({"uuid": {"$in": uuids}}, ["uuid"])}


def _added(store: SpinStore | None, job: _Found) -> Iterator[list[_Found]]:
    """Jobs of each flow that a job, or its replacement, has added; read one after the other."""
    assert store is not None
    with explained(store.uri):
        for document in store.flows.query({"uuid": job.uuid}):
            for text in document["flows"]:
                yield list(_of_document(orjson.loads(text), plain=True))


def _job(
    job: _Found, generation: int, document: Document | None, event: Mapping[str, Any] | None, since: float | None
) -> CampaignJob:
    if document is None:
        state = _unfinished(event, since)
        config = SpinConfig.from_document(job.config) if isinstance(job.config, dict) else job.config
        return CampaignJob(job.uuid, job.name, job.kind, generation, state, config=config, size=job.size)
    output = document.get("output")
    told = output if isinstance(output, dict) else {}
    failure = f"{told['error_type']}: {told.get('error', '')}" if job.kind == "label" and "error_type" in told else ""
    return CampaignJob(
        job.uuid,
        job.name,
        job.kind,
        generation,
        "done",
        failure=failure,
        seconds=told.get("seconds") if job.kind == "train" else None,
        completed=str(document.get("completed_at") or ""),
        output=told if job.kind in TOLD else None,
    )


def _unfinished(event: Mapping[str, Any] | None, since: float | None) -> State:
    """A job without output: its last line in the log decides, as far as the run at work wrote it."""
    if event is None:
        return "waiting"
    if event["event"] == "started":
        return "running" if since is not None and event["time"] >= since else "waiting"
    if event["event"] == "failed":
        return "failed" if since is None or event["time"] >= since else "waiting"
    return "waiting"
