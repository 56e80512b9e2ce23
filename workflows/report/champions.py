"""Which models were in use, which were refused, and why: the promotion log as rows."""

from __future__ import annotations

from datastore.promotion import Promotion
from workflows.report.collect import Document, Material
from workflows.report.summary import TASKS, UNITS, shown

WORDS = {"promote": "promoted", "refuse": "refused", "rollback": "rolled back to"}


def champion_rows(material: Material) -> list[Document]:
    """Per entry of the log: ``number``, ``when``, ``action``, ``model``, ``errors``, ``by``, ``reasons``, ``now``.

    ``now``: whether this is what made the model in use. Without a log (older stores) there are none.
    """
    last = material.promotions[-1].champion if material.promotions else ""
    puts = [entry.number for entry in material.promotions if entry.action != "refuse" and entry.model_id == last]
    return [_row(material, entry, bool(puts) and entry.number == puts[-1]) for entry in material.promotions]


def _row(material: Material, entry: Promotion, now: bool) -> Document:
    records = {record.model_id: record for record in [*material.records, *material.lineage]}
    record = records.get(entry.model_id)
    overall = record.scores.get("model", {}) if record else {}
    errors = [f"{shown(overall[task]['mae'], task)} {UNITS[task]}" for task in TASKS if task in overall]
    return {
        "number": entry.number,
        "when": entry.created[:16].replace("T", " "),
        "action": WORDS[entry.action],
        "model": f"round {record.generation}" if record else entry.model_id,
        "model_id": entry.model_id,
        "errors": ", ".join(errors),
        "by": entry.by,
        "reasons": entry.reasons,
        "now": now,
    }
