"""The verdict on a label: the reasons of the rules, and the manual decision that may stand above them. Pure."""

from __future__ import annotations

from datastore.schema import Decision, DecisionAction, SpinPoint

PAST: dict[DecisionAction, str] = {"accept": "accepted", "reject": "rejected", "retract": "retracted"}
"""Actions that give a verdict, as they are told on the label; ``restore`` returns to the rules' verdict."""


def automatic_reasons(point: SpinPoint) -> list[str]:
    """Why the rules reject the label, whatever was decided by hand; empty where they accept it."""
    return list(point.overruled) or [reason for reason in point.verdict_reasons if reason != point.decision]


def decided(point: SpinPoint, decision: Decision | None) -> SpinPoint:
    """The label with the verdict that the decision in force asks for; the rules' one without. Pure and idempotent."""
    reasons = automatic_reasons(point)
    fields: dict[str, object] = {"decision": "", "overruled": []}
    if decision is not None and decision.action in PAST:
        text = decision_text(decision)
        accept = decision.action == "accept"
        fields = {"decision": text, "overruled": reasons if accept else []}
        reasons = [] if accept else [text, *reasons]
    fields |= {"verdict": "rejected" if reasons else "accepted", "verdict_reasons": reasons}
    return point.model_copy(update=fields)


def followed(decision: Decision, original: str) -> Decision:
    """What a decision on a flipped label (``original``) means for the label salvaged from it: the same calculation.

    Where the original is accepted as it is, the salvaged label would count it twice, so it is rejected.
    """
    if decision.action != "accept":
        return decision
    reason = f"its original {original} is accepted as it is: {decision.reason}"
    return decision.model_copy(update={"action": "reject", "reason": reason})


def decision_text(decision: Decision) -> str:
    """The decision in a line, as on the label."""
    return f"{PAST[decision.action]} by {decision.author} on {decision.created[:10]}: {decision.reason}"
