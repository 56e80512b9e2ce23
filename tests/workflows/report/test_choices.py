"""What a round chose, by group, and words for rules and prices."""

import pytest

from workflows.learning import SelectOptions
from workflows.report.choices import RULES, cost_words, group_tables, price_words

from .rounds import PER_ROUND


def test_choices_by_group(material):
    selection = material.selections[0]
    tables = {table["name"]: table["rows"] for table in group_tables(selection)}
    assert set(tables) == {"source", "ordering", "deformation"}  # one composition says nothing
    for rows in tables.values():
        assert sum(row["chosen"] for row in rows) == PER_ROUND
        assert sum(row["candidates"] for row in rows) == len(selection["candidates"])
    assert price_words(selection) == "1.5 s"
    assert group_tables({}) == []


def test_every_rule_has_words():
    rule = SelectOptions.model_fields["rule"].annotation
    assert set(RULES) == set(rule.__args__)


@pytest.mark.parametrize(("seconds", "words"), [(0.0123, "0.012 s"), (59, "59 s"), (90, "1.5 min"), (9000, "2.5 h")])
def test_cost_in_words(seconds, words):
    assert cost_words(seconds) == words
