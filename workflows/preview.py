"""What a campaign would do next, and which labels it would choose and why, without doing it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobflow import Flow

from datastore import SpinStore, open_store
from datastore.stores import explained
from workflows.campaign import CampaignOptions
from workflows.campaign_jobs import CampaignJob, campaign_jobs
from workflows.engines import Engine
from workflows.flows import CampaignMaker
from workflows.jobs.champion import with_champion
from workflows.jobs.decide import decision
from workflows.jobs.explore import explore_job, sources
from workflows.jobs.select import choose_next
from workflows.status import campaign_status
from workflows.submit import job_kind

Document = dict[str, Any]


@dataclass(frozen=True)
class Preview:
    """``round``: that of ``selection``, the next labels with score and reason; 0 and empty where none are chosen next.

    ``asked``: whether that choice is made already, so that a run calculates it. ``decision``: whether another round
    follows the last one that was judged, and why. ``explored``: per source, how many candidates it gave.
    """

    campaign: str
    state: str
    next: list[str]
    decision: Document | None = None
    round: int = 0
    asked: bool = False
    selection: list[Document] = field(default_factory=list)
    explored: list[Document] = field(default_factory=list)


def preview(options: CampaignOptions, engine: Engine) -> Preview:
    """The next step of a campaign. Reads its store; candidates of models go to a temporary folder."""
    status = campaign_status(options, engine)
    plain = Preview(options.name, status.state, status.next)
    if status.state in ("not started", "finished"):
        ended = {"stop": True, "why": status.stopped_because}
        return replace(plain, decision=ended) if status.stopped_because else plain
    with open_store(options.store, create=False) as store:
        jobs = campaign_jobs(CampaignMaker(options, engine).make(), store, Path(options.folder))
        return _of_round(plain, options, engine, store, jobs)


def _of_round(
    plain: Preview, options: CampaignOptions, engine: Engine, store: SpinStore, jobs: Sequence[CampaignJob]
) -> Preview:
    """From the last promotion that the stored flows know. After an edit of the file, from there to where it leads."""
    promoted = [job for job in jobs if job.kind == "promote" and job.output]
    if not promoted:
        return plain
    number, previous = promoted[-1].generation, with_champion(options, promoted[-1].output or {})
    chosen = [job.output for job in jobs if job.kind == "select" and job.generation > number and job.output]
    if chosen:
        found = decision(options, number, previous)
        return replace(plain, decision=found, round=number + 1, asked=True, selection=chosen[-1]["selected"])
    maker = CampaignMaker(options, engine)
    while not (found := decision(options, number, previous))["stop"]:
        with tempfile.TemporaryDirectory() as folder:
            explored = _explored(options, engine, number + 1, previous, store, Path(folder))
            configs, selection = choose_next(options, engine, number + 1, explored, previous, None)
        previous = {**previous, "history": found["history"]}
        flow = maker.generation(number + 1, configs, previous["point_ids"], previous) if configs else None
        done = None if flow is None else _promotion(flow, store)
        if done is None:
            rows = [{key: one.get(key, []) for key in ("source", "count", "dropped", "notes")} for one in explored]
            return replace(plain, decision=found, round=number + 1, selection=selection, explored=rows)
        number, previous = number + 1, with_champion(options, done)
    return replace(plain, decision=found)


def _promotion(flow: Flow, store: SpinStore) -> Document | None:
    """Output of the promotion that ends a generation; None where that has not run."""
    uuids = [job.uuid for job, _ in flow.iterflow() if job_kind(job) == "promote"]
    with explained(store.uri):
        done = store.jobs.query_one({"uuid": {"$in": uuids}}, ["output"])
    return None if done is None else dict(done["output"])


def _explored(
    options: CampaignOptions, engine: Engine, number: int, previous: Document, store: SpinStore, folder: Path
) -> list[Document]:
    """Candidates of every source: those the campaign has found, else found now, below ``folder``."""
    real = Path(options.folder).resolve() / f"generation_{number}" / "exploration"
    found = []
    for source in sources(options):
        job = explore_job(options, engine, number, source, previous, real)
        with explained(store.uri):
            done = store.jobs.query_one({"uuid": job.uuid}, ["output"])
        if done is None:
            job = explore_job(options, engine, number, source, previous, folder)
            done = {"output": job.function(*job.function_args, **job.function_kwargs)}
        found.append(done["output"])
    return found
