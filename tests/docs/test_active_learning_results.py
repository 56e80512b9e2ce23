"""docs/results/active-learning.md: what the committed results and the plan give, word for word."""

from pathlib import Path

from benchmarks.active_learning.__main__ import RESULTS
from benchmarks.active_learning.page import write_page
from benchmarks.active_learning.plan import read_plan
from workflows.learning import SelectOptions

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "results" / "active-learning.md"


def test_the_page_is_made_of_the_committed_results(tmp_path):
    write_page(read_plan(), RESULTS, tmp_path)
    made = (tmp_path / "results" / "active-learning.md").read_text()
    assert made == PAGE.read_text(), "run: python -m benchmarks.active_learning page"


def test_the_default_of_the_plan_is_that_of_campaigns():
    plan = read_plan()
    assert plan.strategies[plan.default].select.rule == SelectOptions().rule


def test_figures_are_there_and_small():
    for task in read_plan().tasks:
        assert 5_000 < (DOCS / "images" / f"active-learning-{task.name}.png").stat().st_size < 200_000


def test_it_is_listed_among_the_results():
    assert "(active-learning.md)" in (DOCS / "results" / "README.md").read_text()
