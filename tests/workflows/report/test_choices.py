"""What a round chose, by group, and words for rules and prices."""

import pytest

from workflows.learning import SelectOptions
from workflows.report.choices import RULES, cost_words, group_tables, price_words, rule_words

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


@pytest.mark.parametrize(
    ("rule", "price", "words"),
    [
        ("random", 1.0, "The odds fall as the price."),
        ("random", 0.5, "The odds fall as the price to the power 0.5."),
        ("random", 0.0, "Each candidate has the same odds."),
        ("spread", 1.0, "Scores are divided by the price."),
        ("spread", 0.0, "Prices do not count."),
    ],
)
def test_words_say_what_prices_do(rule, price, words):
    assert rule_words(rule, SelectOptions(rule=rule, price=price)).endswith(words)


def test_a_rule_of_another_version_has_no_words():
    assert rule_words("by-tarot", SelectOptions()) == ""


@pytest.mark.parametrize(("seconds", "words"), [(0.0123, "0.012 s"), (59, "59 s"), (90, "1.5 min"), (9000, "2.5 h")])
def test_cost_in_words(seconds, words):
    assert cost_words(seconds) == words
