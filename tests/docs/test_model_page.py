"""The examples of docs/model.md run, and its table says what the configurations are."""

import re
from pathlib import Path

import pytest

from spinmultinet import build_model

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "model.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.M)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run(number):
    exec(compile(EXAMPLES[number], "docs/model.md", "exec"), {})


def test_sizes_of_the_table():
    rows = re.findall(r"^\| `(\w+)\.yaml` \|.*\| ([\d,]+) \|$", PAGE, re.M)
    files = {p.stem: p for p in (ROOT / "configs" / "models").glob("*.yaml")}
    assert {name for name, _ in rows} == set(files)
    for name, size in rows:
        assert build_model(files[name], ["O", "Mn", "Co", "Ni"]).n_parameters() == int(size.replace(",", ""))
