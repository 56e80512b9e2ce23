"""Choose what to label next: explored candidates, what the model in use says about them, a rule of workflows.policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from datastore.atoms import config_to_atoms, read_configs, read_points
from datastore.schema import SpinConfig, SpinPoint
from datastore.snapshot import load_snapshot
from datastore.splits import SPLITS
from workflows.campaign import CampaignOptions
from workflows.engines import Engine
from workflows.exploration.starts import in_every_ordering
from workflows.exploration.states import OWN_SIGNS, state_names
from workflows.jobs.dataset import split_atoms
from workflows.jobs.files import write_atomically
from workflows.jobs.prices import learned_ratio
from workflows.jobs.tested import on_tests
from workflows.policy.batch import choose
from workflows.policy.contract import Rule
from workflows.policy.pool import Candidate, Pool, PoolError
from workflows.policy.rules import make_rule
from workflows.progress import report
from workflows.structures.twin_keys import twin_keys

SPREADS, FEATURES, GRADIENTS, TWINS = (0.0, 0.4), (0.4, 0.5), (0.5, 0.8), (0.8, 1.0)
"""Parts of the progress."""

Found = tuple[SpinConfig, str]
"""A configuration and its source."""


def choose_next(
    options: CampaignOptions,
    engine: Engine,
    generation: int,
    explored: Sequence[dict[str, Any]],
    previous: dict[str, Any],
    path: Path | None,
) -> tuple[list[SpinConfig], list[dict[str, Any]]]:
    """Configurations to label in ``generation`` and the choices: candidate, score, reason.

    ``explored``: outputs of explore jobs. ``previous``: output of the newest evaluation; its champion, or else its
    committee, says what candidates are worth. The choices are also written to ``path``, with all candidates; nothing is
    written where it is None. Candidates whose geometry is tested on are left alone: their labels would be left out of
    training. Deterministic: the same models, candidates and options give the same choice, so a killed
    run continues with it. Raises DataError (candidates cannot be read) and PoolError (the rule cannot work).
    """
    select = options.active_learning.select
    rule = make_rule(select)
    every = _found(explored)
    tested = on_tests([config for config, _ in every], load_snapshot(previous["snapshot"]))
    found = [one for index, one in enumerate(every) if index not in tested]
    pool = _pool(options, engine, [source for _, source in found], [config for config, _ in found], rule, previous)
    chosen = choose(pool, rule, options.active_learning.labels, select, (options.seed, generation))
    by_id = {config.config_id: config for config, _ in found}
    documents = [asdict(choice) for choice in chosen]
    everything = {
        "generation": generation,
        "rule": rule.name,
        "model_id": _model(previous)["model_id"],
        "factors": pool.factors,
        "on_tests": len(tested),
        "chosen": documents,
        "candidates": [asdict(candidate) for candidate in pool.candidates],
    }
    if path is not None:
        write_atomically(path, json.dumps(everything))
    return [by_id[choice.candidate.config_id] for choice in chosen], documents


def _found(explored: Sequence[dict[str, Any]]) -> list[Found]:
    """The candidates of all sources; what several of them found belongs to the first."""
    found: dict[str, Found] = {}
    for one in explored:
        for config in read_configs(one["file"]):
            found.setdefault(config.config_id, (config, one["source"]))
    return list(found.values())


def _model(previous: dict[str, Any]) -> dict[str, Any]:
    """The model in use: the champion, or else the newest."""
    model: dict[str, Any] = previous.get("champion") or previous
    return model


def _pool(
    options: CampaignOptions,
    engine: Engine,
    sources: Sequence[str],
    configs: Sequence[SpinConfig],
    rule: Rule,
    previous: dict[str, Any],
) -> Pool:
    """What the rule needs to know of the candidates; spreads wherever there is a committee, as reports draw them."""
    members = [member["path"] for member in _model(previous)["members"]]
    if "spreads" in rule.needs and len(members) < 2:
        raise PoolError(
            f"rule {rule.name} needs the spread of a committee, and this one has one member; set committee: 3 in the "
            "campaign file, or another rule (active_learning: select: rule: max-det)"
        )
    frames = [config_to_atoms(config) for config in configs]
    candidates = [
        replace(_candidate(config), source=source, price=engine.seconds_estimate(config))
        for config, source in zip(configs, sources, strict=True)
    ]
    pool = Pool(candidates)
    if len(members) > 1:
        pool = _with_spreads(pool, frames, members, previous["snapshot"])
    if rule.needs & {"features", "gradients"}:
        sketch = options.active_learning.select.sketch
        pool = _with_features(pool, frames, members[0], rule, sketch, previous["snapshot"])
    points = _labels(previous["snapshot"])
    pool = _with_known(pool, configs, points, previous, options.structures.spin_orbit)
    return _with_prices(_with_states(pool, options, configs, points), engine, configs, points)


def _candidate(config: SpinConfig) -> Candidate:
    return Candidate(
        config_id=config.config_id,
        pair_id=config.pair_id,
        ordering=config.ordering,
        deformation=config.deformation,
        formula=config.formula,
    )


def _with_spreads(pool: Pool, frames: Sequence[Atoms], members: Sequence[str], snapshot: str) -> Pool:
    from spinmultinet.committee import Committee

    committee = Committee(members)
    predictions = committee.predict(frames, _tell(SPREADS, "spread of the committee"))
    candidates = [
        replace(
            candidate,
            energy=float(prediction["energy_std"]) / len(atoms),
            forces=float(np.max(prediction["forces_std"])),
            moments=float(np.max(prediction.get("magmoms_std", 0.0))),
        )
        for candidate, atoms, prediction in zip(pool.candidates, frames, predictions, strict=True)
    ]
    return replace(pool, candidates=candidates, factors=_factors(committee, snapshot))


def _factors(committee: Any, snapshot: str) -> dict[str, float]:
    """What turns spreads into expected errors: the saved calibration, or one on the labels that end the training.

    Empty where these are too few. The tests stay out of it: nothing is chosen by them.
    """
    from spinmultinet.errors import SpinMultiNetError

    if committee.calibration is None:
        with suppress(SpinMultiNetError):
            committee.calibrate(split_atoms(load_snapshot(snapshot), "val"))
    known = committee.calibration.factors if committee.calibration is not None else {}
    return {task: float(found.factor) for task, found in known.items()}


def _with_features(pool: Pool, frames: Sequence[Atoms], member: str, rule: Rule, sketch: int, snapshot: str) -> Pool:
    """Features of the candidates and of the labels that the model was trained on, of the committee's first member."""
    from spinmultinet.checkpoint import load_model
    from spinmultinet.features import gradient_features, structure_features

    model = load_model(member)
    known = split_atoms(load_snapshot(snapshot), "train")
    n = len(frames)
    if "features" in rule.needs:
        both = structure_features(model, [*frames, *known], _tell(FEATURES, "learned features"))
        pool = replace(pool, features=both[:n], known_features=both[n:])
    if "gradients" in rule.needs:
        tell = _tell(GRADIENTS, "gradient features")
        both = gradient_features(model, [*frames, *known], sketch=sketch, tell=tell)
        pool = replace(pool, gradients=both[:n], known_gradients=both[n:])
    return pool


