"""What calculations of an engine have cost, and what those still to be done will: documents in, core seconds out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from datastore.costs import Work, core_seconds
from datastore.schema import SpinConfig
from datastore.stores import SpinStore
from workflows.engines import Engine, LabelError
from workflows.jobs.label import label_uuid


def not_done(store: SpinStore, engine: Engine, configs: Sequence[SpinConfig]) -> list[SpinConfig]:
    """Those whose label job has no stored output: what a run would start."""
    level = engine.level_id()
    uuids = [label_uuid(config.config_id, level) for config in configs]
    known = {document["uuid"] for document in store.jobs.query({"uuid": {"$in": uuids}}, ["uuid"])}
    return [config for uuid, config in zip(uuids, configs, strict=True) if uuid not in known]


def works(store: SpinStore, engine: Engine) -> Iterator[Work]:
    """Calculations of the engine, or at its level of theory, that a store knows the cost of."""
    criteria = {"$or": [{"level_id": engine.level_id()}, {"engine": engine.type}]}
    for collection in (store.points, store.failures):
        for document in collection.query(criteria):
            seconds = core_seconds(document)
            if not seconds:
                continue
            config = SpinConfig(**{name: document[name] for name in SpinConfig.model_fields if name in document})
            try:
                found = work(config, engine)
            except LabelError:  # imported, and nothing this engine could calculate
                continue
            yield replace(found, level_id=document["level_id"], engine=document["engine"], seconds=seconds)


def work(config: SpinConfig, engine: Engine) -> Work:
    """A calculation to be done, with the engine's own estimate. Raises LabelError where the engine refuses it."""
    return Work(config.formula, len(config.species), engine.seconds_estimate(config))
