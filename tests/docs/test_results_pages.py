"""The commands on the pages of results are understood by the benchmarks that they call."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from benchmarks.paper_tables.__main__ import arguments, model_options

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"^ {4}python -m benchmarks\.paper_tables (.+)$", re.MULTILINE)
LINES = [
    line
    for page in ("paper-tables", "gpaw-tables")
    for line in COMMAND.findall((ROOT / f"docs/results/{page}.md").read_text())
]


def test_there_are_commands():
    assert len(LINES) >= 3


@pytest.mark.parametrize("line", LINES)
def test_they_are_understood_and_their_files_are_there(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    options = arguments(shlex.split(line))
    assert all(path.is_file() for path in [*(options.data or []), *([options.model] if options.model else [])])
    assert model_options(options)[1].epochs > 0
