"""docs/queries.md: its commands run, and its ten questions are asked of a MongoDB; answers are those on the page."""

import contextlib
import io
import os
import re
import shlex
from pathlib import Path
from uuid import uuid4

import pytest
from pymongo import MongoClient

from datastore.filters import DATE_FIELDS, ELEMENT_FIELDS, FLAGS, NUMBER_FIELDS, OF_FAILURES, TEXT_FIELDS
from datastore.stores import COLLECTIONS
from tests.support.cli import in_this_process
from tests.support.pages import arguments_of, blocks, command_lines, import_example

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "queries.md").read_text()
CONNECT, *PYTHON = blocks(PAGE, "python")
ANSWERS = blocks(PAGE, "text")
COMMANDS = [line for line in command_lines(PAGE) if "PLACE" not in line]
DEFAULT = "mongodb://127.0.0.1:27017/oxides"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    import_example(folder, "local:labels")
    return {line: in_this_process(folder, *arguments_of(line)) for line in COMMANDS}


def test_every_command_of_the_page_works(outputs):
    assert len(outputs) >= 9
    assert not {line: done.stderr for line, done in outputs.items() if done.returncode}
    texts = {line: done.stdout for line, done in outputs.items()}
    assert "125 in " not in texts[COMMANDS[0]]
    assert not [line for line, text in texts.items() if text.startswith("0 of") or not text.strip()]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the first block defines, with a database of this test in place of the page's."""
    base = os.environ.get("SPINMULTINET_TEST_MONGO_URI", "")
    if not base:
        pytest.skip("SPINMULTINET_TEST_MONGO_URI names no MongoDB server")
    uri = f"{base.rstrip('/')}/test_{uuid4().hex[:8]}"
    import_example(tmp_path_factory.mktemp("mongo"), uri)
    defined = {}
    assert DEFAULT in CONNECT
    exec(CONNECT.replace(DEFAULT, uri), defined)
    yield defined
    defined["store"].close()
    MongoClient(uri).drop_database(defined["db"].name)


def test_there_are_ten_questions():
    assert len(ANSWERS) == 10
    assert len(PYTHON) == 20
    assert re.findall(r"^### (\d+)\. ", PAGE, re.MULTILINE) == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize("number", range(20))
def test_answers_are_those_on_the_page(names, number):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(PYTHON[number], dict(names))
    assert printed.getvalue() == ANSWERS[number // 2]


def test_all_fields_and_collections_are_on_the_page():
    fields = (*TEXT_FIELDS, *NUMBER_FIELDS, *DATE_FIELDS, *FLAGS, *OF_FAILURES)
    told = set(re.findall(r"`([a-z_]+)", PAGE))
    assert not set(fields) - told
    assert set(ELEMENT_FIELDS) <= set(re.findall(r"`(\w+)\(\w+\)`", PAGE))
    table = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| `(\w+)` \|$", PAGE, re.MULTILINE))
    assert table == {name: key for name, (key, _) in COLLECTIONS.items()}


def test_commands_of_the_page_are_quoted_for_a_shell():
    for line in COMMANDS:
        assert shlex.split(line)[0] == "spinmultinet"
