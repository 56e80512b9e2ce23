"""What the README and the other pages say can be done can be done: commands, Python, links, configurations."""

import os
import re
import subprocess
import sys

import pytest
import typer

from spinmultinet.hypers import read_config
from tests.support.pages import COMMAND, FENCE, PAGES, ROOT, arguments_of, blocks, command_lines, name_of, parse
from workflows import cli
from workflows.campaign import load_campaign
from workflows.engines import get_engine
from workflows.remote.routing import load_remote

README = (ROOT / "README.md").read_text()
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")


def readme_lines() -> list[str]:
    """Lines of code blocks, and code spans, that call the command line."""
    spans = [span for span in SPAN.findall(FENCE.sub("", README)) if "/bin/spinmultinet " in span]
    return [line for line in [*command_lines(README), *spans] if COMMAND.match(line)]


def test_the_readme_shows_commands():
    assert len(readme_lines()) >= 6


@pytest.mark.parametrize("line", readme_lines())
def test_commands_of_the_readme_are_understood(line):
    arguments = arguments_of(line)
    assert parse(arguments)
    for path in (argument for argument in arguments if argument.startswith("configs/")):
        assert (ROOT / path).is_file()


def test_a_command_line_that_is_wrong_is_noticed():
    for wrong in (["run"], ["data", "query", "x", "--filte"], ["rnu", "x"], ["data", "export", "x"]):
        with pytest.raises(Exception, match=r"(?i)missing|no such"):
            parse(wrong)


def test_commands_of_the_table_exist():
    command = typer.main.get_command(cli.app)
    named = set()
    for row in re.findall(r"^\| (`spinmultinet .*?) \|", README, re.MULTILINE):
        words = [word for span in SPAN.findall(row) for word in span.removeprefix("spinmultinet ").split()[:2]]
        named |= {word for word in words if word in command.commands}
    assert named == set(command.commands)


def test_python_of_the_readme_runs(tmp_path):
    source = "\n".join(blocks(README, "python"))
    assert "get_engine" in source
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", source]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "accepted" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_placeholder_is_left(page):
    assert not re.findall(r"@@\w*|TODO|FIXME|XXX", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    targets = [first or second for first, second in LINK.findall(text)]
    for target in (t for t in targets if not re.match(r"[a-z]+:", t)):
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path.read_text()), f"{page.name}: {target}"


def anchors(text: str) -> set[str]:
    """Anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


READERS = {"campaigns": load_campaign, "engines": get_engine, "models": read_config, "remote": load_remote}


def configurations() -> list[str]:
    return [file.relative_to(ROOT).as_posix() for file in sorted((ROOT / "configs").rglob("*.y*ml"))]


@pytest.mark.parametrize("name", configurations())
def test_every_configuration_is_understood(name):
    folder = name.split("/")[1]
    assert folder in READERS, f"nothing reads files in configs/{folder}"
    READERS[folder](ROOT / name)
