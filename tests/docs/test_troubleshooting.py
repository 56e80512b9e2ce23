"""docs/troubleshooting.md quotes messages of the code, in the order of the alphabet."""

import ast
import re
from functools import cache

import pytest

from tests.support.pages import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
SECTIONS = {part.splitlines()[0]: re.findall(r"^\| `([^`]+)` \|", part, re.M) for part in PAGE.split("\n## ")[1:]}
MESSAGES = [message for messages in SECTIONS.values() for message in messages]


@cache
def texts():
    """Every piece of text in the sources; of f-strings the parts between what is filled in."""
    files = [file for name in ("datastore", "spinmultinet", "workflows") for file in (ROOT / name).rglob("*.py")]
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text())))
    return "\0".join(n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))


def test_there_are_messages():
    assert len(MESSAGES) >= 40
    assert len(set(MESSAGES)) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_is_one_of_the_code(message):
    for part in filter(str.strip, message.split("…")):
        assert part.strip() in texts()


@pytest.mark.parametrize("section", [name for name, messages in SECTIONS.items() if messages])
def test_messages_are_in_order(section):
    found = [message.strip("… ").lower() for message in SECTIONS[section]]
    assert found == sorted(found)
