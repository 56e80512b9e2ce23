"""Judge a trained committee on held-out labels, beside two baselines, and put it on record."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobflow import Job, job

from datastore import ModelRecord, SpinStore, open_store
from datastore.schema import ModelFile, content_hash
from datastore.snapshot import load_snapshot
from datastore.splits import SPLITS
from workflows import __version__
from workflows.campaign import CampaignOptions
from workflows.jobs.dataset import split_atoms
from workflows.jobs.files import write_atomically
from workflows.jobs.label import stable_uuid


def evaluate_job(
    options: CampaignOptions,
    hypers: dict[str, Any],
    generation: int,
    snapshot: Job,
    members: list[Job],
    no_spin: list[Job],
    previous: dict[str, Any] | None,
    folder: Path,
    fingerprint: str,
) -> Job:
    """Job that evaluates ``members`` (and the ``no_spin`` baseline) on the snapshot's test split.

    ``fingerprint`` stands for the whole campaign: where it changed, the decision how to go on is made anew.
    """
    new: Job = evaluate_committee(
        options,
        hypers,
        generation,
        snapshot.output,
        [member.output for member in members],
        [member.output for member in no_spin],
        previous,
        str(folder),
    )
    new.name = f"evaluate {generation}"
    new.set_uuid(stable_uuid("evaluate", fingerprint, snapshot.uuid, *(j.uuid for j in [*members, *no_spin])))
    new.update_metadata({"kind": "evaluate"}, dynamic=False)
    return new


@job
def evaluate_committee(
    options: CampaignOptions,
    hypers: dict[str, Any],
    generation: int,
    snapshot: dict[str, Any],
    members: list[dict[str, Any]],
    no_spin: list[dict[str, Any]],
    previous: dict[str, Any] | None,
    folder: str,
) -> dict[str, Any]:
    """Scores and the ModelRecord; predictions for parity plots go to ``folder/results.json``.

    The committee of the generation before is tested on the labels that came after it (``honest``): it has never seen
    them, whatever split they are in now.
    """
    from spinmultinet.committee import Committee
    from spinmultinet.evaluate import constant_per_ordering, evaluate

    data = load_snapshot(snapshot["folder"])
    test, train = split_atoms(data, "test"), split_atoms(data, "train")
    results: dict[str, Any] = {
        "generation": generation,
        "model": evaluate(Committee([m["path"] for m in members]), test),
        "constant": constant_per_ordering(train, test),
    }
    if no_spin:
        results["no_spin"] = evaluate(Committee([m["path"] for m in no_spin]), test)
    if previous is not None:
        new = [atoms for split in SPLITS for atoms in split_atoms(data, split) if _is_new(atoms, generation)]
        if new:
            results["honest"] = evaluate(Committee([m["path"] for m in previous["members"]]), new)
    path = Path(folder) / content_hash([m["sha256"] for m in [*members, *no_spin]], 12) / "results.json"
    write_atomically(path, json.dumps(results))
    scores = {name: result["overall"] for name, result in results.items() if isinstance(result, dict)}
    record = _record(options, hypers, generation, snapshot, members, scores, previous)
    with open_store(options.store) as spin_store:
        known = spin_store.get_model(record.model_id)
        spin_store.put_model(record if known is None else record.model_copy(update={"status": known.status}))
    return {
        "generation": generation,
        "model_id": record.model_id,
        "members": members,
        "scores": scores,
        "results": str(path),
        "snapshot": snapshot["folder"],
        "point_ids": snapshot["point_ids"],
        "selections": previous["selections"] if previous else [],
    }


def _is_new(atoms: Any, generation: int) -> bool:
    return int(atoms.info.get("generation", 0)) == generation


def _record(
    options: CampaignOptions,
    hypers: dict[str, Any],
    generation: int,
    snapshot: dict[str, Any],
    members: list[dict[str, Any]],
    scores: dict[str, Any],
    previous: dict[str, Any] | None,
) -> ModelRecord:
    files = [ModelFile(path=member["path"], sha256=member["sha256"]) for member in members]
    data = load_snapshot(snapshot["folder"])
    return ModelRecord(
        model_id=content_hash([snapshot["snapshot_id"], [file.sha256 for file in files]]),
        campaign=options.name,
        generation=generation,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        snapshot_id=snapshot["snapshot_id"],
        level_id=data.level_id,
        level_of_theory=data.level_of_theory,
        moment_role=data.moment_role,
        species=data.species,
        hypers=hypers,
        files=files,
        scores=scores,
        parents=[previous["model_id"]] if previous else [],
        code_version=__version__,
    )


def promote_job(options: CampaignOptions, evaluated: Job) -> Job:
    """Job that puts the last generation's model to use."""
    new: Job = promote(options.store, options.name, evaluated.output)
    new.name = "promote"
    new.set_uuid(stable_uuid("promote", evaluated.uuid))
    new.update_metadata({"kind": "promote"}, dynamic=False)
    return new


@job
def promote(store: str, campaign: str, evaluated: dict[str, Any]) -> dict[str, Any]:
    """Put the last generation's model to use; returns its evaluation."""
    with open_store(store) as spin_store:
        put_in_use(spin_store, campaign, evaluated["model_id"])
    return evaluated


def put_in_use(store: SpinStore, campaign: str, model_id: str) -> None:
    """Make a model the campaign's champion and retire the one before. The new one first: there is always one."""
    records = {record.model_id: record for record in store.get_models(campaign=campaign)}
    if records[model_id].status != "champion":
        store.put_model(records[model_id].model_copy(update={"status": "champion"}))
    for record in records.values():
        if record.status == "champion" and record.model_id != model_id:
            store.put_model(record.model_copy(update={"status": "retired"}))
