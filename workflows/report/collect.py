"""Everything a report is made of, gathered once: labels, failures, predictions, choices, model records.

The one module of this room that reads files and the store; the others work on a :class:`Material`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datastore import SpinStore
from datastore.levels import CHANGED
from datastore.schema import ModelRecord, SpinFailure, SpinPoint
from datastore.snapshot import load_snapshot
from datastore.stores import explained
from datastore.upgrade import parse
from workflows.campaign import CampaignOptions

Document = dict[str, Any]


class ReportError(ValueError):
    """A report that cannot be made; the message names the remedy."""


@dataclass(frozen=True)
class Material:
    """One campaign as far as it has come. Without a trained model ``results`` is empty.

    ``results``: content of results.json of the last generation (see :mod:`spinmultinet.evaluate` for each entry).
    ``selections``: content of the selection file per active-learning round.
    ``records``: the model and its ancestors, oldest first.
    ``split_of``: point_id -> train, val or test.
    """

    options: CampaignOptions
    points: list[SpinPoint]
    failures: list[SpinFailure]
    evaluated: Document = field(default_factory=dict)
    results: Document = field(default_factory=dict)
    selections: list[Document] = field(default_factory=list)
    records: list[ModelRecord] = field(default_factory=list)
    split_of: dict[str, str] = field(default_factory=dict)

    @property
    def calculated(self) -> list[SpinPoint | SpinFailure]:
        """Every calculation that was run, with or without a label."""
        return [*self.points, *self.failures]

    @property
    def engine(self) -> str:
        """Engine for people: the code's own name where the level of theory gives one."""
        item = self.typical
        return str(item.level_of_theory.get("code") or item.engine) if item else "the engine"

    @property
    def typical(self) -> SpinPoint | SpinFailure | None:
        """A calculation at the level of theory that most have, unchanged where there are such; None without any."""
        as_asked = [item for item in self.calculated if CHANGED not in item.level_of_theory] or self.calculated
        level = Counter(item.level_id for item in as_asked).most_common(1)
        return next((item for item in as_asked if item.level_id == level[0][0]), None)

    @property
    def orderings(self) -> list[str]:
        """Orderings asked for, in the order of the campaign file, then any others."""
        found = {item.ordering for item in self.calculated}
        asked = [name for name in self.options.structures.orderings if isinstance(name, str) and name in found]
        return [*asked, *sorted(found - set(asked))]

    @property
    def deformations(self) -> list[str]:
        """Kinds of deformation that occur, undeformed first, in the order of the campaign file."""
        found = {item.deformation for item in self.calculated}
        asked = list(dict.fromkeys(["none", *(d.kind for d in self.options.structures.deformations)]))
        return [*(kind for kind in asked if kind in found), *sorted(found - set(asked))]


def collect(options: CampaignOptions, store: SpinStore, evaluated: Document | None) -> Material:
    """Gather the material of a campaign; ``evaluated`` is the output of :mod:`workflows.jobs.evaluate`, or nothing.

    Raises ReportError where the predictions that ``evaluated`` names cannot be read.
    """
    evaluated = evaluated or {}
    points, failures = _calculations(options, store, evaluated)
    return Material(
        options=options,
        points=points,
        failures=failures,
        evaluated=evaluated,
        results=_results(evaluated),
        selections=_selections(evaluated),
        records=_ancestry(store, evaluated.get("model_id", "")),
        split_of=_splits(evaluated),
    )


def _calculations(
    options: CampaignOptions, store: SpinStore, evaluated: Document
) -> tuple[list[SpinPoint], list[SpinFailure]]:
    """What the model rests on where there is one, else everything stored under the campaign's name."""
    ids = evaluated.get("point_ids")
    criteria = {"campaign": options.name} if ids is None else {"point_id": {"$in": list(ids)}}
    with explained(store.uri):
        points = [parse(SpinPoint, document) for document in store.points.query(criteria)]
        failures = [parse(SpinFailure, document) for document in store.failures.query(criteria)]
    return sorted(points, key=_order), sorted(failures, key=_order)


def _order(item: SpinPoint | SpinFailure) -> tuple[int, str, str, str]:
    """Same report from every store, whatever order it returns documents in."""
    return item.generation, item.deformation, item.pair_id, item.ordering


def _results(evaluated: Document) -> Document:
    if not evaluated:
        return {}
    path = Path(evaluated["results"])
    try:
        results: Document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ReportError(f"predictions cannot be read: {path}: {error}; run the campaign again") from error
    return results


def _selections(evaluated: Document) -> list[Document]:
    """Choices of the rounds behind the model; a round without its file (another machine) is left out."""
    paths = [Path(path) for path in evaluated.get("selections", [])]
    return [json.loads(path.read_text()) for path in paths if path.is_file()]


def _ancestry(store: SpinStore, model_id: str) -> list[ModelRecord]:
    records: list[ModelRecord] = []
    while model_id and (record := store.get_model(model_id)) is not None:
        records.insert(0, record)
        model_id = record.parents[0] if record.parents else ""
    return records


def _splits(evaluated: Document) -> dict[str, str]:
    if not evaluated:
        return {}
    snapshot = load_snapshot(evaluated["snapshot"])
    return {point_id: split for split, point_ids in snapshot.points.items() for point_id in point_ids}
