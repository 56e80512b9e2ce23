"""What candidates will cost, by what labels have cost."""

from __future__ import annotations

from collections.abc import Sequence

from datastore.costs import MIN_SAMPLES, Work, core_seconds, estimate
from datastore.schema import SpinConfig, SpinPoint
from workflows.engines import Engine


def learned_ratio(engine: Engine, todo: Sequence[SpinConfig], done: Sequence[SpinPoint]) -> float:
    """Core seconds that ``todo`` will cost, by what ``done`` has cost at the engine's level, per second of estimate.

    1 where too few labels say how long they took. One number for all: times scatter from run to run, and which
    candidate is the cheaper one should not.
    """
    level = engine.level_id()
    known = []
    for point in done:
        seconds = core_seconds({"timings": point.timings, "salvaged_from": point.salvaged_from})
        if seconds and point.level_id == level:
            known.append(_work(point, engine, seconds))
    if len(known) < MIN_SAMPLES or not todo:
        return 1.0
    wanted = [_work(config, engine, 0.0) for config in todo]
    return estimate(wanted, known, level, engine.type).seconds / sum(work.guess for work in wanted)


def _work(config: SpinConfig, engine: Engine, seconds: float) -> Work:
    guess = engine.seconds_estimate(config)
    return Work(config.formula, len(config.species), guess, engine.level_id(), engine.type, seconds)
