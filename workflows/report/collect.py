"""Everything a report is made of, gathered once: labels, failures, predictions, choices, model records.

The one module of this room that reads files and the store; the others work on a :class:`Material`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datastore import SpinStore
from datastore.costs import LOG_FILE, log_events
from datastore.levels import CHANGED
from datastore.promotion import Promotion
from datastore.registry import history
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
    ``lineage``: every model that was evaluated on the way, those that were refused too, oldest first.
    ``sizes``: snapshot_id -> its training labels. ``promotions``: the promotion log. ``decisions``: round -> why it
    went on or stopped. ``honest``: tests of models on new labels, oldest first. ``events``: log of the runs here.
    """

    options: CampaignOptions
    points: list[SpinPoint]
    failures: list[SpinFailure]
    evaluated: Document = field(default_factory=dict)
    results: Document = field(default_factory=dict)
    selections: list[Document] = field(default_factory=list)
    records: list[ModelRecord] = field(default_factory=list)
    split_of: dict[str, str] = field(default_factory=dict)
    lineage: list[ModelRecord] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    promotions: list[Promotion] = field(default_factory=list)
    decisions: dict[int, str] = field(default_factory=dict)
    honest: list[Document] = field(default_factory=list)
    events: list[Document] = field(default_factory=list)

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
    lineage = _lineage(options, store, evaluated.get("model_id", ""))
    newest = _newest(store, lineage, evaluated)
    return Material(
        options=options,
        points=points,
        failures=failures,
        evaluated=evaluated,
        results=_results(evaluated),
        selections=_files(newest.get("selections", [])),
        records=_ancestry(store, evaluated.get("model_id", "")),
        split_of=_splits(evaluated),
        lineage=lineage,
        sizes=_sizes(store, lineage),
        promotions=history(store, options.name),
        decisions=_decisions(store, lineage),
        honest=_files(newest.get("honest", [])),
        events=list(log_events(Path(options.folder) / LOG_FILE)),
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


def _files(paths: Sequence[str]) -> list[Document]:
    """Content of the JSON files of the rounds; one that is not here (another machine) is left out."""
    return [json.loads(path.read_text()) for path in map(Path, paths) if path.is_file()]


def _ancestry(store: SpinStore, model_id: str) -> list[ModelRecord]:
    records: list[ModelRecord] = []
    seen = {""}  # stores of before may hold a model that is its own parent
    while model_id not in seen and (record := store.get_model(model_id)) is not None:
        seen.add(model_id)
        records.insert(0, record)
        model_id = record.parents[0] if record.parents else ""
    return records


def _lineage(options: CampaignOptions, store: SpinStore, model_id: str) -> list[ModelRecord]:
    """Ancestors of the newest model that stems from the one evaluated: later ones may have been refused."""
    newest = model_id
    for record in store.get_models(campaign=options.name):
        if newest in record.parents and record.model_id != newest:
            newest = record.model_id
    return _ancestry(store, newest)


def _sizes(store: SpinStore, lineage: Sequence[ModelRecord]) -> dict[str, int]:
    wanted = {"snapshot_id": {"$in": [record.snapshot_id for record in lineage]}}
    with explained(store.uri):
        found = store.snapshots.query(wanted, ["snapshot_id", "counts"]) if lineage else []
        return {document["snapshot_id"]: document["counts"]["train"] for document in found}


def _newest(store: SpinStore, lineage: Sequence[ModelRecord], evaluated: Document) -> Document:
    """Output of the last round, which knows of all rounds; that of the model in use may be older."""
    ids = [record.model_id for record in lineage]
    wanted = {"metadata.kind": {"$in": ["promote", "conclude"]}, "output.model_id": {"$in": ids}}
    with explained(store.uri):
        found = [document["output"] for document in store.jobs.query(wanted, ["output"])] if ids else []
    return max([evaluated, *found], key=lambda output: len(output.get("selections", [])))


def _decisions(store: SpinStore, lineage: Sequence[ModelRecord]) -> dict[int, str]:
    """Round -> what the job that ended it said; of the campaign that these models are of, in a store of several."""
    ids = {record.model_id for record in lineage}
    wanted = {"metadata.kind": "decide", "output.history": {"$exists": True}}  # retrainings had this kind, too, once
    with explained(store.uri):
        found = [document["output"] for document in store.jobs.query(wanted, ["output"])] if ids else []
    return {output["generation"]: output["why"] for output in found if output["history"][-1]["model_id"] in ids}


def _splits(evaluated: Document) -> dict[str, str]:
    if not evaluated:
        return {}
    snapshot = load_snapshot(evaluated["snapshot"])
    return {point_id: split for split, point_ids in snapshot.points.items() for point_id in point_ids}
