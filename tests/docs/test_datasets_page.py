"""The commands of docs/datasets.md are run, in their order, on real labels at two levels of theory."""

import re
import shlex
from pathlib import Path

import pytest

from datastore import open_store
from datastore.atoms import HEAD, LABEL_KIND, LEVEL_FROM, LEVEL_TO
from datastore.snapshot import Snapshot
from datastore.splits import SplitOptions
from tests.support.cli import in_this_process, tiny_campaign
from tests.support.pages import import_example
from workflows.engines import get_engine

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "datasets.md").read_text()
COMMANDS = re.findall(r"^ {4}spinmultinet (.+)$", PAGE, re.MULTILINE)


def with_levels(line, levels):
    """The line with the ids that this machine's levels have in place of those on the page."""
    return line.replace("1e5f", levels[0][:8]).replace("f9d1", levels[1][:8])


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Command of the page -> what it printed; the labels are those of tests/data, imported as docs/import says."""
    folder = tmp_path_factory.mktemp("page")
    import_example(folder, "local:labels")
    tiny_campaign(folder, store="local:labels").rename(folder / "campaign.yaml")
    with open_store(f"local:{folder / 'labels'}") as store:
        levels = (store.points.query_one({})["level_id"], get_engine("spin-lattice").level_id())
    done = {}
    for line in COMMANDS:
        if "data leaks" in line:
            made = max((p for p in (folder / "sets").iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
            for split in ("train", "val", "test"):
                (folder / f"{split}.extxyz").write_bytes((made / f"{split}.extxyz").read_bytes())
        done[line] = in_this_process(folder, *shlex.split(with_levels(line, levels)))
    return {line: (result.returncode, " ".join(result.stdout.split()), result.stderr) for line, result in done.items()}


def test_every_command_of_the_page_works(outputs):
    assert len(outputs) == len(COMMANDS) >= 14
    assert not {line: result[2] for line, result in outputs.items() if result[0]}


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("run campaign.yaml --relabel local:labels", "125 configurations: 125 calculated now"),
        ("data stats", "level of theory"),
        ("--plot", "125 configurations at both levels"),
        ("--split ordering", "held-out labels are in no split"),
        ("--delta", "a delta set"),
        ("--heads all", "a multi-head set"),
        ("data leaks", "no pairs of equal geometries"),
    ],
)
def test_they_do_what_the_page_says(outputs, part, says):
    assert says in next(text for line, (_, text, _) in outputs.items() if part in line)


def test_names_on_the_page_are_those_of_the_code():
    for name in (HEAD, LABEL_KIND, LEVEL_FROM, LEVEL_TO, "by", "held_out", "until", "fractions", "seed", "twins"):
        assert f"`{name}" in PAGE
    assert {"by", "held_out", "until", "fractions", "seed", "twins"} <= set(SplitOptions.model_fields)
    assert {"left_out", "by_level"} <= set(Snapshot.model_fields)
