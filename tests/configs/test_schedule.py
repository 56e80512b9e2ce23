"""The examples under configs/schedule are what ``spinmultinet schedule`` writes, and say when they fire."""

from pathlib import Path

import pytest

from workflows.schedule import Entry, cron_fields, on_calendar
from workflows.schedule_install import render, without_block

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "schedule"
WORKDIR = Path("/home/me/oxides")


def timer(every, **fields):
    campaign = WORKDIR / "configs/campaigns/quickstart_nio.yaml"
    log = WORKDIR / "quickstart_nio-retrain.log"
    python = "/home/me/venv/bin/python"
    return Entry("quickstart_nio", campaign, WORKDIR, log, cron_fields(every), python, **fields)


def examples():
    """File name -> content."""
    slurm = timer(
        "0 3 * * 1-5", sbatch=("--time=4:00:00", "--cpus-per-task=4", "--mem=8G"), arguments=("--workers", "4")
    )
    files = {"crontab": render(timer("15min"), "cron"), "scrontab": render(slurm, "scrontab")}
    single = {name: next(iter(content.values())) for name, content in files.items()}
    return single | render(timer("6h"), "systemd")


@pytest.mark.parametrize("name", sorted(examples()))
def test_examples_are_what_the_command_writes(name):
    assert (FOLDER / name).read_text() == examples()[name]


def test_nothing_else_lies_there():
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(examples())


def test_blocks_and_times():
    assert without_block((FOLDER / "crontab").read_text(), timer("15min").name) == ""
    (unit,) = FOLDER.glob("*.timer")
    assert f"OnCalendar={on_calendar(cron_fields('6h'))[0]}\n" in unit.read_text()
