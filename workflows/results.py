"""What finished campaigns left in their store: the last evaluation, the champion's files, failures to try again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobflow import Flow, Job

from datastore import SpinStore
from datastore.errors import DataError
from datastore.model_files import fetch
from datastore.registry import campaigns, champion, history
from datastore.schema import ModelRecord
from datastore.stores import explained
from workflows.campaign import CampaignError
from workflows.submit import CHUNK, RunResult, job_kind
from workflows.trusted import decode


def latest_evaluation(store: SpinStore, campaign: str) -> dict[str, Any] | None:
    """The newest evaluation of the campaign's champion: with baselines where the campaign was concluded with it.

    Else the output of the job that judged it; None where no model is in use, or its evaluation is in another store.
    """
    champion = champion_of(store, campaign)
    if champion is None:
        return None
    for kind in ("conclude", "promote"):
        criteria = {"metadata.kind": kind, "output.model_id": champion.model_id, "output.results": {"$exists": True}}
        with explained(store.uri):
            found = list(store.jobs.query(criteria, ["output"], sort={"completed_at": -1}, limit=1))
        if found:
            return dict(found[0]["output"])
    return None


def outcome(store: SpinStore, result: RunResult) -> dict[str, Any]:
    """What a finished run of a campaign ended with: output of its conclusion."""
    uuid = result.uuids["conclude"][-1]
    with explained(store.uri):
        document = store.jobs.query_one({"uuid": uuid}, ["output"])
    return dict(document["output"])


def champion_of(store: SpinStore, campaign: str | None = None) -> ModelRecord | None:
    """Record of the model in use (the newest, without ``campaign``); None where no model was promoted."""
    names = campaigns(store) if campaign is None else [campaign]
    found = [record for name in names if (record := champion(store, name)) is not None]
    return max(found, key=lambda record: (record.created, record.model_id), default=None)


def never_used(store: SpinStore, campaign: str) -> str:
    """Why a campaign that was run to its end has no model in use; empty where it has one."""
    if champion_of(store, campaign) is not None:
        return ""
    log = history(store, campaign)
    why = "; ".join(log[-1].reasons) if log else "none was judged"
    return (
        f"{campaign} is at its end and no model is in use; the last one was refused: {why}. Train on more labels, or "
        "with other options (model: in the campaign file), and run it again"
    )


def champion_files(store: SpinStore, campaign: str | None = None) -> list[Path]:
    """Checkpoints of the model in use, on this machine.

    Raises CampaignError where there is none, or a file is damaged, or gone without a copy.
    """
    record = champion_of(store, campaign)
    name = campaign or "this campaign"
    if record is None:
        raise CampaignError(f"{name} has no model in use yet; finish it with: spinmultinet run CAMPAIGN.yaml")
    try:
        return [fetch(file, store.uri) for file in record.files]
    except DataError as error:
        raise CampaignError(f"the model of {record.campaign}: {error}") from error


def forget_failures(flow: Flow, store: SpinStore) -> int:
    """Make failed label jobs of a campaign, and everything that was built on them, run again; returns how many.

    Only job documents and records of failures are removed. Labels, and the jobs that made them, stay, and so do the
    files of earlier models: training sets and models have folders named after their content.
    """
    forgotten = 0
    chunks: list[str] = []
    for generation in list(_generations(flow, store)):
        jobs = {job.uuid: job_kind(job) for job in generation}
        chunks += [uuid for uuid, kind in jobs.items() if kind == CHUNK]
        labels = [uuid for uuid, kind in jobs.items() if kind == "label"]
        failed = _failed(store, labels)
        forgotten += len(failed)
        if forgotten:  # also in later generations: their training sets would have been others
            stale = [*failed, *(uuid for uuid in jobs if uuid not in set(labels))]
            store.jobs.remove_docs({"uuid": {"$in": stale}})
            store.flows.remove_docs({"uuid": {"$in": stale}})
            store.failures.remove_docs({"point_id": {"$in": list(failed.values())}})
    if forgotten:  # what follows the labels of all chunks has no references to them, and waits for these jobs alone
        for collection in (store.jobs, store.flows):
            collection.remove_docs({"uuid": {"$in": chunks}})
    return forgotten


def _generations(flow: Flow, store: SpinStore) -> Iterator[list[Job]]:
    """Jobs of the campaign's flow, then of each flow that its jobs added."""
    waiting = [flow]
    while waiting:
        jobs = [job for job, _ in waiting.pop(0).iterflow()]
        here = {(job.uuid, job.index) for job in jobs}  # what replaces a job has its uuid, and another index
        found = store.flows.query({"uuid": {"$in": [job.uuid for job in jobs]}})
        added = [document for document in found if (document["uuid"], document["index"]) in here]
        waiting += [decode(text, f"flow added by job {d['uuid']}") for d in added for text in d["flows"]]
        yield jobs


def _failed(store: SpinStore, labels: list[str]) -> dict[str, str]:
    """uuid -> point_id of those label jobs whose output is a recorded failure."""
    criteria = {"uuid": {"$in": labels}, "output.error_type": {"$exists": True}}
    return {d["uuid"]: d["output"]["point_id"] for d in store.jobs.query(criteria, ["uuid", "output.point_id"])}
