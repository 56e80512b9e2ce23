"""Choose which labels to start again: what speaks for a lower state of them, the rule of workflows.policy.starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datastore import open_store
from datastore.atoms import config_to_atoms
from datastore.ingest import ingest
from datastore.metastable import is_comparable
from datastore.outliers import above_surface
from datastore.quality import other_spin_state
from datastore.queries import find
from datastore.schema import SpinConfig, SpinPoint
from workflows.campaign import CampaignOptions, StartOptions
from workflows.jobs.files import write_atomically
from workflows.policy.starts import Evidence, suspects
from workflows.structures.starts import starts


def choose_starts(
    options: CampaignOptions,
    wanted: StartOptions,
    generation: int,
    labelled: Sequence[str],
    previous: dict[str, Any] | None,
    path: Path,
) -> tuple[list[SpinConfig], list[dict[str, Any]]]:
    """Further starts of those of ``labelled`` (point_ids) that look metastable, and why, also written to ``path``.

    Neighbours are the labels of this campaign so far. Deterministic: the same labels and models give the same starts,
    so a killed run continues with them, and a campaign that was changed asks for them again: they are in the store.
    """
    points = _labels(options, {*labelled, *(previous or {}).get("point_ids", [])})
    mine = sorted((p for p in points if p.point_id in set(labelled)), key=lambda p: p.point_id)
    members = [member["path"] for member in previous["members"]] if previous and "committee" in wanted.when else []
    found = suspects(evidence(mine, points, members), wanted.when, wanted.energy, wanted.spreads, wanted.limit)
    by_id = {point.point_id: point for point in mine}
    configs = [
        new.model_copy(update={"campaign": options.name, "generation": generation})
        for suspect in found
        for new in starts(by_id[suspect.point_id].config(), wanted.count)
    ]
    documents = [asdict(suspect) for suspect in found]
    write_atomically(path, json.dumps({"generation": generation, "suspects": documents}))
    return configs, documents


def _labels(options: CampaignOptions, point_ids: set[str]) -> list[SpinPoint]:
    """Labels whose state is in question, also those salvaged from others; of several starts among them the kept one.

    A label beaten by a start that is not among them is in question as it was before that start was calculated.
    """
    wanted = {"$in": sorted(point_ids)}
    with open_store(options.store) as store:
        ingest(store)
        points = list(find(store, {"$or": [{"point_id": wanted}, {"salvaged_from": wanted}]}))
    among = {point.point_id for point in points}
    return [point for point in points if is_comparable(point) and point.ground not in among]


def evidence(mine: Sequence[SpinPoint], points: Sequence[SpinPoint], members: Sequence[str]) -> list[Evidence]:
    """What is known of each label of ``mine``: its neighbours are ``points``, the committee's files ``members``."""
    heights = above_surface(points)
    return [
        Evidence(
            point.point_id,
            above_committee=above,
            spread=spread,
            above_surface=heights.get(point.point_id),
            spin_state=other_spin_state(point) or "",
        )
        for point, (above, spread) in zip(mine, _predicted(mine, members), strict=True)
    ]


def _predicted(mine: Sequence[SpinPoint], members: Sequence[str]) -> list[tuple[float | None, float | None]]:
    """Free energy minus the committee's prediction, and its spread, eV/atom; None without a committee."""
    if not members or not mine:
        return [(None, None)] * len(mine)
    from spinmultinet.committee import Committee

    found = Committee(list(members)).predict([config_to_atoms(point.config()) for point in mine])
    return [
        (
            (point.free_energy - float(prediction["energy"])) / len(point.species),
            float(prediction["energy_std"]) / len(point.species),
        )
        for point, prediction in zip(mine, found, strict=True)
    ]
