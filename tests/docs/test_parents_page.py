"""The examples of docs/parents.md are campaigns that can be run."""

import re
from pathlib import Path

import pytest
import yaml

from workflows.structures import generate
from workflows.structures.lattice import RelaxOptions, ScanOptions
from workflows.structures.options import StructureOptions
from workflows.structures.preparation import starts, with_lattices

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "parents.md").read_text()
EXAMPLES = [yaml.safe_load(body)["structures"] for body in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.M)]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_are_understood_and_give_configurations(number):
    options = StructureOptions.model_validate(EXAMPLES[number])
    waiting = starts(options)
    assert waiting
    assert list(generate(with_lattices(options, [None] * len(waiting))))


def test_the_example_of_the_paper_has_a_cell_per_ordering_labelled_in_it():
    options = StructureOptions.model_validate(EXAMPLES[0])
    assert [start.config.ordering for start in starts(options)] == ["FM", "AFM-I", "AFM-II"]
    configs = list(generate(with_lattices(options, [None] * 3)))
    assert len(configs) == 3 * (1 + 10)
    assert len({(config.parent, config.ordering) for config in configs}) == 3


def test_defaults_are_the_ones_the_page_tells():
    stated = EXAMPLES[2]["parents"][0]["lattice"]["relax"]
    assert RelaxOptions(orderings=stated["orderings"]) == RelaxOptions(**stated)
    assert "default 0.94 to 1.14" in PAGE
    assert ScanOptions().ratios == (0.94, 1.14)
    assert EXAMPLES[1]["parents"][0]["lattice"]["scan"]["points"] == ScanOptions().points