def _labels(folder: str) -> list[SpinPoint]:
    """Those of the snapshot, whatever their split, so that no database is needed here."""
    snapshot = load_snapshot(folder)
    return [point for split in SPLITS if snapshot.counts.get(split) for point in read_points(snapshot.path(split))]


def _with_prices(pool: Pool, engine: Engine, configs: Sequence[SpinConfig], points: Sequence[SpinPoint]) -> Pool:
    """Prices in what the engine's seconds have turned out to be."""
    ratio = learned_ratio(engine, configs, points)
    return replace(pool, candidates=[replace(c, price=ratio * c.price) for c in pool.candidates])


def _with_states(
    pool: Pool, options: CampaignOptions, configs: Sequence[SpinConfig], points: Sequence[SpinPoint]
) -> Pool:
    """What the spin state of each candidate and label counts as; empty where all are orderings of the campaign."""
    every = [*configs, *points]
    if not any(config.deformation in OWN_SIGNS for config in every):
        return pool
    structures = options.structures
    names = state_names(every, in_every_ordering(options), structures.spin_orbit, structures.symprec)
    candidates = [replace(c, state=name) for c, name in zip(pool.candidates, names, strict=False)]
    known = [replace(c, state=name) for c, name in zip(pool.known, names[len(configs) :], strict=True)]
    return replace(pool, candidates=candidates, known=tuple(known))


def _with_known(
    pool: Pool,
    configs: Sequence[SpinConfig],
    points: Sequence[SpinPoint],
    previous: dict[str, Any],
    spin_orbit: bool,
) -> Pool:
    """The labels, and keys of twins among them and the candidates; rejected ones are known by their ids."""
    tell = _tell(TWINS, "twins")
    keys = twin_keys(
        [*configs, *points],
        labelled=range(len(configs), len(configs) + len(points)),
        spin_orbit=spin_orbit,
        progress=lambda done, total: tell(done / total),
    )
    candidates = [replace(candidate, twin=key) for candidate, key in zip(pool.candidates, keys, strict=False)]
    calculated = {point_id.split("-")[0] for point_id in previous["point_ids"]}
    repeated = {candidate.twin for candidate in candidates if candidate.config_id in calculated}
    known, known_twins = tuple(map(_candidate, points)), frozenset(keys[len(configs) :]) | repeated
    return replace(pool, candidates=candidates, known=known, known_twins=known_twins)


def _tell(part: tuple[float, float], text: str) -> Callable[[float], None]:
    return partial(_report_part, part, text)


def _report_part(part: tuple[float, float], text: str, share: float) -> None:
    report(part[0] + share * (part[1] - part[0]), text)
