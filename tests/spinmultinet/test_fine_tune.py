"""Beginning with the weights of another model: what must agree, and what is adapted."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch

from spinmultinet import SpinMultiNetError, load_model
from spinmultinet.committee import _start_of
from spinmultinet.evaluate import evaluate, predict
from spinmultinet.fine_tune import start_model
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.train import train

DATA = Path(__file__).parent / "data" / "nio_pbeu.extxyz"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A trained model."""
    frames = ase.io.read(DATA, ":8")
    for atoms in frames:
        atoms.info["level_id"] = "pbeu"
    options = TrainOptions(epochs=30, batch_structures=3)
    model = ModelOptions(layers=2, channels=4, l_max=1, cutoff=3.5, radial_hidden=[8])
    return train(options, model, frames, [], tmp_path_factory.mktemp("base"), 0).checkpoint


@pytest.fixture(autouse=True)
def _of_the_same_level(nio):
    for atoms in nio:
        atoms.info["level_id"] = "pbeu"


def tuned(path, options, base, frames, asked=None, **changes):
    changed = options.model_copy(update={"start_from": str(base), **changes})
    return train(changed, asked or ModelOptions(), frames, [], path, 0)


def test_it_begins_where_the_other_ended(tmp_path, nio, base, quick_training):
    gentle = {"learning_rate": 1e-12, "schedule": "constant", "epochs": 1}
    done = tuned(tmp_path / "new", quick_training, base, nio[:8], **gentle)
    before = evaluate(load_model(base), nio[:8])["overall"]
    after = evaluate(load_model(done.checkpoint), nio[:8])["overall"]
    assert after["forces"]["mae"] == pytest.approx(before["forces"]["mae"], rel=1e-3)
    assert after["moments"]["mae"] == pytest.approx(before["moments"]["mae"], rel=1e-3)
    assert after["energy"]["rmse"] <= before["energy"]["rmse"] + 1e-3
    told = load_model(done.checkpoint).metadata["fine_tuned_from"]
    assert told["level_id"] == "pbeu"
    assert told["fingerprint"] == load_model(base).metadata["fingerprint"]


def test_another_level_of_theory_shifts_energies_at_once(tmp_path, nio, base, quick_training):
    for atoms in nio:
        atoms.info["level_id"] = "all-electron"
        atoms.calc.results["energy"] -= 2 * 41_000.0 + 2 * 2_040.0
    done = tuned(tmp_path / "new", quick_training, base, nio[:8], learning_rate=1e-4, epochs=2)
    model = load_model(done.checkpoint)
    errors = [p["energy"] - a.calc.results["energy"] for p, a in zip(predict(model, nio[:8]), nio[:8], strict=True)]
    assert np.abs(errors).max() < 1.0
    assert model.metadata["level_id"] == "all-electron"
    assert model.metadata["fine_tuned_from"]["level_id"] == "pbeu"


def test_it_resumes_exactly_and_another_start_is_another_training(tmp_path, nio, base, quick_training):
    whole = tuned(tmp_path / "whole", quick_training, base, nio[:8])

    def stop(epoch, epochs, metrics):
        if epoch == 3:
            raise KeyboardInterrupt

    options = quick_training.model_copy(update={"start_from": str(base)})
    with pytest.raises(KeyboardInterrupt):
        train(options, ModelOptions(), nio[:8], [], tmp_path / "parts", 0, stop)
    parts = train(options, ModelOptions(), nio[:8], [], tmp_path / "parts", 0)
    assert parts.history == whole.history
    a, b = load_model(parts.checkpoint).state_dict(), load_model(whole.checkpoint).state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    with pytest.raises(SpinMultiNetError, match="other data, options or seed"):
        tuned(tmp_path / "parts", quick_training, whole.checkpoint, nio[:8])


def test_the_folder_of_a_training_will_do(tmp_path, nio, base, quick_training):
    done = tuned(tmp_path / "new", quick_training, base.parent, nio[:4], epochs=1)
    assert load_model(done.checkpoint).options == load_model(base).options


def test_missing_start(tmp_path, nio, quick_training):
    with pytest.raises(SpinMultiNetError, match="does not exist"):
        tuned(tmp_path / "new", quick_training, tmp_path / "absent.pt", nio[:4])


def test_other_architecture_is_named(tmp_path, nio, base, quick_training):
    with pytest.raises(SpinMultiNetError, match=r"channels 8 \(model: 4\), cutoff 4.0 \(model: 3.5\)"):
        tuned(tmp_path / "new", quick_training, base, nio[:4], ModelOptions(channels=8, cutoff=4.0, layers=2))


def test_new_species_are_refused(tmp_path, nio, base, quick_training):
    symbols = nio[1].get_chemical_symbols()
    nio[1].set_chemical_symbols(["Mn" if s == "Ni" else s for s in symbols])
    with pytest.raises(SpinMultiNetError, match=r"has Mn, which the model does not know \(it knows O, Ni\)"):
        tuned(tmp_path / "new", quick_training, base, nio[:4])


def test_missing_species_are_refused_unless_accepted(tmp_path, nio, base, quick_training):
    bare = [a[[0, 1]] for a in nio[:4]]
    for atoms, whole in zip(bare, nio, strict=False):
        atoms.calc = type(whole.calc)(atoms, energy=whole.calc.results["energy"])
    with pytest.raises(SpinMultiNetError, match=r"knows O, which the training set lacks.*start_species: subset"):
        tuned(tmp_path / "new", quick_training, base, bare)
    done = tuned(tmp_path / "new", quick_training, base, bare, start_species="subset", epochs=1)
    assert load_model(done.checkpoint).species == ["O", "Ni"]


def test_guesses_and_constraints_do_not_follow_each_other(tmp_path, nio, base, quick_training):
    for atoms in nio:
        atoms.info["moment_role"] = "constraint"
    with pytest.raises(SpinMultiNetError, match="moment_role is 'guess', that of the training set is 'constraint'"):
        tuned(tmp_path / "new", quick_training, base, nio[:4])


def test_members_begin_with_their_namesakes(tmp_path, base):
    for seed in (0, 3):
        (tmp_path / f"member_{seed}").mkdir()
    assert _start_of(str(tmp_path), 3) == str(tmp_path / "member_3")
    assert _start_of(str(base), 3) == str(base)
    assert _start_of(None, 3) is None
    with pytest.raises(SpinMultiNetError, match=r"member_1.* does not exist"):
        start_model(TrainOptions(start_from=_start_of(str(tmp_path), 1)))
