"""The honest test: a model predicts a newly labelled batch before anything is trained on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobflow import Job, job

from datastore import SpinStore, open_store
from datastore.atoms import point_to_atoms
from datastore.errors import DataError
from datastore.ingest import ingest
from datastore.queries import find
from datastore.schema import SpinPoint, content_hash
from datastore.snapshot import Snapshot, load_snapshot
from workflows.campaign import CampaignOptions
from workflows.jobs.champion import with_champion
from workflows.jobs.evaluate import champion_members
from workflows.jobs.files import write_atomically
from workflows.jobs.label import LabelJob, stable_uuid
from workflows.jobs.tested import untrained

TOLD: tuple[str, ...] = ("generation", "model_id", "n", "twins", "overall", "groups")
"""Of the content of the file, what goes into the job's output."""

SLIM = ("n", "rms_error", "rms_spread", "rank_correlation", "ratio")
"""The same of the uncertainty of the committee."""


def honest_job(
    options: CampaignOptions,
    generation: int,
    labels: Sequence[LabelJob],
    labelled: Sequence[str],
    previous: dict[str, Any],
    folder: Path,
) -> Job:
    """Job that tests the model in use on the labels of ``generation``, once they are there.

    ``labels``: their jobs; ``labelled``: point_ids of those that are finished already. ``previous``: output of the
    promotion before, where no model is in use that of the newest committee.
    """
    point_ids = [job.output["point_id"] for job in labels]
    new: Job = predict_new_labels(options, generation, [*labelled, *point_ids], previous, str(folder))
    new.name = f"honest {generation}"
    models = [previous["model_id"], (previous.get("champion") or {}).get("model_id", "")]
    new.set_uuid(stable_uuid("honest", str(folder), *models, *labelled, *(job.uuid for job in labels)))
    new.update_metadata({"kind": "honest"}, dynamic=False)
    return new


@job
def predict_new_labels(
    options: CampaignOptions, generation: int, labelled: list[str], previous: dict[str, Any], folder: str
) -> dict[str, Any]:
    """Errors of the model in use on the accepted ones of ``labelled``; all of it goes to a file in ``folder``.

    Where the model in use was trained on some of them (of a campaign that was changed and run again), the newest
    committee of this line of generations is tested, which was not. Output: ``file``, ``generation``, ``model_id``,
    ``n``, ``twins`` (labels left out because the model was trained on a twin of them), and where there are labels
    ``overall``, ``groups`` and ``uncertainty``.
    """
    previous = with_champion(options, previous)
    with open_store(options.store) as store:
        ingest(store)
        model = _unspoilt(store, previous, labelled)
        accepted = _accepted(store, labelled, previous["snapshot"])
        trained = _snapshot_of(store, model, previous["snapshot"])
    points = untrained(accepted, trained, options.structures.spin_orbit)
    document: dict[str, Any] = {"generation": generation, "model_id": model["model_id"], "n": len(points)}
    document["twins"] = len(accepted) - len(points)
    if points:
        document |= _tested(model, points, options)
    path = Path(folder) / f"honest-{content_hash([model['model_id'], sorted(p.point_id for p in points)], 12)}.json"
    write_atomically(path, json.dumps(document))
    slim = {key: document[key] for key in TOLD if key in document}
    return {**slim, "uncertainty": _slim(document.get("uncertainty", {})), "file": str(path)}


def _tested(model: dict[str, Any], points: Sequence[SpinPoint], options: CampaignOptions) -> dict[str, Any]:
    from spinmultinet.committee import Committee
    from workflows.test_sets import evaluate_by_test

    committee = Committee([member["path"] for member in model["members"]])
    result = evaluate_by_test(committee, [point_to_atoms(point) for point in points], options.split)
    del result["tests"]  # a batch is no frozen test set
    return {**result, "point_ids": [point.point_id for point in points]}


def _accepted(store: SpinStore, labelled: Sequence[str], snapshot: str) -> list[SpinPoint]:
    """Accepted labels among ``labelled``, and of those salvaged, at the level of theory that models are trained on."""
    wanted = {"$in": sorted(labelled)}
    criteria = {"verdict": "accepted", "$or": [{"point_id": wanted}, {"salvaged_from": wanted}]}
    level = load_snapshot(snapshot).level_id
    points = [point for point in find(store, criteria) if point.level_id == level]
    return sorted(points, key=lambda point: point.point_id)


def _unspoilt(store: SpinStore, previous: dict[str, Any], labelled: Sequence[str]) -> dict[str, Any]:
    """The model in use if it has not seen the labels, else the newest committee before them."""
    champion = previous.get("champion")
    if champion is None or champion["model_id"] == previous["model_id"]:
        return previous
    record = store.get_model(champion["model_id"])
    if record is None:
        raise DataError(f"model {champion['model_id']}, in use so far, is not in the store; restore it from a backup")
    document = store.snapshots.query_one({"snapshot_id": record.snapshot_id}, ["points"]) or {}
    seen = {point_id for point_ids in document.get("points", {}).values() for point_id in point_ids}
    spoilt = not seen or not seen.isdisjoint(labelled)
    return previous if spoilt else {**previous, **champion, "members": champion_members(previous)}


def _snapshot_of(store: SpinStore, model: dict[str, Any], otherwise: str) -> Snapshot:
    """The snapshot that a model was trained on, as far as the store knows it."""
    record = store.get_model(model["model_id"])
    found = None if record is None else store.snapshots.query_one({"snapshot_id": record.snapshot_id}, ["folder"])
    return load_snapshot(found["folder"] if found else otherwise)


def _slim(uncertainty: dict[str, Any]) -> dict[str, Any]:
    return {task: {key: found[key] for key in SLIM if key in found} for task, found in uncertainty.items()}
