"""Training from neighbour lists on disk is training, and follows the content of the data."""

import numpy as np
import pytest

from spinmultinet import build_model, load_model
from spinmultinet.cache import GraphCache
from spinmultinet.committee import train_committee
from spinmultinet.train import train
from spinmultinet.training_data import FOLDER, training_graphs


def test_training_from_disk_gives_the_same_losses(tmp_path, nio, tiny_options, quick_training):
    shared = tmp_path / "shared"
    on_disk = quick_training.model_copy(update={"cache_from": 2, "converged_inputs": 0.5, "cache_folder": str(shared)})
    in_memory = on_disk.model_copy(update={"cache_from": None, "cache_folder": None})
    a = train(on_disk, tiny_options, nio[:8], nio[8:12], tmp_path / "disk", 3)
    b = train(in_memory, tiny_options, nio[:8], nio[8:12], tmp_path / "memory", 3)
    assert a.history == b.history
    assert len(list(shared.iterdir())) == 2  # training, validation
    assert load_model(a.checkpoint).metadata["fingerprint"] == load_model(b.checkpoint).metadata["fingerprint"]


def test_small_sets_stay_in_memory(tmp_path, nio, tiny_options, quick_training):
    model = build_model(tiny_options, ["O", "Ni"])
    options = quick_training.model_copy(update={"cache_from": 7})
    assert isinstance(training_graphs(model, nio[:6], "training", options, tmp_path), list)
    assert isinstance(training_graphs(model, nio[:7], "training", options, tmp_path), GraphCache)


def test_changed_content_or_model_is_another_folder(tmp_path, nio, tiny_options, quick_training):
    model = build_model(tiny_options, ["O", "Ni"])
    wider = build_model(tiny_options.model_copy(update={"cutoff": 4.5}), ["O", "Ni"])
    turned = build_model(tiny_options, ["Ni", "O"])
    shared = tmp_path / "shared"
    options = quick_training.model_copy(update={"cache_from": 0, "cache_folder": str(shared)})

    def of(which):
        return training_graphs(which, nio[:2], "training", options, tmp_path)

    first = of(model)
    assert of(model).folder == first.folder
    assert len(of(wider)[0].receiver) > len(first[0].receiver)
    assert of(turned)[0].species.tolist() == (1 - first[0].species).tolist()
    nio[0].calc.results["forces"] = nio[0].calc.results["forces"] + 0.125
    changed = of(model)
    np.testing.assert_allclose(changed[0].forces - first[0].forces, 0.125)
    assert len(list(shared.iterdir())) == 4


def test_the_default_folder_lives_as_long_as_the_training(tmp_path, nio, tiny_options, quick_training):
    options = quick_training.model_copy(update={"cache_from": 2, "epochs": 2})

    def stop(epoch, epochs, metrics):
        assert len(list((tmp_path / FOLDER).iterdir())) == 1
        if not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(options, tiny_options, nio[:4], [], tmp_path, 0, stop)
    assert (tmp_path / FOLDER).exists()
    train(options, tiny_options, nio[:4], [], tmp_path, 0, stop)
    assert not (tmp_path / FOLDER).exists()


def test_members_share_neighbour_lists_which_go_at_the_end(tmp_path, nio, tiny_options, quick_training):
    options = quick_training.model_copy(update={"cache_from": 2, "epochs": 1})
    done = train_committee(options, tiny_options, nio[:4], [], tmp_path, seeds=(0,), processes=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["member_0"]
    assert sorted(p.name for p in done[0].checkpoint.parent.iterdir()) == ["metrics.csv", "model.pt", "training.pt"]
