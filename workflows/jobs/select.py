"""Choose what to label next: candidates, the committee's spread on them, the rule of :mod:`workflows.policy`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from datastore.atoms import config_to_atoms
from datastore.schema import SpinConfig
from workflows.campaign import CampaignOptions
from workflows.jobs.files import write_atomically
from workflows.policy.batch import choose
from workflows.policy.pool import Candidate, Pool
from workflows.policy.rules import Spread
from workflows.structures.generate import candidates
from workflows.structures.preparation import count_cells


def choose_next(
    options: CampaignOptions, generation: int, evaluated: dict[str, Any], path: Path
) -> tuple[list[SpinConfig], list[dict[str, Any]]]:
    """Configurations to label in ``generation`` and the choices (candidate, score, reason), also written to ``path``.

    Deterministic: the same models and options give the same choice, so a killed run continues with it.
    """
    pool = _pool(options, generation)
    scored = _scored(pool, [member["path"] for member in evaluated["members"]])
    chosen = choose(Pool(scored), Spread(), options.active_learning.labels, options.active_learning.select)
    by_id = {config.config_id: config for config in pool}
    documents = [asdict(choice) for choice in chosen]
    everything = {"generation": generation, "chosen": documents, "candidates": [asdict(c) for c in scored]}
    write_atomically(path, json.dumps(everything))
    return [by_id[choice.candidate.config_id] for choice in chosen], documents


def _pool(options: CampaignOptions, generation: int) -> list[SpinConfig]:
    """About as many new geometries as the options ask for, evenly over parents and deformations."""
    structures = options.structures
    kinds = sum(deformation.kind != "none" for deformation in structures.deformations)
    each = max(1, round(options.active_learning.candidates / max(1, kinds * count_cells(structures))))
    return list(candidates(structures, generation, campaign=options.name, count=each))


def _scored(pool: list[SpinConfig], members: list[str]) -> list[Candidate]:
    from spinmultinet.committee import Committee

    predictions = Committee(members).predict([config_to_atoms(config) for config in pool])
    return [_candidate(config, prediction) for config, prediction in zip(pool, predictions, strict=True)]


def _candidate(config: SpinConfig, prediction: dict[str, Any]) -> Candidate:
    return Candidate(
        config_id=config.config_id,
        pair_id=config.pair_id,
        ordering=config.ordering,
        deformation=config.deformation,
        energy=float(prediction["energy_std"]) / len(config.species),
        forces=float(np.max(prediction["forces_std"])),
        moments=float(np.max(prediction["magmoms_std"])),
    )
