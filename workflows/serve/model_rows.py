"""Models for people: a row each, the log of promotions, results of their tests, two of them side by side."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datastore import ModelRecord, SpinStore
from datastore.errors import DataError
from datastore.promotion import Promotion
from datastore.registry import champion, history, resolve
from datastore.stores import explained
from workflows.policy.promotion import Compared, overall
from workflows.registry.judging import compare_records, left_out
from workflows.status import TASKS, mean_errors

CLEAR = 0.025
"""A model is called better where chance would make such a difference less often than this, as in ``models compare``."""

LARGEST_RESULTS = 64_000_000
"""Bytes of a results.json that is read."""

WORDS = {"promote": "promoted", "refuse": "refused", "rollback": "gone back to"}
Document = dict[str, Any]


@dataclass(frozen=True)
class Models:
    """The models of one campaign, oldest first, and its log, newest first."""

    campaign: str
    records: list[ModelRecord]
    in_use: str
    log: list[Promotion]


@dataclass(frozen=True)
class Comparison:
    """Two models on the same frozen labels."""

    old: ModelRecord
    new: ModelRecord
    rows: list[Compared]
    ratio: float | None
    """Geometric mean of the ratios of errors, new over old, over test sets and tasks."""
    notes: list[str]


def models_of(store: SpinStore) -> list[Models]:
    """All models of a store by campaign."""
    with explained(store.uri):
        names = sorted({*store.models.distinct("campaign"), *store.promotions.distinct("campaign")})
    found = []
    for name in names:
        used = champion(store, name)
        log = history(store, name)[::-1]
        found.append(Models(name, store.get_models(campaign=name), used.model_id if used else "", log))
    return found


def row(record: ModelRecord, in_use: str, log: list[Promotion]) -> Document:
    """Cells of one model; errors on its random test labels in meV/atom, meV/Angstrom and muB."""
    tests = mean_errors(record.scores)
    first = tests.get("random") or next(iter(tests.values()), {})
    newest = next((entry for entry in log if entry.model_id == record.model_id), None)
    refused = newest is not None and newest.action == "refuse"
    state = "in use" if record.model_id == in_use else "refused" if refused else record.status
    return {
        "model_id": record.model_id,
        "short": record.model_id[:12],
        "generation": record.generation,
        "created": record.created[:16].replace("T", " "),
        "members": len(record.files),
        **{task: None if task not in first else round(first[task], 5) for task in TASKS},
        "pairs": tests.get("pairs", {}).get("energy"),
        "state": state,
    }


def results_of(store: SpinStore, model_id: str) -> Document | None:
    """Predictions of a model on its frozen tests; None where no evaluation of it is on this machine.

    Raises DataError where the file is there and cannot be read.
    """
    wanted = {"metadata.kind": {"$in": ["conclude", "evaluate"]}, "output.model_id": model_id}
    with explained(store.uri):
        found = [document["output"].get("results") for document in store.jobs.query(wanted, ["output.results"])]
    for path in (Path(str(name)) for name in found if name):
        if path.suffix == ".json" and path.is_file() and path.stat().st_size < LARGEST_RESULTS:
            try:
                result = json.loads(path.read_text())["model"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DataError(f"the predictions of model {model_id[:12]} cannot be read: {error}") from error
            return dict(result)
    return None


def compare(store: SpinStore, first: str, second: str) -> Comparison:
    """Both models (ids or their beginnings) on the same labels. Raises DataError and UnfitModelError as the command."""
    old, new = resolve(store, first), resolve(store, second)
    rows, tests = compare_records(store, old, new)
    return Comparison(old, new, rows, overall(rows), left_out(tests))


def better(row: Compared) -> str:
    """``old`` or ``new`` where one is clearly better, else empty."""
    if row.geometries < 2 and row.finite:
        return ""
    return "new" if row.chance > 1 - CLEAR else "old" if row.chance < CLEAR else ""


def compared_rows(comparison: Comparison) -> list[Document]:
    """Rows of the table of a comparison."""
    return [
        {
            "number": number,
            "where": row.name if row.kind == "group" else f"test set {row.name}",
            "task": f"{row.task} ({row.unit.replace('Angstrom', 'Å').replace('muB', 'μB')})",
            "labels": row.labels,
            "old": _number(row.old),
            "new": _number(row.new),
            "change": f"{row.growth:+.0%}" if math.isfinite(row.growth) else "-",
            "better": {"old": comparison.old, "new": comparison.new}[who].model_id[:8] if (who := better(row)) else "",
        }
        for number, row in enumerate(comparison.rows)
    ]


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "not finite"
