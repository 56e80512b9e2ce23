"""Labels in chunks: each job is replaced by the labels of one slice, so that no process holds all of them.

The job of slice k waits for the labels of slice k - 2: those of slice k - 1 are at work or wait meanwhile. What follows
the labels waits for the last two slices, and gets point_ids and no references.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from jobflow import Flow, Job, Response, job

from datastore import SpinStore, open_store
from datastore.batches import in_batches
from datastore.errors import DataError
from datastore.stores import explained
from workflows import progress
from workflows.campaign import CampaignOptions
from workflows.engines import Engine
from workflows.jobs.label import Finished, label_job, label_uuid, stable_uuid
from workflows.jobs.slices import Slices

AHEAD = 2
"""Slices whose labels are in the flow and not all done."""

AT_ONCE = 500
"""Labels that are looked up together."""

FOLDER, SLICE, LEVEL = "folder", "slice", "level_id"
"""Keys of the metadata of a chunk's job."""


class RoundMaker(Protocol):
    """What makes the flows of a campaign: :class:`workflows.flows.CampaignMaker`, which imports this module."""

    options: CampaignOptions
    engine: Engine

    @property
    def fingerprint(self) -> str:
        """Hash of everything that a campaign's file says."""

    def first_slices(self, tell: Callable[[int], None] | None = None) -> Slices:
        """Configurations of generation 0, written where they are not yet."""

    def by_slices(self, number: int, slices: Slices) -> Flow:
        """Flow of the labels of ``slices`` and of what follows them."""

    def gathered(self, number: int, slices: Slices, labels: Sequence[Finished]) -> Flow:
        """What follows the ``labels``, which are done."""


def configurations_job(maker: RoundMaker, folder: Path) -> Job:
    """Job that writes the first configurations into ``folder`` and adds the chunks."""
    new: Job = write_configurations(maker)
    new.name = "configurations 0"
    new.set_uuid(stable_uuid("configurations", folder.name))
    new.update_metadata({"kind": "structures", "dynamic": True}, dynamic=False)
    return new


def chunk_jobs(engine: Engine, number: int, slices: Slices) -> list[Job]:
    """Jobs that add the labels of generation ``number``, slice by slice, and are done when the labels are."""
    jobs: list[Job] = []
    for at in range(len(slices)):
        before = jobs[at - AHEAD].output if at >= AHEAD else None
        new: Job = add_labels(engine, str(slices.folder), at, before)
        new.name = f"chunk {number}, {at + 1} of {len(slices)}"
        new.set_uuid(stable_uuid("chunk", slices.folder.name, str(number), str(at)))
        _finish(new, {FOLDER: str(slices.folder), SLICE: at, LEVEL: engine.level_id()})
        jobs.append(new)
    return jobs


def following_job(maker: RoundMaker, number: int, slices: Slices, chunks: Sequence[Job]) -> Job:
    """Job that adds what follows the labels of all ``slices``."""
    new: Job = add_what_follows(maker, number, str(slices.folder), [chunk.output for chunk in chunks[-AHEAD:]])
    new.name = f"chunk {number}, all labels"
    new.set_uuid(stable_uuid("chunks", slices.folder.name, maker.fingerprint, str(number)))
    _finish(new, {})
    return new


def _finish(new: Job, more: dict[str, Any]) -> None:
    # What they wait for is not read: the labels of a slice are 6 MB, of which these jobs need nothing.
    new.update_config({"resolve_references": False}, dynamic=False)
    new.update_metadata({"kind": "chunk", "dynamic": True, **more}, dynamic=False)


@job
def write_configurations(maker: RoundMaker) -> Response[dict[str, Any]]:
    """Write the first configurations of a campaign slice by slice, and add the chunks."""
    slices = maker.first_slices(lambda count: progress.report(0.0, f"{count} configurations"))
    output = {"folder": str(slices.folder), "slices": len(slices)}
    return Response(output=output, addition=maker.by_slices(0, slices))


@job
def add_labels(engine: Engine, folder: str, at: int, after: Any) -> Response[list[Any]]:
    """Label slice ``at`` of those in ``folder``. ``after``: the slice that has to be done before. Output: point_ids."""
    labels = {new.uuid: new for new in (label_job(engine, config) for config in Slices(folder).read(at))}
    point_ids = [new.output["point_id"] for new in labels.values()]
    return Response(replace=Flow(list(labels.values()), output=point_ids, name=f"labels, slice {at + 1}"))


@job
def add_what_follows(maker: RoundMaker, number: int, folder: str, after: list[Any]) -> Response[dict[str, Any]]:
    """Add what follows the labels of all slices in ``folder``. ``after``: the last slices, which have to be done."""
    slices = Slices(folder)
    level = maker.engine.level_id()
    uuids = dict.fromkeys(
        label_uuid(config_id, level) for at in range(len(slices)) for config_id in slices.config_ids(at)
    )
    with open_store(maker.options.store) as store:
        labels = finished(store, list(uuids))
    return Response(output={"labels": len(labels)}, addition=maker.gathered(number, slices, labels))


def finished(store: SpinStore, uuids: Sequence[str]) -> list[Finished]:
    """The labels of these jobs, in this order. Raises DataError where one is not there."""
    found: dict[str, str] = {}
    with explained(store.uri):
        for some in in_batches(uuids, AT_ONCE):
            rows = store.jobs.query({"uuid": {"$in": some}}, ["uuid", "output.point_id"])
            found |= {row["uuid"]: row["output"]["point_id"] for row in rows}
    missing = [uuid for uuid in uuids if uuid not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(uuids)} labels are not in the store any more, such as that of job {missing[0]}; "
            "restore the store from a backup, or run the campaign in a new one"
        )
    return [Finished(uuid, found[uuid]) for uuid in uuids]
