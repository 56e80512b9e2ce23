"""Label the configurations of one store again, at another level of theory: only what is not labelled there yet.

A label is identified by its configuration and its level, so a run that was stopped goes on, and source and target may
be one store. Where the configurations come from (campaign, generation, parent, pair) stays on the new labels; the
campaign that runs is in ``calculated_by``, and the ledger of costs goes by it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobflow import Flow

from datastore import SpinStore
from datastore.batches import in_batches
from datastore.ingest import ingest
from datastore.label_sets import mentions
from datastore.levels import CHANGED, asked_level_id, level_name
from datastore.queries import find
from datastore.schema import SpinConfig, point_id
from workflows.engines import Engine
from workflows.flows import LabelFlowMaker
from workflows.submit import RunResult, run_local

CHUNK = 500


class RelabelError(ValueError):
    """Configurations that cannot be labelled as asked; the message names the remedy."""


@dataclass(frozen=True)
class RelabelPlan:
    """What there is to do."""

    configs: list[SpinConfig]
    """Without a label at the engine's level."""
    point_ids: list[str]
    """Of all labels wanted, those that are there included."""
    sources: dict[str, tuple[str, int]]
    """level_id of the source -> its name, number of labels taken from it."""

    @property
    def reused(self) -> int:
        """Labels that are there already."""
        return len(self.point_ids) - len(self.configs)


@dataclass
class RelabelOutcome:
    """Labels at the new level after a run."""

    accepted: int = 0
    rejected: int = 0
    other_level: int = 0
    """Whose settings a correction changed: labels of another level of theory, which a further run would only repeat."""
    missing: int = 0
    """Configurations without a label: failed calculations."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Why rejected or failed (the kind of reason) -> how many."""


def plan_relabel(
    source: SpinStore, target: SpinStore, engine: Engine, criteria: Mapping[str, Any] | None = None
) -> RelabelPlan:
    """The configurations of accepted labels in ``source`` that match ``criteria``; finished jobs are taken in first.

    Where ``criteria`` say something about the verdict, that counts instead. Raises RelabelError where no label
    matches, or where the engine cannot treat the input moments as they are meant.
    """
    ingest(target)
    wanted: dict[str, SpinConfig] = {}
    levels: Counter[str] = Counter()
    names: dict[str, str] = {}
    for point in find(source, _accepted(dict(criteria or {}))):
        if point.config_id not in wanted:
            wanted[point.config_id] = point.config()
            levels[point.level_id] += 1
            names.setdefault(point.level_id, level_name(point.level_of_theory))
    if not wanted:
        raise RelabelError("no accepted label matches; see what there is with: spinmultinet data stats PLACE")
    _check_roles(wanted.values(), engine)
    ids = {point_id(config_id, engine.level_id()): config for config_id, config in wanted.items()}
    labelled = {point["point_id"] for point in _stored(target, list(ids), ["point_id"])}
    labelled |= _changed_on_the_way(target, list(ids)).keys()
    due = [config for identity, config in ids.items() if identity not in labelled]
    return RelabelPlan(due, list(ids), {level: (names[level], count) for level, count in levels.most_common()})


def relabel_flow(plan: RelabelPlan, engine: Engine, campaign: str = "") -> Flow:
    """Independent label jobs, one per configuration that is due; ``campaign`` pays for them."""
    return LabelFlowMaker(engine, name="relabel", campaign=campaign).make(plan.configs)


def run_relabel(
    flow: Flow, store_uri: str, folder: Path, workers: int, watch: Callable[[Mapping[str, Any]], None]
) -> RunResult:
    """Run the jobs and take their labels into the store; see :func:`workflows.submit.run_local`."""
    if not flow.jobs:
        return RunResult()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some jobs are not connected")  # they are independent, and meant to be
        return run_local(flow, store_uri, folder, workers, watch)


def outcome_of(plan: RelabelPlan, target: SpinStore) -> RelabelOutcome:
    """Take in what is finished and count the labels of the plan by verdict."""
    ingest(target)
    result, reasons, without = RelabelOutcome(), Counter[str](), set(plan.point_ids)
    for document in _stored(target, plan.point_ids, ["point_id", "verdict", "verdict_reasons"]):
        without.discard(document["point_id"])
        accepted = document["verdict"] == "accepted"
        result.accepted += accepted
        result.rejected += not accepted
        reasons.update({_kind(reason) for reason in document["verdict_reasons"]})
    changed = _changed_on_the_way(target, list(without))
    result.other_level = len(changed)
    reasons.update(f"another level of theory: {settings}" for settings in changed.values())
    result.missing = len(without) - len(changed)
    for chunk in in_batches(plan.point_ids, CHUNK):
        failures = target.failures.query({"point_id": {"$in": chunk}}, ["error_type"])
        reasons.update(f"failed: {document['error_type']}" for document in failures)
    result.reasons = dict(reasons.most_common())
    return result


def _accepted(criteria: dict[str, Any]) -> dict[str, Any]:
    if mentions(criteria, "verdict"):
        return criteria
    return {"$and": [{"verdict": "accepted"}, *([criteria] if criteria else [])]}


def _check_roles(configs: Any, engine: Engine) -> None:
    refused = Counter(config.moment_role for config in configs if config.moment_role not in engine.moment_roles)
    if refused:
        ((role, count),) = refused.most_common(1)
        raise RelabelError(
            f"engine {engine.type!r} cannot treat input moments as a {role}, as {count} of the labels ask for; leave "
            f"them out with --where moment_role={engine.moment_roles[0]}"
        )


def _stored(store: SpinStore, ids: list[str], fields: list[str]) -> Iterator[dict[str, Any]]:
    for chunk in in_batches(ids, CHUNK):
        yield from store.points.query({"point_id": {"$in": chunk}}, fields)


def _changed_on_the_way(store: SpinStore, ids: list[str]) -> dict[str, str]:
    """Wanted point_id -> settings that corrections changed, of labels that ended at another level of theory."""
    found = {}
    for chunk in in_batches(ids, CHUNK):
        wanted, configs = set(chunk), [identity.split("-")[0] for identity in chunk]
        fields = ["config_id", "level_of_theory"]
        for document in store.points.query({"config_id": {"$in": configs}}, fields):
            theory = document["level_of_theory"]
            asked = point_id(document["config_id"], asked_level_id(theory))
            if CHANGED in theory and asked in wanted:
                found[asked] = ", ".join(sorted(theory[CHANGED]))
    return found


def _kind(reason: str) -> str:
    """The rule behind a reason, without its numbers."""
    return reason.split(":")[0].split("(")[0].strip()
