"""The tables of the reference are those of the classes."""

import importlib.util
import re
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from spinmultinet.hypers import TrainOptions
from tests.support.pages import ROOT
from workflows.campaign import CampaignOptions

pytest.importorskip("sphinx", reason="Sphinx is not installed")
SPEC = importlib.util.spec_from_file_location("fields", ROOT / "docs" / "_ext" / "fields.py")
fields = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fields)

REFERENCE = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))


class Base(BaseModel):
    number: int = 3


class Options(Base):
    kind: Literal["a", "b"] = Field(description="one | other")
    inner: Base | None = None
    names: list[str] = []
    sizes: dict[str, float] = {}
    own: Base = Base()


def rows(table):
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_every_option_has_a_row():
    for kind in (CampaignOptions, TrainOptions):
        assert [row[0].strip("`") for row in rows(fields.field_table(kind))] == list(kind.model_fields)


def test_types_and_defaults_in_words():
    assert rows(fields.field_table(Options))[1:] == [
        ["`kind`", "`a`, `b`", "needed", "one \\| other"],
        ["`inner`", "[Base](#fields-Base)", "none"],
        ["`names`", "list of text", "none"],
        ["`sizes`", "mapping of text to number", "none"],
        ["`own`", "[Base](#fields-Base)", "its defaults"],
    ]
    assert [row[0] for row in rows(fields.field_table(Options, own=True))] == [
        f"`{name}`" for name in ("kind", "inner", "names", "sizes", "own")
    ]


def test_the_sections_of_a_campaign_file_have_tables():
    shown = set(re.findall(r"^```\{fields\} \S+\.(\w+)$", REFERENCE, re.MULTILINE))
    for name in ("structures", "split", "active_learning", "starts"):
        linked = re.findall(r"\(#fields-(\w+)\)", fields.type_name(CampaignOptions.model_fields[name]))
        assert linked
        assert set(linked) <= shown
