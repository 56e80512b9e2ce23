"""Parallel training in fresh processes, mean and spread, members that do not fit."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from spinmultinet import SpinMultiNetError, build_model
from spinmultinet.committee import Committee, TrainingJob, train_committee, train_parallel
from spinmultinet.evaluate import evaluate, predict
from spinmultinet.train import train


def test_mean_and_spread(nio, tiny_options):
    members = [build_model(tiny_options, ["O", "Ni"], k) for k in range(3)]
    one = [predict(m, nio[:2]) for m in members]
    found = Committee(members).predict(nio[:2])
    energies = [p[1]["energy"] for p in one]
    assert found[1]["energy"] == pytest.approx(np.mean(energies))
    assert found[1]["energy_std"] == pytest.approx(np.std(energies, ddof=1))
    moments = np.array([p[1]["magmoms"] for p in one])
    np.testing.assert_allclose(found[1]["magmoms_std"], moments.std(0, ddof=1))
    forces = np.array([p[1]["forces"] for p in one])
    np.testing.assert_allclose(found[1]["forces_std"], np.linalg.norm(forces.std(0, ddof=1), axis=1))
    assert Committee(members[:1]).predict(nio[:1])[0]["energy_std"] == 0.0
    assert "energy_std" in evaluate(Committee(members), nio[:2])["structures"][0]


def test_progress_changes_neither_numbers_nor_names(nio, tiny_options):
    committee = Committee([build_model(tiny_options, ["O", "Ni"], k) for k in range(2)])
    many, told = [*nio, *nio, *nio], []
    found = committee.predict(many, told.append)
    assert told == [64 / 72, 1.0]
    expected = committee.predict(many)
    np.testing.assert_allclose([p["energy"] for p in found], [p["energy"] for p in expected], rtol=1e-6)
    many[70] = many[70].copy()
    del many[70].arrays["magmom_in"]
    many[70].arrays.pop("initial_magmoms", None)
    with pytest.raises(SpinMultiNetError, match="structure 70"):
        committee.predict(many, told.append)


def test_trained_in_parallel_equals_trained_here(tmp_path, nio, tiny_options, quick_training):
    seen = []
    results = train_committee(
        quick_training,
        tiny_options,
        nio[:6],
        nio[6:8],
        tmp_path,
        (0, 1),
        2,
        lambda *x: seen.append(x[:3]),
        {"licence": "ours"},
    )
    here = train(quick_training, tiny_options, nio[:6], nio[6:8], tmp_path / "here", 1)
    assert results[1].history == here.history
    assert set(seen) == {(f"member {s}", e, 6) for s in (0, 1) for e in range(1, 7)}
    committee = Committee([r.checkpoint for r in results])
    assert committee.members[0].metadata["licence"] == "ours"
    assert committee.predict(nio[8:9])[0]["energy_std"] > 0


def test_failure_in_a_child_reaches_the_caller(tmp_path, nio, tiny_options, quick_training):
    nio[1].info["level_id"] = "other"
    job = TrainingJob("bad", quick_training, tiny_options, 0, tmp_path)
    with pytest.raises(SpinMultiNetError, match="mixes level_id"):
        train_parallel([job], nio[:4], [], 1)


def test_bad_committees(tmp_path, nio, tiny_options, quick_training):
    with pytest.raises(SpinMultiNetError, match="at least one member"):
        Committee([])
    with pytest.raises(SpinMultiNetError, match="differ in species"):
        Committee([build_model(tiny_options, ["O", "Ni"]), build_model(tiny_options, ["Ni"])])
    other = build_model(tiny_options, ["O", "Ni"])
    other.metadata["level_id"] = "x"
    with pytest.raises(SpinMultiNetError, match="differ in level_id"):
        Committee([build_model(tiny_options, ["O", "Ni"]), other])
    with pytest.raises(SpinMultiNetError, match="seeds"):
        train_committee(quick_training, tiny_options, nio, [], tmp_path, (1, 1))
    assert train_parallel([], nio, []) == []


_PARENT = """
import sys, ase.io
from pathlib import Path
from spinmultinet.committee import TrainingJob, train_parallel
from spinmultinet.hypers import ModelOptions, TrainOptions
if __name__ == "__main__":
    frames = ase.io.read(sys.argv[1], ":")
    model = ModelOptions(layers=2, channels=4, l_max=1, cutoff=3.5, radial_hidden=[8])
    job = TrainingJob("long", TrainOptions(epochs=100_000, batch_structures=3), model, 0, Path(sys.argv[2]))
    train_parallel([job], frames[:8], [], 1, lambda *x: print(x[1], flush=True))
"""


def test_children_save_and_end_when_the_parent_is_killed(tmp_path):
    """An orphan would train for hours for nobody, and two would write into one folder after a restart."""
    (tmp_path / "parent.py").write_text(_PARENT)
    root = Path(__file__).parents[2]
    data = Path(__file__).parent / "data" / "nio_pbeu.extxyz"
    command = [sys.executable, str(tmp_path / "parent.py"), str(data), str(tmp_path / "run")]
    parent = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(root)}, stdout=subprocess.PIPE, text=True)
    for line in parent.stdout:
        if int(line) >= 3:
            break
    family = _children(parent.pid)
    assert family
    parent.kill()
    parent.stdout.close()
    parent.wait(timeout=30)
    state = tmp_path / "run" / "training.pt"
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state.exists()  # the child's last act: no checkpoint is due that early by itself
    while any(Path(f"/proc/{pid}").exists() for pid in family) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]


def _children(pid: int) -> list[str]:
    """Ids of the processes that ``pid`` has started."""
    return [i for task in Path(f"/proc/{pid}/task").iterdir() for i in (task / "children").read_text().split()]
