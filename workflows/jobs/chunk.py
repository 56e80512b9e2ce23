"""Labels in chunks: each job adds those of one slice, in time, so that no flow and no process holds all of them.

The job of slice k waits for the labels of slice k - 2: those of slice k - 1 are at work or wait meanwhile. The last
one adds a job that waits for all labels and hands their point_ids to what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobflow import Job, OutputReference, Response, job

from datastore import SpinStore, open_store
from datastore.batches import in_batches
from datastore.errors import DataError
from datastore.stores import explained
from workflows import progress
from workflows.jobs.label import Finished, label_uuid, stable_uuid
from workflows.slices import Slices

if TYPE_CHECKING:
    from workflows.flows.active_learning import CampaignMaker

AHEAD = 2
"""Slices whose labels are in the flow and not all done."""

AT_ONCE = 500
"""Labels that are looked up together."""

CHUNK, SLICE = "chunk", "slice"
"""Keys of the metadata of these jobs: folder of the slices, and the first slice whose labels are still to be added."""


def configurations_job(maker: CampaignMaker, folder: Path) -> Job:
    """Job that writes the first configurations into ``folder`` and adds the first chunk."""
    new: Job = write_configurations(maker)
    new.name = "configurations 0"
    new.set_uuid(stable_uuid("configurations", maker.fingerprint, folder.name))
    new.update_metadata({"kind": "structures", "dynamic": True, CHUNK: str(folder), SLICE: 0}, dynamic=False)
    return new


def chunk_job(maker: CampaignMaker, number: int, slices: Slices, at: int) -> Job:
    """Job that adds the labels of slice ``at`` of generation ``number``, or after the last slice what follows them."""
    level = maker.engine.level_id()
    last = at == len(slices)
    waits = range(max(0, at - AHEAD), at if last else at - AHEAD + 1)
    uuids = dict.fromkeys(label_uuid(config_id, level) for k in waits for config_id in slices.config_ids(k))
    after = [OutputReference(uuid)["point_id"] for uuid in uuids]
    made = (add_what_follows if last else add_chunk)(maker, number, str(slices.folder), at, after)
    new: Job = made
    new.name = f"chunk {number}, all labels" if last else f"chunk {number}, {at + 1} of {len(slices)}"
    new.set_uuid(stable_uuid("chunk", maker.fingerprint, str(number), slices.folder.name, str(at)))
    # What they wait for is not read: 500 labels are 6 MB, of which these jobs need nothing.
    new.update_config({"resolve_references": False}, dynamic=False)
    new.update_metadata({"kind": "chunk", "dynamic": True, CHUNK: str(slices.folder), SLICE: at}, dynamic=False)
    return new


@job
def write_configurations(maker: CampaignMaker) -> Response[dict[str, Any]]:
    """Write the first configurations of a campaign slice by slice, and add the first chunk."""
    slices = maker.first_slices(lambda count: progress.report(0.0, f"{count} configurations"))
    output = {"folder": str(slices.folder), "slices": len(slices)}
    return Response(output=output, addition=maker.in_chunks(0, slices))


@job
def add_chunk(maker: CampaignMaker, number: int, folder: str, at: int, after: list[Any]) -> Response[dict[str, Any]]:
    """Add the labels of slice ``at``, and the job of the next one. ``after``: labels it waits for."""
    slices = maker.slices_of(folder)
    return Response(output={"labels": len(slices.config_ids(at))}, addition=maker.chunk(number, slices, at))


@job
def add_what_follows(
    maker: CampaignMaker, number: int, folder: str, at: int, after: list[Any]
) -> Response[dict[str, Any]]:
    """Add what follows the labels of all slices. ``after``: the last labels, those of the slices before are done."""
    slices = maker.slices_of(folder)
    level = maker.engine.level_id()
    uuids = dict.fromkeys(label_uuid(config_id, level) for k in range(at) for config_id in slices.config_ids(k))
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
