"""The training job: one committee member on one snapshot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from jobflow import Job, OutputReference, job

from workflows.jobs.dataset import split_atoms
from workflows.jobs.files import sha256
from workflows.jobs.label import stable_uuid
from workflows.progress import report


def train_job(snapshot: Job | str, hypers: dict[str, Any], seed: int, workdir: Path, name: str) -> Job:
    """Job that trains one member; a run that was killed continues from its last checkpoint in ``workdir``.

    ``snapshot``: the job that makes it, or the folder of one that is there.
    """
    folder, source = (snapshot, snapshot) if isinstance(snapshot, str) else (snapshot.output["folder"], snapshot.uuid)
    new: Job = train_member(folder, hypers, seed, str(workdir))
    new.name = name
    new.set_uuid(stable_uuid("train", source, str(workdir), str(seed)))
    new.update_metadata({"kind": "train"}, dynamic=False)
    return new


@job
def train_member(snapshot: str | OutputReference, hypers: dict[str, Any], seed: int, workdir: str) -> dict[str, Any]:
    """Checkpoint path and its SHA-256, seconds, and the last validation errors."""
    from datastore.snapshot import load_snapshot
    from spinmultinet.hypers import ModelOptions, TrainOptions
    from spinmultinet.train import train

    started = time.time()
    data = load_snapshot(str(snapshot))

    def progress(epoch: int, epochs: int, metrics: dict[str, Any]) -> None:
        report(epoch / epochs, f"epoch {epoch}/{epochs}")

    result = train(
        TrainOptions.model_validate(hypers.get("training", {})),
        ModelOptions.model_validate(hypers.get("model", {})),
        split_atoms(data, "train"),
        split_atoms(data, "val"),
        Path(workdir) / data.snapshot_id,  # other data, other training
        seed,
        progress,
        {"snapshot_id": data.snapshot_id, "level_of_theory": data.level_of_theory},
    )
    return {
        "path": str(result.checkpoint),
        "sha256": sha256(Path(result.checkpoint)),
        "seconds": max(time.time() - started, result.seconds),  # also what it took elsewhere, or before a kill
    }
