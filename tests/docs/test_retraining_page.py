"""What docs/retraining.md says: options and their defaults, commands, exit codes, times and fields."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from datastore.retraining import Retraining
from tests.support.cli import in_this_process, tiny_campaign
from workflows.cli.errors import BAD_INPUT, BUSY, FAILED
from workflows.learning import RetrainOptions
from workflows.notify import COMMAND_SECONDS, POST_SECONDS
from workflows.retrain import WORTH_TELLING, told

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "retraining.md").read_text()
TEXT = " ".join(PAGE.split())
EXAMPLES = [yaml.safe_load(body)["active_learning"]["retrain"] for body in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)]
COMMANDS = [line.split("  #")[0].strip() for line in PAGE.splitlines() if line.startswith("spinmultinet ")]


def test_options_and_defaults():
    assert set(EXAMPLES[0]) == set(RetrainOptions.model_fields)
    assert RetrainOptions(**EXAMPLES[0]) == RetrainOptions()
    assert RetrainOptions(**EXAMPLES[1]).notify[0] == "mail"


@pytest.fixture
def folder(tmp_path):
    """A place where the campaign of the page is a tiny one, without a store."""
    place = tmp_path / "configs" / "campaigns"
    place.mkdir(parents=True)
    tiny_campaign(place).rename(place / "quickstart_nio.yaml")
    return tmp_path


@pytest.mark.parametrize("command", [line for line in COMMANDS if " schedule " in line])
def test_timers_are_made(folder, command):
    done = in_this_process(folder, *shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr
    written = [path.read_text() for path in (folder / "timers").glob("*")] if "--out" in command else [done.stdout]
    assert "quickstart_nio.yaml" in "".join(written)


@pytest.mark.parametrize("command", [line for line in COMMANDS if " retrain " in line])
def test_retrain_takes_these_arguments(folder, command):
    """There is no store yet, which is what it then says: the arguments were understood."""
    done = in_this_process(folder, *shlex.split(command)[1:])
    assert (done.returncode, done.stderr.startswith("error: there is no store at")) == (BAD_INPUT, True), done.stderr


def test_exit_codes_times_and_fields():
    assert tuple(int(n) for n in re.findall(r"^\| ([1-9]\d*) \|", PAGE, re.MULTILINE)) == (FAILED, BAD_INPUT, BUSY)
    assert f"ended after {COMMAND_SECONDS:.0f} s, the post after {POST_SECONDS:.0f} s" in TEXT
    assert f"(`{WORTH_TELLING[0]}`, `{WORTH_TELLING[1]}` or `{WORTH_TELLING[2]}`)" in TEXT
    record = Retraining(
        **{"retraining_id": "r", "campaign": "nio", "key": "k", "fingerprint": "f", "why": [], "champion": "m"},
        started="2026-01-01T00:00:00+00:00",
    )
    stated = set(re.findall(r"`(\w+)`", TEXT[TEXT.index("The document has") :])) - set(WORTH_TELLING)
    assert stated <= set(told(record))
    assert {"campaign", "outcome", "why", "reasons", "drift"} <= stated


def test_files_that_are_named_are_there():
    for path in ("workflows/flows/retrain.py", "configs/schedule", "docs/decisions/022-store-lock.md"):
        assert (ROOT / path).exists()
        assert path.removeprefix("docs/") in PAGE
