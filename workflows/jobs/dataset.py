"""The job between labels and training: take finished labels into the dataset and freeze a training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ase import Atoms
from jobflow import Job, job

from datastore import SpinStore, open_store
from datastore.atoms import point_to_atoms, read_points
from datastore.ingest import ingest
from datastore.schema import content_hash
from datastore.snapshot import Snapshot, load_snapshot, make_snapshot
from datastore.splits import Split, SplitOptions
from datastore.stores import explained
from workflows import progress
from workflows.jobs.label import LabelJob, stable_uuid


def snapshot_job(
    store: str,
    labels: Sequence[LabelJob],
    previous: str | None,
    known: list[str],
    split: SplitOptions,
    folder: Path,
    name: str,
    labelled: Sequence[str] = (),
    after: Job | None = None,
) -> Job:
    """Job that runs after ``labels`` and freezes their points together with the ``known`` ones (point_ids).

    ``labelled``: point_ids of labels of this generation that are finished already. ``after``: the job that tests a
    model on them before; it runs first.
    """
    key = content_hash([store, split.model_dump(), previous, *(job.uuid for job in labels), *labelled], 12)
    point_ids = [job.output["point_id"] for job in labels]
    tested = None if after is None else after.output["file"]
    new: Job = take_snapshot(store, point_ids, previous, [*known, *labelled], split, str(folder / key), tested)
    new.name = name
    new.set_uuid(stable_uuid("snapshot", str(folder), key))
    new.update_metadata({"kind": "dataset"}, dynamic=False)
    return new


@job
def take_snapshot(
    store: str,
    labelled: list[str],
    previous: str | None,
    known: list[str],
    split: SplitOptions,
    folder: str,
    tested: str | None = None,
) -> dict[str, Any]:
    """Ingest, then write the snapshot of the accepted points among ``labelled`` and ``known``, and of those salvaged.

    Where another start of one of them was kept in its place, whoever asked for that start, it takes its place here too.
    Returns its folder, id, counts, and all point ids, for the generation that follows; and the ids of labels that are
    left out because corrections changed their level of theory. ``tested``: file of the honest test on ``labelled``;
    it only has to be there. The tests are frozen: what active learning asks for never enters the test split.
    """
    with open_store(store) as spin_store:
        report = ingest(spin_store)
        asked = {*known, *labelled}
        point_ids = sorted(asked | _kept_instead(spin_store, asked))
        snapshot = make_snapshot(
            spin_store,
            folder,
            criteria={"$or": [{"point_id": {"$in": point_ids}}, {"salvaged_from": {"$in": point_ids}}]},
            options=split,
            previous=None if previous is None else load_snapshot(previous),
            progress=lambda done, total: progress.report(done / total, "comparing geometries"),
            frozen=True,
        )
    return {
        "folder": str(snapshot.folder),
        "snapshot_id": snapshot.snapshot_id,
        "counts": snapshot.counts,
        "point_ids": point_ids,
        "other_level": snapshot.other_level,
        "ingested": asdict(report),
    }


def _kept_instead(store: SpinStore, point_ids: set[str]) -> set[str]:
    """The labels kept in place of some of ``point_ids``: same state and level (:mod:`datastore.metastable`)."""
    wanted = {"$in": sorted(point_ids)}
    criteria = {"$or": [{"point_id": wanted}, {"salvaged_from": wanted}], "ground": {"$nin": ["", None]}}
    with explained(store.uri):
        return {document["ground"] for document in store.points.query(criteria, properties=["ground"])}


def split_atoms(snapshot: Snapshot, split: Split) -> list[Atoms]:
    """The labels of one split as ASE Atoms, the border to the model; none where the split is empty."""
    if not snapshot.points[split]:
        return []
    return [point_to_atoms(point, split, snapshot.heads) for point in read_points(snapshot.path(split))]
