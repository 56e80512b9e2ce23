"""What Markdown pages show: blocks of code, command lines; and a command line parsed without running it."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import typer

from tests.support.cli import in_this_process
from workflows import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^ {4}(.+)$", re.MULTILINE)
COMMAND = re.compile(r"^(?:\$ )?(?:\S*/bin/)?spinmultinet (.+)$")


def name_of(page: Path) -> str:
    """Path of a page in the repository, for the names of tests."""
    return page.relative_to(ROOT).as_posix()


def blocks(text: str, language: str) -> list[str]:
    """Bodies of the fenced blocks of a language, without the indent that they have in a list."""
    found = (fence for fence in FENCE.findall(text) if fence[1] == language)
    return [re.sub(f"^{indent}", "", body, flags=re.MULTILINE) for indent, _, body in found]


def command_lines(text: str) -> list[str]:
    """Lines of code blocks that call the command line; those that end in a backslash with the next."""
    fenced = "\n".join(body for _, _, body in FENCE.findall(text))
    lines = [*fenced.replace("\\\n", " ").splitlines(), *INDENTED.findall(FENCE.sub("", text).replace("\\\n", " "))]
    return [line.strip() for line in lines if COMMAND.match(line.strip())]


def arguments_of(line: str) -> list[str]:
    """Arguments of a command line, as the shell gives them."""
    return shlex.split(COMMAND.match(line)[1], comments=True)


@cache
def root_command() -> Any:
    """The command line as click knows it."""
    return typer.main.get_command(cli.app)


def parse(arguments: list[str]) -> str:
    """Parse a command line as click does, and run nothing; returns the command's name."""
    context = root_command().make_context("spinmultinet", list(arguments))
    path = []
    while hasattr(context.command, "commands"):
        name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        path.append(name)
        context = command.make_context(name, rest, parent=context)
    return " ".join(path)


def import_example(folder: Path, place: str) -> None:
    """Import the labels of tests/data into a store as docs/import-and-costs.md says."""
    page = (ROOT / "docs" / "import-and-costs.md").read_text()
    (folder / "tests").symlink_to(ROOT / "tests")
    for name, text in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        (folder / name).write_text(text)
    taken = in_this_process(
        folder,
        *("data", "import", "tests/data/gpaw_nio_mno.extxyz", "--into", place),
        *("--mapping", "map.yaml", "--level", "level.yaml"),
    )
    assert taken.returncode == 0, taken.stderr
