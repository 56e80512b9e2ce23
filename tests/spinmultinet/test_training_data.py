"""Training from neighbour lists on disk is training, and follows the content of the data."""

import numpy as np

from spinmultinet import build_model, load_model
from spinmultinet.cache import GraphCache
from spinmultinet.train import train
from spinmultinet.training_data import FOLDER, training_graphs


def test_training_from_disk_gives_the_same_losses(tmp_path, nio, tiny_options, quick_training):
    on_disk = quick_training.model_copy(update={"cache_from": 2, "converged_inputs": 0.5})
    in_memory = on_disk.model_copy(update={"cache_from": None})
    a = train(on_disk, tiny_options, nio[:8], nio[8:12], tmp_path / "disk", 3)
    b = train(in_memory, tiny_options, nio[:8], nio[8:12], tmp_path / "memory", 3)
    assert a.history == b.history
    assert len(list((tmp_path / "disk" / FOLDER).iterdir())) == 2  # training, validation
    assert not (tmp_path / "memory" / FOLDER).exists()
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
