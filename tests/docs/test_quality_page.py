"""What docs/quality.md says of several starts: options, thresholds, starts and commands are those of the program."""

import re
from pathlib import Path

import pytest
import yaml

from datastore.metastable import SAME_ENERGY, SAME_MOMENTS
from datastore.quality import UNPAIRED
from datastore.queries import parse_filter
from tests.support.cli import in_this_process
from workflows.campaign import StartOptions
from workflows.structures.starts import LOW_SPIN, STARTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "quality.md").read_text()
SECTION = PAGE[PAGE.index("## Several starts of one state") : PAGE.index("## A flipped label is not lost")]
TEXT = " ".join(SECTION.split())


def test_the_example_names_every_option_and_its_default():
    (example,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    content = yaml.safe_load(example)["starts"]
    assert set(content) == set(StartOptions.model_fields)
    assert StartOptions(**content).model_copy(update={"limit": None}) == StartOptions()


def test_signs_and_starts_are_all_explained():
    signs = StartOptions.model_json_schema()["properties"]["when"]["items"]["enum"]
    for name in (*signs, *STARTS):
        assert f"`{name}`" in TEXT


def test_numbers_of_the_rules():
    assert f"within {1e3 * SAME_ENERGY:g} meV/atom" in TEXT
    assert f"within {SAME_MOMENTS:g} muB" in TEXT
    assert f"{', '.join(f'{symbol} {n}' for symbol, n in UNPAIRED.items())} muB" in TEXT
    assert f"{', '.join(f'{symbol} {n}' for symbol, n in LOW_SPIN.items())} muB" in TEXT


@pytest.mark.parametrize(
    "line", re.findall(r"^spinmultinet (data \w+) PLACE \"(.*)\"$", SECTION, re.MULTILINE), ids=str
)
def test_commands_are_there_and_their_filters_are_read(line, tmp_path):
    command, terms = line
    assert parse_filter(terms)
    shown = in_this_process(tmp_path, *command.split(), "--help")
    assert shown.returncode == 0
