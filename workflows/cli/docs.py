"""Write docs/cli.md from the commands themselves: ``python -m workflows.cli.docs docs/cli.md``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

INTRODUCTION = """\
# Command line

Generated from the commands by `python -m workflows.cli.docs docs/cli.md`; do not edit.

Every command answers `--help`. Errors are one line on stderr that says what is wrong and how to mend it; with `--json`
stdout holds one JSON document and nothing else.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | a run or relaxation failed, or another run holds the campaign |
| 2 | bad input: nothing was started |
| 3 | something is not installed; the message says how to get it |
| 70 | a bug; the message names the file with the details |
| 130 | stopped with Ctrl-C; nothing finished is lost, the same command continues |
"""


def render() -> str:
    """The whole page."""
    import typer

    from workflows.cli import PROGRAM, app

    return INTRODUCTION + "".join(_sections(typer.main.get_command(app), [PROGRAM]))


def _sections(command: Any, path: list[str]) -> list[str]:
    """The help of a command, then of the commands in it."""
    context = command.make_context(
        " ".join(path), [], resilient_parsing=True, terminal_width=100, max_content_width=100
    )
    text = "\n".join(line.rstrip() for line in command.get_help(context).strip().splitlines())
    parts = [f"\n## {' '.join(path)}\n\n```text\n{text}\n```\n"]
    for name, inner in getattr(command, "commands", {}).items():
        parts += _sections(inner, [*path, name])
    return parts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the page of the command line.")
    parser.add_argument("page", type=Path, help="docs/cli.md")
    parser.parse_args().page.write_text(render())
