"""Several processes train what one trains; they stop together and fail with one voice."""

import os
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinmultinet import SpinMultiNetError, load_model
from spinmultinet.committee import train_committee
from spinmultinet.distributed import Processes, processes
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.train import STATE_FILE, train
from tests.support.together import mixed_labels, together, train_mixed, train_other_data, train_twice

MODEL = ModelOptions(layers=2, channels=4, l_max=1, cutoff=3.5, radial_hidden=[8], dtype="float64")
# Ten structures in batches of three: the last one is a single structure, of which one process has no share.
OPTIONS = TrainOptions(
    **{"epochs": 6, "batch_structures": 3, "validate_every": 2, "checkpoint_epochs": 2, "stress_weight": 1.0},
    **{"input_scale": (0.8, 1.2), "schedule": "plateau", "plateau_patience": 0, "keep": "best", "gradient_clip": 1.0},
)


def history(folder):
    return torch.load(folder / STATE_FILE, weights_only=True)["history"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Folder of a training by two processes, and what they printed."""
    folder = tmp_path_factory.mktemp("pair")
    (code, leader), (other_code, other) = together(train_mixed, (OPTIONS, MODEL, str(folder)))
    assert (code, other_code) == (0, 0), leader + other
    return folder, leader, other


def test_two_processes_train_what_one_trains(tmp_path, pair):
    folder, _, _ = pair
    frames = mixed_labels()
    alone = train(OPTIONS, MODEL, frames[:10], frames[10:], tmp_path, 3)
    for mine, theirs in zip(alone.history, history(folder), strict=True):
        assert theirs == pytest.approx(mine, rel=1e-9, abs=1e-12)
    a, b = load_model(alone.checkpoint).state_dict(), load_model(folder / "model.pt").state_dict()
    for name in a:
        torch.testing.assert_close(b[name], a[name], rtol=1e-7, atol=1e-10)
    assert load_model(alone.checkpoint).metadata == load_model(folder / "model.pt").metadata


def test_only_the_first_speaks_and_writes(pair):
    folder, leader, other = pair
    assert [line for line in leader.splitlines() if line.startswith("epoch")] == [f"epoch {k + 1}" for k in range(6)]
    assert other == ""
    assert sorted(p.name for p in folder.iterdir()) == ["metrics.csv", "model.pt", "training.pt"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_stops_all_and_they_go_on_exactly(tmp_path, pair, rank):
    ended = together(train_mixed, (OPTIONS, MODEL, str(tmp_path), (rank, 11, signal.SIGTERM)))
    assert [code for code, _ in ended] == [143, 143]
    state = torch.load(tmp_path / STATE_FILE, weights_only=True)
    assert (state["epoch"], state["batch"]) == (2, 3)
    assert not (tmp_path / "model.pt").exists()
    together(train_mixed, (OPTIONS, MODEL, str(tmp_path)))
    assert history(tmp_path) == history(pair[0])
    a, b = (load_model(p / "model.pt").state_dict() for p in (tmp_path, pair[0]))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_one_process_goes_on_where_two_stopped(tmp_path, pair):
    together(train_mixed, (OPTIONS, MODEL, str(tmp_path), (0, 11, signal.SIGTERM)))
    frames = mixed_labels()
    rest = train(OPTIONS, MODEL, frames[:10], frames[10:], tmp_path, 3)
    assert rest.resumed_from == 2
    for mine, theirs in zip(rest.history, history(pair[0]), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_one_training_after_the_other(tmp_path):
    options = OPTIONS.model_copy(update={"keep": "last", "epochs": 1})
    ended = together(train_twice, (options, MODEL, str(tmp_path)))
    assert ended == [(0, ""), (0, "")]
    assert history(tmp_path / "first") == history(tmp_path / "second")


def test_an_error_in_one_ends_all_and_is_said_once(tmp_path):
    harm = (1, 7, SpinMultiNetError("the weather is bad"))
    (code, leader), (other_code, other) = together(train_mixed, (OPTIONS, MODEL, str(tmp_path), harm))
    assert (code, other_code) == (1, 2)
    assert "Error" not in leader
    assert other == "SpinMultiNetError: the weather is bad\n"


def test_a_killed_process_ends_the_others_with_a_reason(tmp_path):
    harm = (1, 7, signal.SIGKILL)
    (code, leader), (other_code, _) = together(train_mixed, (OPTIONS, MODEL, str(tmp_path), harm))
    assert (code, other_code) == (2, -signal.SIGKILL)
    assert "another process of this training was ended from outside" in leader


def test_other_data_in_one_process_are_refused_once(tmp_path):
    ended = together(train_other_data, (OPTIONS.model_copy(update={"keep": "last"}), MODEL, str(tmp_path)))
    assert sorted(code for code, _ in ended) == [1, 2]
    said = "".join(text for _, text in ended)
    assert said.count("SpinMultiNetError: the processes of this training have other data") == 1
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=40), st.integers(1, 9))
def test_shares_are_a_division_of_the_batch(sizes, number):
    batch = list(range(len(sizes)))
    shares = [Processes(rank, number).share(batch, sizes.__getitem__) for rank in range(number)]
    assert sorted(k for share in shares for k in share) == batch
    assert all(share == sorted(share) for share in shares)
    loads = [sum(max(sizes[k], 1) for k in share) for share in shares]
    assert max(loads) - min(loads) <= max(*sizes, 1)


def test_alone_without_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes() as found:
        assert found == Processes(0, 1)
        assert found.leader
        assert found.largest(-7) == -7
        assert found.total(torch.tensor([1.5, 2.0])).tolist() == [1.5, 2.0]


def test_processes_that_cannot_meet_say_so(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SpinMultiNetError, match=r"WORLD_SIZE=2.*start them with torchrun"), processes():
        pass


def test_committees_are_not_trained_under_torchrun(tmp_path, nio, tiny_options, quick_training, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SpinMultiNetError, match="one by one"):
        train_committee(quick_training, tiny_options, nio[:4], [], tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_without_gpu(tmp_path, nio, tiny_options, quick_training):
    assert Processes().device("auto") == Processes().device("cpu") == torch.device("cpu")
    with pytest.raises(SpinMultiNetError, match=r"finds 0 GPUs.*device: cpu"):
        train(quick_training.model_copy(update={"device": "cuda"}), tiny_options, nio[:4], [], tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_finished_training_comes_home_without_a_gpu(tmp_path, nio, tiny_options, quick_training):
    options = quick_training.model_copy(update={"epochs": 1})
    done = train(options, tiny_options, nio[:4], [], tmp_path)
    again = train(options.model_copy(update={"device": "cuda"}), tiny_options, nio[:4], [], tmp_path)
    assert (again.checkpoint, again.history) == (done.checkpoint, done.history)


@pytest.mark.skipif(torch.cuda.device_count() == 0, reason="no GPU that PyTorch can use")
def test_a_gpu_trains_what_the_cpu_trains(tmp_path):
    frames = mixed_labels()
    a, b = (
        train(OPTIONS.model_copy(update={"device": d}), MODEL, frames[:10], frames[10:], tmp_path / d, 3)
        for d in ("cpu", "cuda")
    )
    for on_cpu, on_gpu in zip(a.history, b.history, strict=True):
        assert on_gpu == pytest.approx(on_cpu, rel=1e-6, abs=1e-9)


def test_one_gpu_each(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setitem(os.environ, "LOCAL_RANK", "1")
    assert Processes(3, 4).device("auto") == torch.device("cuda", 1)
    assert chosen == [1]
    monkeypatch.setitem(os.environ, "LOCAL_RANK", "2")
    with pytest.raises(SpinMultiNetError, match="process 3 of this machine finds 2 GPUs"):
        Processes(2, 3).device("cuda")


@pytest.mark.parametrize("text", ["two", "", "0", "-1"])
def test_a_number_of_processes_that_is_none(monkeypatch, text):
    monkeypatch.setenv("WORLD_SIZE", text)
    with pytest.raises(SpinMultiNetError, match=r"WORLD_SIZE=.*torchrun"), processes():
        pass
