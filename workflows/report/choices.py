"""What each round chose, and out of what: counts by source, ordering, composition and deformation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from workflows.learning import SelectOptions
from workflows.report.collect import Document

GROUPS = {"source": "source", "composition": "formula", "ordering": "ordering", "deformation": "deformation"}
"""Name for people -> field of a candidate."""


RULES = {
    "random": "Drawn by chance.",
    "balanced": "The composition and ordering with the fewest labels come first, and of these the deformation with the "
    "fewest; no model is asked.",
    "farthest-point": "Each choice lies as far as possible, in the model's learned features, from all labels and from "
    "the choices before it.",
    "spread": "Each candidate is scored by how much the committee disagrees on it, in units of the median candidate; "
    "the largest of the tasks counts.",
    "threshold": "Candidates whose expected error, the calibrated spread of the committee, passes a threshold; those "
    "on which the model is lost come last.",
    "max-dist": "Each choice lies as far as possible, in gradients of the model's last layer, from all labels and from "
    "the choices before it.",
    "max-det": "Each choice lowers most what the model, linear in the gradients of its last layer, does not know after "
    "the labels and the choices before it.",
    "transductive": "Each choice tells most about all candidates together, by the model's own features.",
}
"""Rule of a selection -> what it does, for people."""


def rule_words(rule: str, options: SelectOptions) -> str:
    """What a rule does and what prices have to do with it; empty for a rule that is not known."""
    if rule not in RULES:
        return ""
    power = "" if options.price == 1 else f" to the power {options.price:g}"
    if rule == "random":
        odds = f"The odds fall as the price{power}." if options.price else "Each candidate has the same odds."
    else:
        odds = f"Scores are divided by the price{power}." if options.price else "Prices do not count."
    return f"{RULES[rule]} {odds}"


def group_tables(selection: Document) -> list[Document]:
    """Per grouping with more than one group: ``name`` and ``rows`` of group, chosen, candidates, mean price.

    The price is that of the chosen ones in core seconds, None where a group gave none.
    """
    tables = []
    candidates = selection.get("candidates", [])
    chosen = [choice["candidate"] for choice in selection.get("chosen", [])]
    for name, field in GROUPS.items():
        rows = _rows(candidates, chosen, field)
        if len(rows) > 1:
            tables.append({"name": name, "rows": rows})
    return tables


def _rows(candidates: Sequence[Document], chosen: Sequence[Document], field: str) -> list[Document]:
    there = Counter(str(candidate.get(field, "")) for candidate in candidates)
    taken = Counter(str(candidate.get(field, "")) for candidate in chosen)
    order = sorted(there | taken, key=lambda group: (-taken[group], -there[group], group))
    return [{"group": group or "–", "chosen": taken[group], "candidates": there[group]} for group in order]


def price_words(selection: Document) -> str:
    """Sum of the estimated prices of the chosen ones; empty where no price is known."""
    prices = [choice["candidate"].get("price", 0.0) for choice in selection.get("chosen", [])]
    return cost_words(sum(prices)) if any(prices) else ""


def cost_words(seconds: float) -> str:
    """Core seconds for people, short: ``12 s``, ``3.4 min``, ``1.8 h``."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s"


def choice_row(choice: Document, fate: str) -> dict[str, Any]:
    """What the page shows of one choice."""
    candidate = choice["candidate"]
    return {**choice, "fate": fate, "price": cost_words(candidate["price"]) if "price" in candidate else "–"}
