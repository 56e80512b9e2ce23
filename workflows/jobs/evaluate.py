"""Evaluate a trained committee on the frozen tests, beside baselines, and put it on record."""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from jobflow import Job, job

from datastore import ModelRecord, open_store
from datastore.schema import ModelFile, content_hash
from datastore.snapshot import Snapshot, load_snapshot
from datastore.splits import SPLITS
from workflows import __version__
from workflows.campaign import CampaignOptions
from workflows.jobs.dataset import split_atoms
from workflows.jobs.files import write_atomically
from workflows.jobs.label import stable_uuid
from workflows.jobs.promote import put_in_use

Document = dict[str, Any]

SCORED = ("tests", "groups")
"""Keys of the evaluation of the model that go into its scores as they are."""


def champion_members(previous: Document) -> list[Document]:
    """Members (path, sha256) of the model in use, of the newest committee where none is."""
    model: Document = previous.get("champion") or previous
    return list(model["members"])


def evaluate_job(
    options: CampaignOptions,
    hypers: Document,
    generation: int,
    snapshot: Job,
    members: Sequence[Job],
    previous: Document | None,
    folder: Path,
    honest: Job | None = None,
) -> Job:
    """Job that evaluates ``members`` on the snapshot's test split and puts them on record.

    ``previous``: output of the promotion before; ``honest``: the job that tested the model in use on the new labels.
    """
    new: Job = evaluate_committee(
        options,
        hypers,
        generation,
        snapshot.output,
        [member.output for member in members],
        [],
        previous,
        str(folder),
        None if honest is None else honest.output["file"],
    )
    new.name = f"evaluate {generation}"
    before = [] if previous is None else [previous["model_id"]]
    tested = [] if honest is None else [honest.uuid]
    new.set_uuid(stable_uuid("evaluate by test", snapshot.uuid, *(j.uuid for j in members), *before, *tested))
    new.update_metadata({"kind": "evaluate"}, dynamic=False)
    return new


@job
def evaluate_committee(
    options: CampaignOptions,
    hypers: Document,
    generation: int,
    snapshot: Document,
    members: list[Document],
    no_spin: list[Document],
    previous: Document | None,
    folder: str,
    honest: str | None = None,
) -> Document:
    """Scores and the ModelRecord; predictions for parity plots go to ``folder/results.json``.

    ``honest``: file of :mod:`workflows.jobs.honest`. Flows of before there were such tests give none, and test the
    committee of the generation before here, on the labels that came after it.
    """
    data = load_snapshot(snapshot["folder"])
    results = judged(data, members, no_spin, generation)
    if honest is not None:
        results |= read_honest(honest)
    elif previous is not None and previous["members"]:  # none where files of the model in use are gone
        results |= _tested_late(data, generation, previous)
    path = write_results(Path(folder), results, [*members, *no_spin])
    scores = scores_of(results)
    record = _record(options, hypers, generation, snapshot, members, results, previous)
    with open_store(options.store) as spin_store:
        known = spin_store.get_model(record.model_id)
        if known is not None:  # where its files went and what became of it is none of this job's business
            kept: Document = {"status": known.status, "files": known.files, "created": known.created}
            kept |= {"generation": known.generation, "parents": [m for m in known.parents if m != known.model_id]}
            kept |= {"environment": known.environment or record.environment}
            record = record.model_copy(update={**kept, "scores": {**known.scores, **scores}})
        spin_store.put_model(record)
    carried = previous or {}
    return {
        "generation": generation,
        "model_id": record.model_id,
        "members": members,
        "scores": scores,
        "results": str(path),
        "snapshot": snapshot["folder"],
        "point_ids": snapshot["point_ids"],
        "selections": carried.get("selections", []),
        "decisions": carried.get("decisions", []),
        "history": carried.get("history", []),
        "honest": [*carried.get("honest", []), *([honest] if honest else [])],
    }


