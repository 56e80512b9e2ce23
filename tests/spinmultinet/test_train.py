"""Training: it learns, it is deterministic, and it resumes exactly, also after kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from spinmultinet import SpinMultiNetError, load_model
from spinmultinet.train import METRICS_FILE, STATE_FILE, train

ROOT = Path(__file__).parents[2]


class StoppedError(Exception):
    pass


def same_weights(a, b):
    a, b = load_model(a).state_dict(), load_model(b).state_dict()
    return all(torch.equal(a[k], b[k]) for k in a)


def test_it_learns_and_is_deterministic(tmp_path, nio, tiny_options, quick_training):
    options = quick_training.model_copy(update={"epochs": 15})
    seen = []
    a = train(options, tiny_options, nio[:9], nio[9:12], tmp_path / "a", 1, lambda *x: seen.append(x[:2]))
    b = train(options, tiny_options, nio[:9], nio[9:12], tmp_path / "b", 1)
    assert a.history == b.history
    assert same_weights(a.checkpoint, b.checkpoint)
    assert a.history[-1]["train_loss"] < 0.5 * a.history[0]["train_loss"]
    assert seen == [(k + 1, 15) for k in range(15)]
    assert (tmp_path / "a" / METRICS_FILE).read_text().count("\n") == 16
    other = train(options, tiny_options, nio[:9], nio[9:12], tmp_path / "c", 2)
    assert other.history != a.history


def test_finished_training_returns_at_once(tmp_path, nio, tiny_options, quick_training):
    a = train(quick_training, tiny_options, nio[:4], [], tmp_path, 0)
    stamp = a.checkpoint.stat().st_mtime_ns
    again = train(quick_training, tiny_options, nio[:4], [], tmp_path, 0, lambda *x: pytest.fail("trained again"))
    assert again.history == a.history
    assert a.checkpoint.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_resuming_gives_the_losses_of_an_uninterrupted_run(tmp_path, nio, tiny_options, quick_training, schedule):
    options = quick_training.model_copy(update={"schedule": schedule, "keep": "best"})
    whole = train(options, tiny_options, nio[:8], nio[8:10], tmp_path / "whole", 5)

    def stop(epoch, epochs, metrics):
        if epoch == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(options, tiny_options, nio[:8], nio[8:10], tmp_path / "parts", 5, stop)
    rest = train(options, tiny_options, nio[:8], nio[8:10], tmp_path / "parts", 5)
    assert rest.resumed_from == 2  # the checkpoint before the stop
    assert rest.history == whole.history
    assert same_weights(rest.checkpoint, whole.checkpoint)


_SCRIPT = """
import sys, ase.io
from pathlib import Path
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.train import train
frames = ase.io.read(sys.argv[1], ":")
model = ModelOptions(layers=2, channels=4, l_max=1, cutoff=3.5, radial_hidden=[8])
options = TrainOptions(epochs=int(sys.argv[3]), batch_structures=3, validate_every=2, checkpoint_epochs=5)
train(options, model, frames[:8], frames[8:10], Path(sys.argv[2]), 7, lambda e, n, m: print(e, flush=True))
"""


def _start(workdir, epochs):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    data = Path(__file__).parent / "data" / "nio_pbeu.extxyz"
    command = [sys.executable, "-c", _SCRIPT, str(data), str(workdir), str(epochs)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_training_goes_on_exactly(tmp_path, nio, how):
    from spinmultinet.hypers import ModelOptions, TrainOptions

    epochs = 40
    child = _start(tmp_path / "killed", epochs)
    for line in child.stdout:
        if int(line) >= 12:
            child.send_signal(how)
            break
    child.stdout.close()
    code = child.wait(timeout=60)
    assert code == (-9 if how == signal.SIGKILL else 143)
    assert (tmp_path / "killed" / STATE_FILE).exists()
    assert not (tmp_path / "killed" / "model.pt").exists()
    model = ModelOptions(layers=2, channels=4, l_max=1, cutoff=3.5, radial_hidden=[8])
    options = TrainOptions(epochs=epochs, batch_structures=3, validate_every=2, checkpoint_epochs=5)
    rest = train(options, model, nio[:8], nio[8:10], tmp_path / "killed", 7)
    whole = train(options, model, nio[:8], nio[8:10], tmp_path / "whole", 7)
    assert rest.resumed_from >= 10
    assert rest.history == whole.history
    assert same_weights(rest.checkpoint, whole.checkpoint)


def test_other_data_or_options_in_the_same_folder_are_an_error(tmp_path, nio, tiny_options, quick_training):
    train(quick_training, tiny_options, nio[:4], [], tmp_path, 0)
    changed = quick_training.model_copy(update={"learning_rate": 0.5})
    for arguments in ((quick_training, tiny_options, nio[:5], []), (changed, tiny_options, nio[:4], [])):
        with pytest.raises(SpinMultiNetError, match="other data, options or seed"):
            train(*arguments, tmp_path, 0)
    # how often to save is no part of what is trained
    train(quick_training.model_copy(update={"checkpoint_epochs": 1}), tiny_options, nio[:4], [], tmp_path, 0)


def test_state_is_saved_by_time_too(tmp_path, nio, tiny_options, quick_training):
    options = quick_training.model_copy(update={"checkpoint_epochs": 1000, "checkpoint_seconds": 1e-6})

    def stop(epoch, epochs, metrics):
        time.sleep(0.001)
        if epoch == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(options, tiny_options, nio[:4], [], tmp_path, 0, stop)
    assert train(options, tiny_options, nio[:4], [], tmp_path, 0).resumed_from == 2


def test_patience_stops_early(tmp_path, nio, tiny_options, quick_training):
    options = quick_training.model_copy(
        update={"epochs": 200, "patience": 1, "learning_rate": 0.3, "validate_every": 1}
    )
    assert len(train(options, tiny_options, nio[:4], nio[4:6], tmp_path, 0).history) < 200


def test_mixed_levels_and_missing_moments_are_refused(tmp_path, nio, tiny_options, quick_training):
    nio[1].info["level_id"] = "other"
    with pytest.raises(SpinMultiNetError, match="mixes level_id"):
        train(quick_training, tiny_options, nio[:4], [], tmp_path, 0)
    del nio[0].arrays["magmom_in"]
    with pytest.raises(SpinMultiNetError, match=r"training structure 0.*no input moments"):
        train(quick_training, tiny_options, nio[:1], [], tmp_path, 0)


def test_metadata_reaches_the_checkpoint(tmp_path, nio, tiny_options, quick_training):
    for atoms in nio:
        atoms.info["level_id"] = "pbeu-1"
    done = train(
        quick_training, tiny_options, nio[:4], [], tmp_path, 4, metadata={"snapshot_id": "snap", "licence": "CC-BY-4.0"}
    )
    found = load_model(done.checkpoint).metadata
    expected = {
        "level_id": "pbeu-1",
        "moment_role": "guess",
        "snapshot_id": "snap",
        "licence": "CC-BY-4.0",
        "training_seed": 4,
    }
    assert expected.items() <= found.items()
    assert found["level_of_theory"] == "PBE+U"
    assert len(found["fingerprint"]) == 64


def test_labels_without_forces_or_stress_train_the_rest(tmp_path, nio, tiny_options, quick_training):
    for atoms in nio[:4]:
        del atoms.calc.results["forces"], atoms.calc.results["stress"]
        atoms.pbc = False
    done = train(quick_training, tiny_options, nio[:4], [], tmp_path, 0)
    assert all(m["train_loss"] == m["train_loss"] for m in done.history)
