"""The page: complete, self-contained, escaped, and still a page when there is little to tell."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from datastore import open_store
from datastore.levels import CHANGED
from workflows.campaign import CampaignOptions
from workflows.report import html, print_summary, summarise, write_report
from workflows.report.collect import collect

from .conftest import UGLY, campaign

SECTIONS = ("result", "course", "calculated", "spins", "accuracy", "learning", "models", "settings", "rejected")
VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """Collects tags, attributes that load something, and whether every element is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.loads += [values[key] or "" for key in ("src", "href", "srcset", "action", "data") if key in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(page: Path) -> str:
    return page.read_text()


def test_page_is_well_formed_and_has_every_section(text: str) -> None:
    parsed = Page(text)
    assert parsed.open == []
    assert tuple(parsed.ids) == SECTIONS
    assert parsed.tags.count("img") == 20


def test_page_loads_nothing(text: str) -> None:
    parsed = Page(text)
    assert all(address.startswith(("data:", "#")) for address in parsed.loads)
    assert "script" not in parsed.tags
    style = "".join(re.findall(r"<style>(.*?)</style>", text, re.S))
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in text
    assert len(text) < 4_000_000


def test_text_of_others_is_escaped(text: str) -> None:
    assert UGLY not in text
    assert text.count("&lt;script&gt;alert(") == 2  # the failure's error and the rejected label's reason


def test_page_tells_the_numbers(text: str) -> None:
    for part in ("48 spin-lattice calculations of NiO", "46 accepted, 1 rejected, 1 failed", "12 held-out labels"):
        assert part in text
    assert "E(FM) − E(AFM-II)" in text
    assert "spinmultinet run nio_example.yaml" in text


def test_campaign_in_the_page_runs_again(trained: Any) -> None:
    content = yaml.safe_load(html._campaign_file(trained.options))
    assert CampaignOptions.model_validate(content) == trained.options


def test_default_folders_are_left_out_of_the_campaign() -> None:
    folder = str(Path("somewhere").resolve() / "runs" / "nio_example")
    options = campaign(Path(folder)).model_copy(update={"store": f"local:{folder}/store"})
    assert not {"folder", "store"} & set(yaml.safe_load(html._campaign_file(options)))


def test_a_report_tells_no_secrets(trained: Any) -> None:
    retrain = {"webhook": "https://ada:hidden1@hooks.example.org/T0/hidden2", "notify": ["mail", "--key", "hidden3"]}
    content = {**trained.options.model_dump(mode="json"), "store": "mongodb://ada:hidden4@db.example.org/nio"}
    content["active_learning"]["retrain"] |= {**retrain, "new_points": 7}
    options = CampaignOptions.model_validate(content)
    assert "hidden" not in html._campaign_file(options)
    shown = yaml.safe_load(html._campaign_file(options))
    assert shown["store"] == "mongodb://ada:***@db.example.org/nio"
    assert shown["active_learning"]["retrain"] == {"new_points": 7, "webhook": "https://hooks.example.org/..."}


def test_table_counts_every_calculation(trained: Any) -> None:
    material = collect(trained.options, trained.store, trained.evaluated)
    rows = dict(html.verdict_table(material))
    assert rows["all"][-1] == "46, 1 rejected, 1 failed"
    assert rows["none"][-1] == "2, 1 rejected"
    assert list(rows) == ["none", "displacement", "shear", "tensile", "volume", "all"]


def test_labels_without_a_model_give_a_page(labelled: Any, tmp_path: Path) -> None:
    text = write_report(labelled.options, labelled.store, None, tmp_path / "report.html").read_text()
    parsed = Page(text)
    assert parsed.open == []
    assert tuple(parsed.ids) == SECTIONS
    assert parsed.tags.count("img") == 4
    assert "No model has been trained" in text


def test_empty_campaign_gives_a_page(tmp_path: Path) -> None:
    text = write_report(campaign(tmp_path), open_store("memory:"), None, tmp_path / "report.html").read_text()
    assert "Nothing has been calculated yet" in text
    assert tuple(Page(text).ids) == SECTIONS


def test_mixed_levels_are_pointed_out(labelled: Any, tmp_path: Path) -> None:
    store = open_store("memory:")
    points = collect(labelled.options, labelled.store, None).points
    store.put_point(points[0])
    store.put_point(points[1].model_copy(update={"level_of_theory": {"code": "another"}}))
    text = write_report(labelled.options, store, None, tmp_path / "report.html").read_text()
    assert "2 different levels of theory" in text


def test_levels_that_corrections_changed_are_no_mixture(labelled: Any, tmp_path: Path) -> None:
    """Nobody asked for two levels, and another name for the campaign would change nothing."""
    store = open_store("memory:")
    points = [p for p in collect(labelled.options, labelled.store, None).points if p.verdict == "accepted"][:5]
    met = {"handler": "VaspErrorHandler", "errors": ["tet"], "actions": []}
    ways = [({}, [])] * 2 + [({"ISMEAR": 0, "SIGMA": 0.05}, [met])] * 2 + [({"ISYM": 0}, [])]
    for point, (changed, history) in zip(points, ways, strict=True):
        level = {**point.level_of_theory, **({CHANGED: changed} if changed else {})}
        store.put_point(point.model_copy(update={"level_of_theory": level, "history": history}))
    summary = summarise(labelled.options, store, None)
    assert summary.levels == 1
    assert CHANGED not in summary.level_of_theory
    assert summary.left_out == [
        "2 labels left out of training: corrections changed ISMEAR, SIGMA (custodian: tet)",
        "1 label left out of training: corrections changed ISYM",
    ]
    text = write_report(labelled.options, store, None, tmp_path / "report.html").read_text()
    assert all(said in text for said in summary.left_out)
    assert "different levels of theory" not in text
    console = Console(file=io.StringIO(), width=200)
    print_summary(summary, console)
    assert "Warning: 1 label left out of training: corrections changed ISYM." in console.file.getvalue()
    assert "levels of theory" not in console.file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"Co": 3.32, "Ni": 6.2}, "Co 3.32, Ni 6.2"),
        ({"all8": [4, 2, 2]}, "all8 4 × 2 × 2"),
        (["a", "b"], "a, b"),
        (700.0, "700"),
        (4e-6, "4e-06"),
        (None, "None"),
    ],
)
def test_settings_are_readable(value: Any, text: str) -> None:
    assert html.readable(value) == text


def test_page_of_several_rounds_shows_all_of_them(page_of_rounds: Path) -> None:
    text = page_of_rounds.read_text()
    for part in (
        "Learning curves",
        "Which jobs ran when",
        "Does the committee know where it is wrong?",
        "not yet",
        "refused",
        "all targets are met",
        "What was selected, and why",
    ):
        assert part in text
    assert text.count("<details") == 3
    assert text.count("<details open") == 1
    assert all(len(alt) > 20 for alt in re.findall(r'alt="([^"]*)"', text))
