"""Selection rules by name: each a small class behind :mod:`workflows.policy.contract`.

Pure: a pool goes in, scores come out. :func:`workflows.policy.batch.choose` takes the candidate with the highest score
per price again and again, under the rules of a batch; a rule says how much each is still worth after those taken.
"""

from __future__ import annotations

from workflows.learning import RuleName, SelectOptions
from workflows.policy.contract import Need, Rule, Scores
from workflows.policy.pool import PoolError
from workflows.policy.rules_balanced import Balanced
from workflows.policy.rules_features import FarthestPoint, MaxDet, MaxDist
from workflows.policy.rules_spread import Random, Spread, Threshold
from workflows.policy.rules_transductive import Transductive

__all__ = [
    "RULES",
    "Balanced",
    "FarthestPoint",
    "MaxDet",
    "MaxDist",
    "Need",
    "PoolError",
    "Random",
    "Rule",
    "Scores",
    "Spread",
    "Threshold",
    "Transductive",
    "make_rule",
]

RULES: dict[RuleName, type[Rule]] = {
    rule.name: rule for rule in (Random, FarthestPoint, Spread, Threshold, MaxDist, MaxDet, Transductive, Balanced)
}
"""Every rule by its name in the campaign file."""


def make_rule(options: SelectOptions) -> Rule:
    """The rule that a campaign file asks for, with its options."""
    return RULES[options.rule].of(options)
