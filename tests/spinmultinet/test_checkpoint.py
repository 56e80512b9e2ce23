"""Checkpoints: exact round trip, and one clear error for everything that is none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from spinmultinet import SpinMultiNetError, build_model, load_model
from spinmultinet.checkpoint import VERSION, save_model, to_content
from spinmultinet.evaluate import predict

DATA = Path(__file__).parent / "data"


@pytest.fixture
def model(tiny_options):
    return build_model(tiny_options, ["O", "Ni"], 3)


def test_round_trip_is_exact_and_self_describing(tmp_path, model, nio):
    model.metadata = {"level_id": "abc", "moment_role": "constraint", "snapshot_id": "s1", "training_seed": 3}
    again = load_model(save_model(model, tmp_path / "m.pt"))
    frame = nio[0].copy()
    frame.info["moment_role"] = "constraint"
    a, b = predict(model, [frame])[0], predict(again, [frame])[0]
    assert a["energy"] == b["energy"]
    assert np.array_equal(a["magmoms"], b["magmoms"])
    content = torch.load(tmp_path / "m.pt", weights_only=True)
    assert content["units"]["energy"] == "eV"
    assert content["species"] == ["O", "Ni"]
    assert content["n_parameters"] == sum(p.numel() for p in model.parameters())
    assert content["metadata"]["snapshot_id"] == "s1"
    assert content["metadata"]["licence"] == "unknown"
    assert again.metadata["moment_role"] == "constraint"
    assert list(tmp_path.iterdir()) == [tmp_path / "m.pt"]


def test_missing_corrupt_and_foreign_files(tmp_path, model):
    path = tmp_path / "m.pt"
    with pytest.raises(SpinMultiNetError, match="does not exist"):
        load_model(path)
    save_model(model, path)
    whole = path.read_bytes()
    for broken in (b"", b"not a checkpoint", whole[: len(whole) // 2], b"\x80\x02}q\x00."):
        path.write_bytes(broken)
        with pytest.raises(SpinMultiNetError, match=r"checkpoint .*m\.pt"):
            load_model(path)
    torch.save({"weights": torch.ones(3)}, path)
    with pytest.raises(SpinMultiNetError, match="no spinmultinet-model file"):
        load_model(path)


def test_newer_version_says_update(tmp_path, model):
    torch.save(to_content(model) | {"version": VERSION + 1}, tmp_path / "m.pt")
    with pytest.raises(SpinMultiNetError, match="update spinmultinet"):
        load_model(tmp_path / "m.pt")


def test_files_of_version_1_are_read(nio):
    """Written before scalars and vectors shared a model, with the option spin_axes; it gave these numbers then."""
    path = DATA / "model_v1.pt"
    content = torch.load(path, weights_only=True)
    assert content["version"] == 1
    assert content["model_options"]["spin_axes"] == 1
    model = load_model(path)
    found = predict(model, nio[:1])[0]
    assert found["energy"] == pytest.approx(-0.03592417389863241, abs=1e-12)
    expected = [-0.7908920403994097, 0.7856244276203592, 0.019435075280549538, -0.012447401504518424]
    np.testing.assert_allclose(found["magmoms"], expected, atol=1e-12)
    assert model.metadata["spin_axes"] == 1
    assert to_content(model)["version"] == VERSION == 2
    assert "spin_axes" not in to_content(model)["model_options"]


@pytest.mark.parametrize("damage", ["state", "species", "options"])
def test_content_that_does_not_fit(tmp_path, model, damage):
    content = to_content(model)
    if damage == "state":
        content["state"].pop("energy_readout.weight")
    elif damage == "species":
        del content["species"]
    else:
        content["model_options"]["channels"] = 7
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(SpinMultiNetError, match="incomplete or does not fit"):
        load_model(tmp_path / "m.pt")


def test_code_in_a_file_is_not_run(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    (tmp_path / "m.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(SpinMultiNetError):
        load_model(tmp_path / "m.pt")
    assert not (tmp_path / "ran").exists()


def test_unwritable_folder_is_a_clear_error(model, tmp_path):
    with pytest.raises(SpinMultiNetError, match="cannot write"):
        save_model(model, tmp_path / "absent" / "m.pt")
