"""The parents of a campaign whose lattice is computed first: their jobs, what a store has of them, what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobflow import Job

from datastore import open_store
from datastore.errors import DataError
from workflows.campaign import CampaignError
from workflows.engines import Engine
from workflows.jobs.files import sha256
from workflows.jobs.parents import Source, calculations, parent_job
from workflows.model_files import checkpoints
from workflows.structures.generate import StructureOptions
from workflows.structures.lattice import ENGINE
from workflows.structures.preparation import Start, starts, with_lattices


@dataclass(frozen=True)
class ParentPlan:
    """A cell to compute: where it starts, its job, rough seconds on one core, and the result where it is known."""

    start: Start
    job: Job
    seconds: float
    result: dict[str, Any] | None = None

    def row(self) -> dict[str, Any]:
        """What a dry run says about it; volume in Angstrom^3/atom where known."""
        return {
            "parent": self.start.config.parent,
            "ordering": self.start.config.ordering,
            "method": self.start.kind,
            "using": self.start.method.using,
            "computed": self.result is not None,
            "calculations": calculations(self.start) if self.result is None else self.result["calculations"],
            "core_hours": 0.0 if self.result else self.seconds / 3600,
            "volume_per_atom": None if self.result is None else self.result["volume_per_atom"],
            "largest_stress": None if self.result is None else self.result["largest_stress"],
        }


def plan_parents(structures: StructureOptions, engine: Engine, store: str | None = None) -> list[ParentPlan]:
    """One plan per cell to compute, with the results that ``store`` has; empty where every lattice is given.

    Raises StructureError for an ordering that does not fit, CampaignError for a model that is not there.
    """
    sources: dict[str, Source] = {}
    plans = []
    for start in starts(structures):
        using = start.method.using
        if using not in sources:
            sources[using] = _source(using, engine, start.number)
        job = parent_job(start, sources[using])
        plans.append(ParentPlan(start, job, sources[using].seconds(start)))
    known = _known(store, [plan.job.uuid for plan in plans]) if store and plans else {}
    return [ParentPlan(p.start, p.job, p.seconds, known.get(p.job.uuid)) for p in plans]


def planned_structures(structures: StructureOptions, plans: list[ParentPlan]) -> StructureOptions:
    """Complete options: with the cells that are known, and the starts in place of the others."""
    return with_lattices(structures, [plan.result for plan in plans])


def _source(using: str, engine: Engine, parent: int) -> Source:
    if using == ENGINE:
        return Source(engine)
    files = checkpoints(Path(using).expanduser().resolve())
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise CampaignError(
            f"structures.parents.{parent}.lattice: using: there is no model at {missing[0]}; name a checkpoint, or "
            "'engine'"
        )
    return Source(engine, {str(path): sha256(path) for path in files})


def _known(store: str, uuids: list[str]) -> dict[str, dict[str, Any]]:
    """Job uuid -> output of those that ``store`` has; a store that is not there has none."""
    try:
        with open_store(store, create=False) as spin_store:
            return {d["uuid"]: d["output"] for d in spin_store.jobs.query({"uuid": {"$in": uuids}}, ["uuid", "output"])}
    except DataError:
        return {}
