"""CSV and TensorBoard."""

import csv
import sys

import pytest

from spinmultinet import SpinMultiNetError
from spinmultinet.metrics import TensorBoard, write_metrics
from spinmultinet.train import TENSORBOARD_FOLDER, train

HISTORY = [{"train_loss": 2.0, "epoch": 1.0}, {"train_loss": 1.5, "epoch": 2.0, "val_loss": 1.75}]


def test_csv_has_one_row_per_epoch_and_holes(tmp_path):
    write_metrics(HISTORY[:1], tmp_path / "m.csv")
    write_metrics(HISTORY, tmp_path / "m.csv")
    rows = list(csv.DictReader((tmp_path / "m.csv").open()))
    assert rows == [
        {"epoch": "1.0", "train_loss": "2.0", "val_loss": ""},
        {"epoch": "2.0", "train_loss": "1.5", "val_loss": "1.75"},
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["m.csv"]


def test_without_the_package_training_does_not_begin(tmp_path, nio, tiny_options, quick_training, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    options = quick_training.model_copy(update={"tensorboard": True})
    with pytest.raises(SpinMultiNetError, match=r"pip install 'spinmultinet-workflows\[tensorboard\]'"):
        train(options, tiny_options, nio[:4], [], tmp_path, 0, lambda *x: pytest.fail("it trained"))


def test_switched_off_it_writes_nothing(tmp_path):
    board = TensorBoard(False, tmp_path / "t", 0)
    board.add(HISTORY[0])
    board.close()
    assert not (tmp_path / "t").exists()


def test_event_files_hold_the_history(tmp_path, nio, tiny_options, quick_training):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = quick_training.model_copy(update={"tensorboard": True, "epochs": 4, "validate_every": 2})
    done = train(options, tiny_options, nio[:4], nio[4:6], tmp_path, 0)
    events = EventAccumulator(str(tmp_path / TENSORBOARD_FOLDER)).Reload()
    assert [e.step for e in events.Scalars("loss/train")] == [1, 2, 3, 4]
    assert [e.step for e in events.Scalars("loss/val")] == [2, 4]
    written = [e.value for e in events.Scalars("forces/train")]
    assert written == pytest.approx([m["train_forces"] for m in done.history], rel=1e-6)


def test_a_resumed_training_writes_each_epoch_once(tmp_path, nio, tiny_options, quick_training):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = quick_training.model_copy(update={"tensorboard": True})

    def stop(epoch, epochs, metrics):
        if epoch == 5:  # the last checkpoint is that of epoch 4
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(options, tiny_options, nio[:4], [], tmp_path, 0, stop)
    done = train(options, tiny_options, nio[:4], [], tmp_path, 0)
    events = EventAccumulator(str(tmp_path / TENSORBOARD_FOLDER)).Reload().Scalars("loss/train")
    assert [e.step for e in events] == [1, 2, 3, 4, 5, 6]
    assert [e.value for e in events] == pytest.approx([m["train_loss"] for m in done.history], rel=1e-6)
