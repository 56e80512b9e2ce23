"""After each round: what it cost and gave, and whether another one follows."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datastore import SpinStore, open_store
from datastore.costs import ledger, total
from datastore.schema import content_hash
from workflows.campaign import CampaignOptions
from workflows.jobs.files import write_atomically
from workflows.policy.stopping import UNITS, Limits, Round, decide

Document = dict[str, Any]
NOT_IN_USE = "no model is in use: none has passed its checks so far"


def decision(options: CampaignOptions, generation: int, previous: Document) -> Document:
    """Whether the campaign stops after ``generation``; nothing is written.

    ``previous``: output of the promotion that ended it. Keys: ``generation``, ``stop``, ``why`` (one line), and
    ``history``, one entry per round: ``labels`` (calculations so far), ``core_hours`` they cost, ``model_id`` trained,
    ``promoted``, ``champion`` (model in use after it), ``errors`` of that one and ``own_errors`` of the new one (test
    set -> task -> mean absolute error), and ``honest``, that of the model in use before on this round's new labels.
    Where no model is in use, because each so far failed its checks, ``champion`` and ``errors`` are empty: the errors
    of a model that cannot be used meet no target.
    """
    with open_store(options.store) as store:
        entry = _entry(store, generation, previous)
    history = [old for old in previous.get("history", []) if old["generation"] < generation] + [entry]
    learning = options.active_learning
    stop, why = decide([_round(old) for old in history], learning.stop, Limits(learning.rounds, learning.labels))
    if not entry["champion"]:
        why = f"{why}; {NOT_IN_USE}"
    return {"generation": generation, "stop": stop, "why": why, "history": history}


def write_decision(options: CampaignOptions, previous: Document, found: Document) -> Path:
    """Write a decision beside the selection of its generation; the name follows from what decided."""
    learning = options.active_learning
    limits = {"rounds": learning.rounds, "labels": learning.labels, **learning.stop.model_dump(mode="json")}
    key = content_hash([previous["model_id"], (previous.get("champion") or {}).get("model_id"), limits], 12)
    path = Path(options.folder) / f"generation_{found['generation']}" / f"decision-{key}.json"
    write_atomically(path, json.dumps({**found, "limits": limits}))
    return path.resolve()


def _entry(store: SpinStore, generation: int, previous: Document) -> Document:
    cost = total(ledger(store, {"point_id": {"$in": previous["point_ids"]}}).values())
    own = _errors(previous["scores"])
    used = previous.get("champion", previous)  # flows of before the promotion log have no such key
    return {
        "generation": generation,
        "labels": len(previous["point_ids"]),
        "core_hours": cost.seconds / 3600,
        "model_id": previous["model_id"],
        "promoted": bool(previous.get("promoted", True)),
        "champion": used["model_id"] if used else "",
        "errors": _errors_of(store, used["model_id"], previous["model_id"], own) if used else {},
        "own_errors": own,
        "honest": _honest(generation, previous),
    }


def _errors_of(store: SpinStore, used: str, newest: str, own: Document) -> Document:
    """Those on record of the model in use; ``own``, of the newest, where that is the one."""
    record = None if used == newest else store.get_model(used)
    return own if record is None else _errors(record.scores)


def _errors(scores: Document) -> dict[str, dict[str, float]]:
    return {
        test: {task: found[task]["mae"] for task in UNITS if task in found}
        for test, found in scores.get("tests", {}).items()
    }


def _honest(generation: int, previous: Document) -> Document | None:
    """Errors of the honest test of this generation; None where there was none, or its batch gave no label."""
    files = [Path(file) for file in previous.get("honest", [])]
    document = json.loads(files[-1].read_text()) if files else {}
    if document.get("generation") != generation or not document.get("n"):
        return None
    errors = {task: document["overall"][task]["mae"] for task in UNITS if task in document["overall"]}
    return {"n": document["n"], "model_id": document["model_id"], "errors": errors}


def _round(entry: Document) -> Round:
    wanted = asdict(Round(0, 0))
    return Round(**{name: entry[name] for name in wanted} | {"errors": _numbers(entry["errors"])})


def _numbers(errors: Document) -> dict[str, dict[str, float]]:
    """Stores keep an infinite error as null."""
    return {
        test: {task: math.inf if error is None else error for task, error in found.items()}
        for test, found in errors.items()
    }
