"""The page of an evaluation holds its numbers, in tables whose rows have as many cells as their heads."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.evaluation import committee_result
from workflows.report.evaluation_markdown import evaluation_markdown


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return committee_result()


def test_numbers_are_on_the_page(result: dict[str, Any]) -> None:
    page = evaluation_markdown(result, {"labels": "test.extxyz"}, ["plots/parity.png"])
    for task, scores in result["overall"].items():
        assert f"| {task} | {result['units'][task]} | {scores['mae']:.4g} | {scores['rmse']:.4g} |" in page
    fm = result["per_ordering"]["FM"]["energy"]
    assert f"| FM | 12 | {fm['mae']:.4g} / {fm['rmse']:.4g} |" in page
    assert f"{100 * result['uncertainty']['forces']['within']['sigma'][0]:.1f} %" in page
    assert "FM - AFM-II" in page
    assert "No labels of an element with more than one spin state" in page
    assert "- labels: test.extxyz" in page
    assert "![plots/parity.png](plots/parity.png)" in page


def test_tables_are_whole(result: dict[str, Any]) -> None:
    states = {
        "right": 0.9,
        "n": 10,
        "commonest": 0.7,
        "per_element": {"Co": {"states": [{"from": 0.9, "to": 1.3, "n": 3, "right": 2 / 3}]}},
    }
    page = evaluation_markdown(result | {"spin_states": states}, {})
    assert "| Co | 0.90-1.30 | 3 | 66.7 % |" in page
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(tables) == 7
    for table in tables:
        assert len({line.count("|") for line in table.strip().split("\n")}) == 1


def test_what_is_absent_has_no_section(result: dict[str, Any]) -> None:
    unknown = {"unknown": next(iter(result["per_ordering"].values()))}
    bare = result | {"per_ordering": unknown, "pairs": None, "uncertainty": {}, "right_sign": None, "spin_states": None}
    page = evaluation_markdown(bare, {})
    assert "by ordering" not in page
    assert "by deformation" in page
    assert [line for line in page.split("\n") if line.startswith("#")] == ["# Evaluation", "## Errors"]
