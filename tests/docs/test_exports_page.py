"""The commands of docs/exports.md and of docs/security.md are run, on real labels, and what they wrote comes back."""

import json
import re
import shlex
from pathlib import Path

import pytest

from datastore import open_store
from datastore.exports.extxyz import KEYS
from datastore.exports.run import FORMATS
from tests.support.cli import in_this_process
from workflows.trusted import TRUSTED, VARIABLE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "exports.md").read_text()
SECURITY = (ROOT / "docs" / "security.md").read_text()
IMPORT = (ROOT / "docs" / "import-and-costs.md").read_text()
COMMANDS = re.findall(r"^ {4}spinmultinet (.+)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Command of the page -> how it ended; the labels are those of tests/data, imported as the page on that says."""
    pytest.importorskip("h5py")
    folder = tmp_path_factory.mktemp("page")
    (folder / "tests").symlink_to(ROOT / "tests")
    for name, text in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", IMPORT, re.DOTALL | re.MULTILINE):
        (folder / name).write_text(text)
    line = "data import tests/data/gpaw_nio_mno.extxyz --into local:labels --mapping map.yaml --level level.yaml"
    assert in_this_process(folder, *line.split()).returncode == 0
    done = {}
    for line in COMMANDS:
        made = next((folder / "sets").glob("[0-9a-f]*"), folder) if "sets/" in line else folder
        done[line] = in_this_process(folder, *shlex.split(line.replace("0123456789abcdef01234567", made.name)))
    return folder, done


def test_every_command_of_the_page_works(outputs):
    _, done = outputs
    assert len(done) == len(COMMANDS) >= 10
    assert not {line: result.stderr for line, result in done.items() if result.returncode}


def test_every_export_has_a_card_that_says_how_it_was_made(outputs):
    folder, done = outputs
    for line in (line for line in done if line.startswith("data export")):
        card = folder / f"{shlex.split(line)[3]}.card.md"
        assert card.exists(), line
        assert "    spinmultinet data export " in card.read_text()
        assert "GPAW" in card.read_text()
        assert "CC-BY-4.0" in card.read_text()


def test_what_the_page_says_comes_back_does(outputs):
    folder, _ = outputs
    for name in ("train.extxyz", "nio.db", "systems", "nio.h5", "nio.json"):
        result = in_this_process(folder, "data", "import", name, "--into", f"local:back-{name}", "--json")
        found = json.loads(result.stdout)
        assert found["frames"] == found["in_store"] > 0


def test_names_on_the_page_are_those_of_the_code():
    for name in (*FORMATS, *KEYS, *(suffix for f in FORMATS.values() for suffix in f.suffixes)):
        assert f"`{name}`" in PAGE
    for package in TRUSTED[:4]:
        assert f"`{package}`" in SECURITY
    assert VARIABLE in SECURITY


def test_a_store_by_the_name_of_a_variable(tmp_path, monkeypatch):
    (line,) = re.findall(r"^ {4}spinmultinet (.+)$", SECURITY, re.MULTILINE)
    with open_store(f"local:{tmp_path / 'store'}"):
        pass
    monkeypatch.setenv("SPIN_STORE", f"local:{tmp_path / 'store'}")
    done = in_this_process(tmp_path, *shlex.split(line))
    assert "0 labels" in done.stdout
