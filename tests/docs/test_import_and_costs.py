"""The commands of docs/import-and-costs.md are run, in their order, on the files that the page shows."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from datastore import importing, mapping, plausible
from datastore.converters import LEVEL_KEYS
from tests.support.cli import in_this_process
from tests.support.vasp_runs import run_named
from tests.workflows.vasp_import.test_documents import task_document
from workflows.vasp_import import convert, folders, runner

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "import-and-costs.md").read_text()
FILES = dict(re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^ {4}spinmultinet (.+)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Command -> what it printed."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("tests", "configs"):
        (folder / name).symlink_to(ROOT / name)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for name in ("static", "relaxed"):
        run_named(name, folder / "runs" / name)
    (folder / "tasks.json").write_text(json.dumps([task_document(folder / "runs" / "static")]))
    done = {line: in_this_process(folder, *shlex.split(line)) for line in COMMANDS}
    failed = {line: result.stderr for line, result in done.items() if result.returncode}
    assert not failed
    return {line: " ".join(result.stdout.split()) for line, result in done.items()}


def only(outputs, part):
    (found,) = [text for line, text in outputs.items() if part in line]
    return found


def test_the_import_takes_every_frame(outputs):
    first, again = [text for line, text in outputs.items() if "--mapping map.yaml" in line]
    assert "125 frames; 125 new labels accepted" in first
    assert "125 were there already" in again
    assert "AFM-II" in only(outputs, "data query")
    count = int(re.search(r"nio.extxyz: (\d+) labels", only(outputs, "data export"))[1])
    assert f"{count} frames; {count} new labels accepted" in only(outputs, "--into local:copy")


def test_vasp_runs_and_their_documents_are_taken(outputs):
    assert "2 runs; 2 new labels accepted" in only(outputs, "import runs")
    assert "1 runs; 1 new labels accepted" in only(outputs, "import tasks.json")  # another hash of the POTCARs
    assert f"more than {runner.TIME_LIMIT:g} s (`--time-limit`)" in PAGE
    assert f"differ by a factor of {runner.UNEVEN:g} per direction" in PAGE
    assert f"a penalty energy below {1000 * folders.LARGEST_PENALTY:g} meV/atom" in PAGE
    assert f"up to {convert.DEFAULT_START:g} muB on an s or p element" in PAGE


def test_the_proposal_has_what_the_page_maps(outputs):
    shown = only(outputs, "--show-keys")
    for key in ("magmoms_in: magmom_in", "wall_seconds: seconds", "moment_role:"):
        assert key in shown


def test_costs_and_estimates(outputs):
    plain = outputs["data costs local:labels"]
    assert re.search(r"[\d.]+ core min for 125 accepted labels; [\d.]+ core s each", plain)
    assert "from the engine's own estimate" in outputs["structures configs/campaigns/quickstart_nio.yaml --cost"]
    rested = only(outputs, "--cost-from")
    assert "calculations of NiO at another level of theory of gpaw" in rested
    assert "10-90 %" in rested


def test_numbers_of_the_page_are_those_of_the_code():
    assert "1e5 eV per atom, 1000 eV/Angstrom, 10 muB, or 1 eV/Angstrom^3" in PAGE
    limits = (plausible.MAX_ENERGY, plausible.MAX_FORCE, plausible.MAX_MOMENT, plausible.MAX_STRESS)
    assert limits == (1e5, 1000, 10, 1)
    assert "outside 3 to 50 Angstrom^3" in PAGE
    assert plausible.VOLUME == (3, 50)
    assert "nearer than 0.5 Angstrom" in PAGE
    assert plausible.MIN_DISTANCE == 0.5
    assert "more than 10 % of a file's frames, and three at least" in PAGE
    assert (importing.DOUBT, importing.DOUBTED) == (0.1, 3)
    assert set(LEVEL_KEYS) <= set(yaml.safe_load(FILES["level.yaml"])["level_of_theory"])
    for name in mapping.LAYOUTS:
        assert name in FILES["map.yaml"]
