"""Training: it learns, it is deterministic, and it resumes exactly, also after kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from spinmultinet import SpinMultiNetError, load_model
from spinmultinet.data import fingerprint
from spinmultinet.evaluate import evaluate, predict
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.train import METRICS_FILE, STATE_FILE, STATE_VERSION, UnitWarning, _fingerprint, _Run, train

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
        "train_fingerprint": fingerprint(nio[:4]),
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


def test_offsets_of_1e5_ev_cost_no_precision_in_float32(tmp_path, nio, tiny_options, quick_training):
    """The same labels with all-electron totals give the same training: what is left of the energy is float64."""
    options = quick_training.model_copy(update={"epochs": 15})
    plain = train(options, tiny_options, nio[:8], nio[8:12], tmp_path / "plain", 1)
    for atoms in nio:
        atoms.calc.results["energy"] -= 100_000.0 * 2
    shifted = train(options, tiny_options, nio[:8], nio[8:12], tmp_path / "shifted", 1)
    for a, b in zip(plain.history, shifted.history, strict=True):
        assert b["train_energy"] == pytest.approx(a["train_energy"], abs=2e-6)
    assert plain.history[-1]["train_energy"] < 0.02  # eV/atom; float32 at 2e5 eV resolves 0.016 eV
    model = load_model(shifted.checkpoint)
    assert model.dtype == torch.float32
    found = [p["energy"] / 4 for p in predict(model, nio[:8])]
    label = [a.calc.results["energy"] / 4 for a in nio[:8]]
    assert np.corrcoef(found, label)[0, 1] > 0.5


def test_stress_may_be_missing_in_some(tmp_path, nio, tiny_options, quick_training):
    for atoms in nio[:6:2]:
        del atoms.calc.results["stress"]
    done = train(quick_training, tiny_options, nio[:6], [], tmp_path / "some", 0)
    assert all(np.isfinite(m["train_stress"]) for m in done.history)
    for atoms in nio:
        atoms.calc.results.pop("stress", None)
    done = train(quick_training, tiny_options, nio[:6], nio[6:8], tmp_path / "none", 0)
    assert not [k for m in done.history for k in m if "stress" in k]


@pytest.mark.parametrize("axes", [1, 3])
def test_magnetic_forces_are_learnt(tmp_path, nio, tiny_options, axes):
    """Labels of E = E0 + sum_i k m_i^2 / 2 for held moments of random length: -dE/dm = -k m."""
    rng = np.random.default_rng(0)
    frames = [a.copy() for a in nio[:1] * 12]
    for atoms in frames:
        moments = rng.uniform(0.5, 2.5, 4)[:, None] * np.eye(3)[rng.integers(0, 3, 4)] * rng.choice([-1, 1], 4)[:, None]
        moments[atoms.numbers == 8] = 0.0
        moments = moments.sum(1) if axes == 1 else moments
        del atoms.arrays["magmom_in"], atoms.arrays["magmom_out"]
        atoms.set_array("magmom_in", moments)
        atoms.set_array("magnetic_forces", -0.3 * moments)
        atoms.info["moment_role"] = "constraint"
        atoms.calc = SinglePointCalculator(atoms, energy=-20.0 + 0.15 * (moments**2).sum())
    options = TrainOptions(epochs=60, batch_structures=4, learning_rate=0.02, ema_decay=0.9, forces_weight=0.0)
    done = train(options, tiny_options, frames[:8], frames[8:], tmp_path, 0)
    model = load_model(done.checkpoint)
    assert model.metadata["moment_role"] == "constraint"
    found = evaluate(model, frames[8:])["overall"]["magnetic_forces"]
    size = 1e3 * np.mean([np.abs(a.arrays["magnetic_forces"][:2]).mean() for a in frames[8:]])
    assert found["mae"] < 0.35 * size
    assert found["n"] == 4 * 2 * axes
    assert done.history[-1]["train_magnetic_forces"] < 0.35 * done.history[0]["train_magnetic_forces"]


def test_magnetic_forces_of_real_constrained_calculations(tmp_path, tiny_options):
    """VASP DeltaSpin labels: vectors, no stress, no converged moments. Ten epochs lower errors on other frames too."""
    folder = os.environ.get("SPINMULTINET_TEST_DATA")
    name = "nio_noncollinear_deepspin.extxyz"
    if not folder or not (Path(folder) / "data" / name).exists():
        pytest.skip(f"SPINMULTINET_TEST_DATA names no folder with data/{name}")
    frames = ase.io.read(Path(folder) / "data" / name, "::3")
    for atoms in frames:
        atoms.info["moment_role"] = "constraint"
    options = TrainOptions(epochs=10, batch_structures=2, learning_rate=0.01, ema_decay=0.8, validate_every=1)
    model_options = tiny_options.model_copy(update={"moments": False, "l_max": 2, "cutoff": 4.0})
    done = train(options, model_options, frames[::2], frames[1::2], tmp_path, 0)
    first, last = done.history[0], done.history[-1]
    for task in ("energy", "forces", "magnetic_forces"):
        assert last[f"val_{task}"] < 0.75 * first[f"val_{task}"], task
    assert "train_stress" not in last
    found = evaluate(load_model(done.checkpoint), frames[1::2])["overall"]
    assert set(found) == {"energy", "forces", "magnetic_forces"}
    assert found["magnetic_forces"]["n"] == len(frames[1::2]) * 16 * 3
    assert found["magnetic_forces"]["mae"] == pytest.approx(1e3 * last["val_magnetic_forces"], rel=0.05)


def test_implausible_units_warn(tmp_path, nio, tiny_options, quick_training):
    nio[0].calc.results["stress"] = np.array([12.0, 12, 12, 0, 0, 0])  # GPa
    with pytest.warns(UnitWarning, match=r"stress of structure 0.*eV/Angstrom\^3"):
        train(quick_training.model_copy(update={"epochs": 1}), tiny_options, nio[:4], [], tmp_path, 0)


def test_metrics_are_written_with_every_checkpoint(tmp_path, nio, tiny_options, quick_training):
    def stop(epoch, epochs, metrics):
        if epoch == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(quick_training, tiny_options, nio[:4], [], tmp_path, 0, stop)
    assert (tmp_path / METRICS_FILE).read_text().count("\n") == 5  # header and the epochs of the last checkpoint
    train(quick_training, tiny_options, nio[:4], [], tmp_path, 0)
    assert (tmp_path / METRICS_FILE).read_text().count("\n") == 7


def test_a_state_of_a_newer_version_says_update(tmp_path, nio, tiny_options, quick_training):
    train(quick_training, tiny_options, nio[:4], [], tmp_path, 0)
    state = torch.load(tmp_path / STATE_FILE, weights_only=True)
    torch.save(state | {"version": STATE_VERSION + 1}, tmp_path / STATE_FILE)
    with pytest.raises(SpinMultiNetError, match="update spinmultinet"):
        train(quick_training, tiny_options, nio[:4], [], tmp_path, 0)


def test_a_stop_in_the_middle_of_an_epoch_is_resumed_there(tmp_path, nio, tiny_options, quick_training):
    """With random inputs too: what a step draws depends on its number, not on what was drawn before."""
    options = quick_training.model_copy(
        update={"input_scale": (0.7, 1.3), "converged_inputs": 0.5, "checkpoint_seconds": 1e-9, "batch_structures": 2}
    )
    whole = train(options, tiny_options, nio[:8], nio[8:10], tmp_path / "whole", 5)
    seen = []

    def stop(self, batch, step=_Run._step):
        seen.append(len(seen))
        if len(seen) == 11:
            raise StoppedError
        step(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Run, "_step", stop)
        with pytest.raises(StoppedError):
            train(options, tiny_options, nio[:8], nio[8:10], tmp_path / "parts", 5)
    state = torch.load(tmp_path / "parts" / STATE_FILE, weights_only=True)
    assert (state["epoch"], state["batch"]) == (2, 2)
    rest = train(options, tiny_options, nio[:8], nio[8:10], tmp_path / "parts", 5)
    assert rest.history == whole.history
    assert same_weights(rest.checkpoint, whole.checkpoint)


def test_nonperiodic_structures_train(tmp_path, nio, tiny_options, quick_training):
    for atoms in nio[:4]:
        atoms.pbc = False
        del atoms.calc.results["stress"]
    done = train(quick_training, tiny_options, nio[:4], [], tmp_path, 0)
    assert np.isfinite(done.history[-1]["train_forces"])


def test_empty_training_set(tmp_path, nio, tiny_options, quick_training):
    with pytest.raises(SpinMultiNetError, match="training set is empty"):
        train(quick_training, tiny_options, [], nio[:2], tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("change", "says"), [({"patience": 3}, "patience"), ({"keep": "best"}, "keep: best")])
def test_what_needs_validation_is_refused_without(tmp_path, nio, tiny_options, quick_training, change, says):
    with pytest.raises(SpinMultiNetError, match=f"{says} need a validation set"):
        train(quick_training.model_copy(update=change), tiny_options, nio[:4], [], tmp_path, 0)


def test_plateau_looks_at_validations_only(tmp_path, nio, tiny_options, quick_training):
    """Training losses in between are larger here: to mix the two would look like a plateau at once."""
    options = quick_training.model_copy(
        update={"schedule": "plateau", "plateau_patience": 0, "validate_every": 3, "epochs": 12, "learning_rate": 2e-3}
    )
    history = train(options, tiny_options, nio[:4], nio[20:], tmp_path, 0).history
    scores = [m["val_loss"] for m in history if "val_loss" in m]
    assert scores == sorted(scores, reverse=True)
    assert history[4]["train_loss"] > scores[0]
    assert {m["learning_rate"] for m in history} == {2e-3}


def weights(checkpoint):
    return torch.cat([p.detach().ravel() for p in load_model(checkpoint).parameters()])


def test_the_averaged_weights_are_the_exponential_mean(tmp_path, nio, tiny_options):
    """One batch per epoch: the mean begins with the first step's weights and takes half of the second's."""

    def after(epochs, decay):
        options = TrainOptions(epochs=epochs, schedule="constant", ema_decay=decay, batch_structures=4)
        return weights(train(options, tiny_options, nio[:4], [], tmp_path / f"{epochs}_{decay}", 0).checkpoint)

    expected = 0.75 * after(1, 0.0) + 0.25 * after(2, 0.0)
    torch.testing.assert_close(after(2, 0.75), expected, rtol=0, atol=1e-6)


def test_optimiser_options_do_what_they_say(tmp_path, nio, tiny_options):
    base = {"epochs": 3, "schedule": "constant", "ema_decay": 0.0, "batch_structures": 4}

    def after(name, **changes):
        return weights(train(TrainOptions(**base | changes), tiny_options, nio[:4], [], tmp_path / name, 0).checkpoint)

    plain, start = after("plain"), after("start", learning_rate=1e-12)
    decayed = after("adamw", optimizer="adamw", weight_decay=5.0)
    assert decayed.norm() < 0.9 * plain.norm()
    assert torch.equal(after("adamw without decay", optimizer="adamw"), plain)
    clipped = after("clipped", gradient_clip=1e-12)  # far below Adam's epsilon of 1e-8
    assert (clipped - start).norm() < 1e-2 * (plain - start).norm()


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_other_error_functions_learn_too(tmp_path, nio, tiny_options, loss):
    options = TrainOptions(epochs=15, batch_structures=3, loss=loss, ema_decay=0.9)
    history = train(options, tiny_options, nio[:9], [], tmp_path, 1).history
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]


def test_trainings_begun_before_an_option_existed_can_go_on():
    atoms = Atoms("NiO", [[0, 0, 0], [2.0, 0, 0]], cell=[4, 4, 4], pbc=True)
    atoms.set_array("magmom_in", np.array([2.0, 0.0]))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    mark = _fingerprint(TrainOptions(), ModelOptions(), [atoms], [], 0, None)
    assert mark == "5d27b9f574fbb348f30e2f437ac505231323832722de2b459d36419c85b8222b"  # of the first version
    other = _fingerprint(TrainOptions(), ModelOptions(species_channels=2), [atoms], [], 0, None)
    assert other != mark
