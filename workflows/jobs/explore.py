"""The job that asks one source for candidates: a file of configurations, and how many of which were dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobflow import Job, OutputReference, job

from datastore.atoms import write_configs
from datastore.schema import content_hash
from workflows.campaign import CampaignOptions
from workflows.engines import Engine
from workflows.exploration import Task, explore, sources
from workflows.jobs.files import sha256
from workflows.jobs.label import stable_uuid

__all__ = ["explore_job", "sources"]


def explore_job(
    options: CampaignOptions,
    engine: Engine,
    generation: int,
    source: str,
    previous: dict[str, Any] | OutputReference,
    folder: Path,
) -> Job:
    """Job that asks ``source`` for candidates of ``generation``; their file goes into ``folder``.

    ``previous``: output of the evaluation of the newest committee. Output: source, file, sha256, count, and dropped
    (reason -> number), notes (what the user should know of the search). The uuid is that of what decides the
    candidates, so that a rerun finds the job done.
    """
    new: Job = find_candidates(options, generation, source, previous, str(folder))
    new.name = f"explore {generation} {source}"
    known = previous.uuid if isinstance(previous, OutputReference) else _identity(previous)
    key = content_hash([_asked(options, source), options.seed, options.name, engine.level_id(), generation, known])
    new.set_uuid(stable_uuid("explore", str(folder), source, key))
    new.update_metadata({"kind": "explore"}, dynamic=False)
    return new


@job
def find_candidates(
    options: CampaignOptions, generation: int, source: str, previous: dict[str, Any], folder: str
) -> dict[str, Any]:
    """Write the candidates of one source to an extended XYZ file; the same call gives the same file.

    Unfinished work lies beside it, in a folder of the same name.
    """
    model = previous.get("champion") or previous
    key = content_hash([_asked(options, source), options.seed, options.name, generation, _identity(previous)], 12)
    path = Path(folder) / f"{source}-{key}.xyz"
    task = Task(
        options=options,
        generation=generation,
        source=source,
        members=[member["path"] for member in model["members"]],
        model_id=model["model_id"],
        snapshot=previous["snapshot"],
        folder=path.with_suffix(""),
        known=frozenset(point.split("-")[0] for point in previous["point_ids"]),
    )
    configs, dropped = explore(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    write_configs(temporary, configs)
    temporary.replace(path)
    done = {"source": source, "file": str(path), "sha256": sha256(path), "count": len(configs), "dropped": dropped}
    return done | {"notes": task.notes}


def _identity(previous: dict[str, Any]) -> list[Any]:
    """What of ``previous`` decides the candidates: the model in use, the labels there are, the tests."""
    model = previous.get("champion") or previous
    members = [member["sha256"] for member in model["members"]]
    return [model["model_id"], members, sorted(previous["point_ids"]), previous["snapshot"]]


def _asked(options: CampaignOptions, source: str) -> list[Any]:
    """What of the campaign's file decides the candidates of ``source``."""
    learning = options.active_learning
    wanted = learning.explore.model_dump(mode="json")
    common = {name: wanted[name] for name in ("min_distance", "max_force", "volume")}
    own = {"deformations": learning.candidates, "files": wanted["content"]}.get(source)
    own = wanted[source.replace("-", "_")] if own is None else own
    return [options.structures.model_dump(mode="json"), options.split.model_dump(mode="json"), common, own]
