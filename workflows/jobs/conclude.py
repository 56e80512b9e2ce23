"""The end of a campaign: the model in use on the frozen tests, beside a baseline that sees no spins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobflow import Job, job

from datastore import SpinStore, open_store
from datastore.snapshot import load_snapshot
from workflows.campaign import CampaignOptions
from workflows.jobs.evaluate import champion_members, judged, read_honest, scores_of, write_results
from workflows.jobs.label import stable_uuid

Document = dict[str, Any]


def conclude_job(
    options: CampaignOptions, generation: int, previous: Document, no_spin: Sequence[Job], folder: Path
) -> Job:
    """Job that evaluates the model in use and the ``no_spin`` baseline on the tests of the last snapshot.

    ``previous``: output of the last promotion, with the history.
    """
    new: Job = conclude(options, generation, previous, [member.output for member in no_spin], str(folder))
    new.name = f"conclude {generation}"
    used = previous.get("champion") or previous
    parts = [previous["model_id"], used["model_id"], previous["snapshot"], *(member.uuid for member in no_spin)]
    new.set_uuid(stable_uuid("conclude", str(folder), *parts))
    new.update_metadata({"kind": "conclude"}, dynamic=False)
    return new


@job
def conclude(
    options: CampaignOptions, generation: int, previous: Document, no_spin: list[Document], folder: str
) -> Document:
    """``previous`` with model, scores and results of the model in use, which are on record with its baselines.

    ``generation`` of the output is that of the model in use, ``last`` the last round of the campaign.
    """
    used = previous.get("champion") or previous
    data = load_snapshot(previous["snapshot"])
    with open_store(options.store) as store:
        seen = _trained_on(store, used["model_id"])
    results = judged(data, champion_members(previous), no_spin, used.get("generation", generation), seen)
    if previous.get("honest"):
        results |= read_honest(previous["honest"][-1])
    path = write_results(Path(folder), results, [*champion_members(previous), *no_spin, {"sha256": data.snapshot_id}])
    scores = scores_of(results)
    with open_store(options.store) as store:
        record = store.get_model(used["model_id"])
        if record is not None:
            store.put_model(record.model_copy(update={"scores": {**record.scores, **scores}}))
    own = {"generation": used.get("generation", generation), "model_id": used["model_id"], "last": generation}
    return {**previous, **own, "members": champion_members(previous), "scores": scores, "results": str(path)}


def _trained_on(store: SpinStore, model_id: str) -> set[str]:
    """point_ids in training and validation of a model, as far as the store knows its snapshot."""
    record = store.get_model(model_id)
    found = None if record is None else store.snapshots.query_one({"snapshot_id": record.snapshot_id}, ["points"])
    points = (found or {}).get("points", {})
    return {point_id for split in ("train", "val") for point_id in points.get(split, [])}
