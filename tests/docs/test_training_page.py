"""The commands of docs/training.md are run, in their order, on real labels; its weights are those of the options."""

import csv
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest
import yaml

from spinmultinet import load_model
from spinmultinet.hypers import ModelOptions, TrainOptions
from tests.support.cli import in_this_process

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text()
FILES = dict(re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^ {4}spinmultinet (.+)$", PAGE, re.MULTILINE)
LABELS = ROOT / "tests/spinmultinet/data/nio_pbeu.extxyz"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder in which every command was run, and what each printed."""
    folder = tmp_path_factory.mktemp("page")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    frames = ase.io.read(LABELS, ":")
    for name, some in {"train": frames[:12], "val": frames[12:16], "test": frames[16:20], "more": frames[20:]}.items():
        ase.io.write(folder / f"{name}.extxyz", some)
    return folder, {line: in_this_process(folder, *shlex.split(line)) for line in COMMANDS}


def test_every_command_works(place):
    _, outputs = place
    assert len(outputs) == 6
    assert not {line: done.stderr for line, done in outputs.items() if done.returncode}
    assert "mean absolute errors" in outputs[COMMANDS[-1]].stdout


def test_fine_tuning_says_where_it_began(place):
    folder, _ = place
    first, tuned = (load_model(folder / "models" / name / "model.pt") for name in ("nio", "nio_tuned"))
    assert tuned.options == first.options
    assert tuned.metadata["fine_tuned_from"]["fingerprint"] == first.metadata["fingerprint"]


def test_the_slurm_script_trains_on_two_nodes(place, tmp_path):
    """With two launchers on this machine in place of srun's, one process each."""
    script = re.search(r"^```bash\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = script.replace("--nproc-per-node 4", "--nproc-per-node 1").replace(":29500", f":{port}")
    script = script.replace("models/nio", "models/two_nodes")
    stand_ins = {
        "srun": 'for node in $(seq "$SLURM_NNODES"); do "$@" & done; wait',
        "scontrol": 'test "$*" = "show hostnames here,there" && echo 127.0.0.1 && echo 127.0.0.2',
    }
    for name, line in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {
        **{"SLURM_NNODES": "2", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "here,there", "OMP_NUM_THREADS": "1"},
        **{"PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
    }
    command = ["bash", "-c", script]
    done = subprocess.run(command, cwd=place[0], env=environment, capture_output=True, text=True, check=False)
    assert "two_nodes/model.pt: " in done.stdout, done.stderr
    assert done.stdout.count("parameters, ") == 1
    alone = read_history(place[0] / "models/nio")
    assert [row["epoch"] for row in read_history(place[0] / "models/two_nodes")] == [row["epoch"] for row in alone]
    first, same = (read_history(place[0] / "models" / name)[0] for name in ("nio", "two_nodes"))
    assert float(same["train_loss"]) == pytest.approx(float(first["train_loss"]), rel=1e-3)


def read_history(folder):
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def test_weights_and_defaults_are_those_of_the_options():
    rows = re.findall(r"^\| [a-z ]+ \| .* \| `(\w+_weight)` \| (\d+) \|", PAGE, re.MULTILINE)
    assert {name: float(value) for name, value in rows} == {
        name: field.default for name, field in TrainOptions.model_fields.items() if name.endswith("_weight")
    }


def test_every_option_named_exists():
    known = {*TrainOptions.model_fields, *ModelOptions.model_fields}
    for text in FILES.values():
        for section in yaml.safe_load(text).values():
            assert set(section) <= known
    for name in ("checkpoint_seconds", "tensorboard", "start_species", "cache_from", "cache_folder", "device"):
        assert f"`{name}" in PAGE
        assert name in known
    assert TrainOptions().cache_from == 2000
    assert TrainOptions().checkpoint_seconds == 60
