"""Every bad input: one line with the remedy, the right exit code, no traceback. One of each kind in a real process."""

import subprocess
import sys

import pytest

from tests.support.cli import assert_one_line, environment, in_this_process, spinmultinet, tiny_campaign
from workflows import cli

PARENT = {"species": "Ni", "cell": "rhombohedral4"}

CAMPAIGNS = {
    "unknown key": ({"commitee": 3}, "unknown key 'commitee'", "'committee'"),
    "unknown key inside": ({"structures__oderings": ["FM"]}, "oderings", "'orderings'"),
    "unknown element": ({"structures__parents": [{**PARENT, "species": "Xx"}]}, "'Xx' is not a chemical element", "Ni"),
    "ordering does not fit": ({"structures__orderings": ["AFM-I"]}, "AFM-I does not fit", "tetragonal4"),
    "unknown ordering": ({"structures__orderings": ["AFM-9"]}, "'AFM-9' is unknown", "AFM-II"),
    "negative volume": (
        {"structures__deformations": [{"kind": "volume", "amplitude": [-0.9, 1.1]}]},
        "negative or zero volume",
        "V/V0",
    ),
    "empty orderings": ({"structures__orderings": []}, "orderings is empty", "at least one"),
    "U for an absent element": (
        {"engine": {"type": "gpaw", "hubbard_u": {"Ni": 6.2, "Mn": 3.9}}},
        "hubbard_u names Mn",
        "remove it",
    ),
    "unknown engine": ({"engine": {"type": "gpav"}}, "unknown engine type 'gpav'", "spin-lattice"),
    "store without a server": ({"store": "mongodb://127.0.0.1:1/x"}, "cannot be reached", "start the server"),
    "store with an unknown scheme": ({"store": "postgres://x"}, "no known scheme", "local:FOLDER"),
    "model file that is not there": ({"model": "nothing.yaml"}, "nothing.yaml", "model"),
}


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_campaign_files(tmp_path, name):
    changes, *parts = CAMPAIGNS[name]
    campaign = tiny_campaign(tmp_path, **changes)
    assert_one_line(in_this_process(tmp_path, "run", campaign.name), 2, *parts)


def test_campaign_file_in_a_process_of_its_own(tmp_path):
    changes, *parts = CAMPAIGNS["unknown key"]
    campaign = tiny_campaign(tmp_path, **changes)
    assert_one_line(spinmultinet(tmp_path, "run", campaign.name), 2, *parts)


def test_model_file_with_an_unknown_key(tmp_path):
    campaign = tiny_campaign(tmp_path)
    (tmp_path / "model.yaml").write_text("model: {chanels: 4}\n")
    assert_one_line(in_this_process(tmp_path, "run", campaign.name), 2, "'chanels'", "'channels'")


FRAME = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3{} pbc="T T T"{}'
FILES = {
    "corrupt": ("4\n" + FRAME.format("", "") + "\nNi 0 0 zero\n", "cannot be read"),
    "cut off": ("4\n" + FRAME.format("", "") + "\nNi 0 0 0\n", "cannot be read"),
    "empty": ("", "data.extxyz"),
    "foreign, no label": ("1\n" + FRAME.format("", "") + "\nNi 0 0 0\n", "structure 0"),
    "foreign, no moments": ("1\n" + FRAME.format(":forces:R:3", " energy=-1.0") + "\nNi 0 0 0 0 0 0\n", "magmom_in"),
}


def test_corrupt_extended_xyz_in_a_process_of_its_own(tmp_path):
    tiny_campaign(tmp_path)
    (tmp_path / "data.extxyz").write_text(FILES["corrupt"][0])
    done = spinmultinet(tmp_path, "train", "--data", "data.extxyz", "--model", "model.yaml", "--out", "model")
    assert_one_line(done, 2, FILES["corrupt"][1])


@pytest.mark.parametrize("name", FILES)
def test_extended_xyz(tmp_path, name, capsys):
    content, part = FILES[name]
    tiny_campaign(tmp_path)
    data = tmp_path / "data.extxyz"
    data.write_text(content)
    model, out = str(tmp_path / "model.yaml"), str(tmp_path / "model")
    assert cli.run(["train", "--data", str(data), "--model", model, "--out", out]) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1
    assert not (tmp_path / "model/model.pt").exists()


def test_missing_engine_names_what_to_install_and_the_alternative(tmp_path):
    campaign = tiny_campaign(tmp_path, engine={"type": "gpaw"})
    (tmp_path / "broken/gpaw").mkdir(parents=True)
    (tmp_path / "broken/gpaw/__init__.py").write_text("raise ImportError('libxc.so.9: no such file')\n")
    done = spinmultinet(tmp_path, "run", campaign.name, first_on_path=str(tmp_path / "broken"))
    assert_one_line(done, 3, "apt-get install", "make gpaw", "--engine spin-lattice", campaign.name)
    assert not (tmp_path / "runs/tiny/store").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run"], ["CAMPAIGN", "spinmultinet run --help"]),
        (["run", "nothing.yaml"], ["nothing.yaml"]),
        (["rnu"], ["No such command 'rnu'"]),
        (["data", "stats"], ["PLACE"]),
        (["data", "stats", "nowhere"], ["'nowhere' names no store", "local:runs/NAME/store"]),
        (["data", "stats", "local:nowhere"], ["no store at nowhere"]),
        (["report", "tiny.yaml"], ["no store"]),
        (["predict", "nothing.cif", "--model", "m.pt", "--ordering", "FM"], ["nothing.cif"]),
        (["evaluate", "--model", "tiny.yaml", "--data", "tiny.yaml"], ["tiny.yaml"]),
    ],
)
def test_command_lines(tmp_path, arguments, parts):
    tiny_campaign(tmp_path)
    assert_one_line(in_this_process(tmp_path, *arguments), 2, *parts)


def test_command_line_in_a_process_of_its_own(tmp_path):
    assert_one_line(spinmultinet(tmp_path, "rnu"), 2, "No such command 'rnu'")


def test_output_that_nobody_reads_is_no_error(tmp_path):
    tiny_campaign(tmp_path)
    line = f"{sys.executable} -m workflows.cli --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], env=environment(), capture_output=True, text=True, check=False)
    assert done.stderr == ""