def judged(
    data: Snapshot,
    members: Sequence[Document],
    no_spin: Sequence[Document],
    generation: int,
    seen: Collection[str] = (),
) -> Document:
    """Evaluations on the test split of a snapshot: ``model``, ``constant``, and ``no_spin`` where there is one.

    ``seen``: point_ids that do not count, because the model was trained on them.
    """
    from spinmultinet.committee import Committee
    from spinmultinet.evaluate import constant_per_ordering, evaluate
    from workflows.test_sets import evaluate_by_test

    test = [atoms for atoms in split_atoms(data, "test") if atoms.info["point_id"] not in seen]
    train = split_atoms(data, "train")
    results: Document = {
        "generation": generation,
        "model": evaluate_by_test(Committee([m["path"] for m in members]), test, data.options),
        "constant": constant_per_ordering(train, test),
    }
    results |= {name: results["model"][name] for name in SCORED}
    if no_spin:
        results["no_spin"] = evaluate(Committee([m["path"] for m in no_spin]), test)
    return results


def scores_of(results: Document) -> Document:
    """What goes into the ModelRecord: overall errors per predictor, and the model's by test set and by group."""
    overall = {name: r["overall"] for name, r in results.items() if isinstance(r, dict) and "overall" in r}
    return overall | {name: results[name] for name in SCORED if name in results}


def write_results(folder: Path, results: Document, models: Sequence[Document]) -> Path:
    """Write ``results`` below ``folder``, in a folder named after the models (and the test set) it is about."""
    path = folder / content_hash([m["sha256"] for m in models], 12) / "results.json"
    write_atomically(path, json.dumps(results))
    return path


def read_honest(file: str) -> Document:
    """Content of an honest test's file as ``honest``; nothing where its batch gave no label."""
    document: Document = json.loads(Path(file).read_text())
    return {"honest": document} if document["n"] else {}


def _tested_late(data: Snapshot, generation: int, previous: Document) -> Document:
    from spinmultinet.committee import Committee
    from spinmultinet.evaluate import evaluate

    new = [atoms for split in SPLITS for atoms in split_atoms(data, split) if _is_new(atoms, generation)]
    return {"honest": evaluate(Committee([m["path"] for m in previous["members"]]), new)} if new else {}


def _is_new(atoms: Any, generation: int) -> bool:
    return int(atoms.info.get("generation", 0)) == generation


def _record(
    options: CampaignOptions,
    hypers: Document,
    generation: int,
    snapshot: Document,
    members: list[Document],
    results: Document,
    previous: Document | None,
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
        scores=scores_of(results),
        parents=[previous["model_id"]] if previous else [],
        code_version=__version__,
        environment=_environment(),
        seeds=_seeds(members),
        calibration=_calibration(results["model"]),
    )


def _environment() -> dict[str, str]:
    """Versions of Python and of the packages that numbers come from, and the platform."""
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "ase")}
    return {"python": platform.python_version(), **versions, "platform": platform.platform(terse=True)}


def _seeds(members: Sequence[Document]) -> list[int]:
    """As the checkpoints have them; none where one of them does not say."""
    from spinmultinet.checkpoint import load_model

    seeds = [load_model(member["path"]).metadata.get("training_seed") for member in members]
    known = [seed for seed in seeds if isinstance(seed, int)]
    return known if len(known) == len(seeds) else []


def _calibration(result: Document) -> dict[str, float]:
    """Task -> factor on spreads of the committee that makes them cover as many errors as they should (frozen tests)."""
    found = result.get("uncertainty") or {}
    return {task: one["ratio"] for task, one in found.items() if one["ratio"] is not None}


@job
def promote(store: str, campaign: str, evaluated: Document) -> Document:
    """Put a model to use; returns its evaluation. Flows of before the promotion log hold this path."""
    with open_store(store) as spin_store:
        put_in_use(spin_store, campaign, evaluated["model_id"])
    return evaluated
