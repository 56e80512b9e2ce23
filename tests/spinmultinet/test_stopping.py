"""Signals and deadlines are noted, not obeyed at once."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from spinmultinet import load_model
from spinmultinet.fine_tune import weights_hash
from spinmultinet.stopping import OUT_OF_TIME, OutOfTimeError, deadline, leave, stop_requests
from spinmultinet.train import train


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_old_handler_comes_back(number):
    before = signal.getsignal(number)
    with stop_requests() as asked:
        os.kill(os.getpid(), number)
        assert asked == [number]
    assert signal.getsignal(number) is before


def test_other_threads_leave_signals_alone():
    seen = []

    def work():
        with stop_requests() as asked:
            seen.append(asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]]


def test_leaving():
    with pytest.raises(KeyboardInterrupt, match="goes on from 'models/a'"):
        leave(signal.SIGINT, Path("models/a"))
    with pytest.raises(OutOfTimeError, match="goes on from 'models/a'"):
        leave(OUT_OF_TIME, Path("models/a"))
    with pytest.raises(SystemExit) as end:
        leave(signal.SIGTERM, Path("a"))
    assert end.value.code == 143


def test_a_training_ends_at_its_deadline_and_goes_on_to_the_same_result(tmp_path, nio, tiny_options, quick_training):
    """Stopped after every step, and never: the same weights and history."""
    options = quick_training.model_copy(update={"epochs": 2, "batch_structures": 2})
    whole = train(options, tiny_options, nio[:6], nio[6:8], tmp_path / "whole")
    stops = 0
    for _ in range(20):
        try:
            with deadline(time.time() - 1):
                again = train(options, tiny_options, nio[:6], nio[6:8], tmp_path / "parts")
            break
        except OutOfTimeError:
            stops += 1
    assert stops == 8  # three steps and the end of the epoch, twice
    assert again.history == whole.history
    assert weights_hash(load_model(again.checkpoint)) == weights_hash(load_model(whole.checkpoint))


def test_a_deadline_in_the_future_changes_nothing():
    with deadline(time.time() + 1000), stop_requests() as asked:
        assert asked.number() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.number() == signal.SIGTERM
    with deadline(time.time() - 1), stop_requests() as asked:
        assert asked.number() == OUT_OF_TIME
    with deadline(None), stop_requests() as asked:
        assert asked.number() == 0


def test_the_margin_grows_with_the_longest_stretch_seen():
    """What took half a second may take it again: it is not begun so short before the deadline."""
    with deadline(time.time() + 1.2) as limit, stop_requests() as asked:
        assert asked.number() == 0
        time.sleep(0.5)
        assert asked.number() == 0
        assert limit.stretch == pytest.approx(0.5, abs=0.1)
        time.sleep(0.3)
        assert asked.number() == OUT_OF_TIME
        assert limit.stretch == pytest.approx(0.5, abs=0.1)
    with deadline(time.time() + 10, stretch=20) as limit, stop_requests() as asked:  # as an earlier part has seen it
        assert asked.number() == OUT_OF_TIME


def test_the_first_step_and_a_validation_count(tmp_path, nio, tiny_options, quick_training):
    options = quick_training.model_copy(update={"epochs": 1, "batch_structures": 2})
    with deadline(time.time() + 1000) as limit:
        done = train(options, tiny_options, nio[:6], nio[6:8], tmp_path)
    assert done.seconds / 4 <= limit.stretch <= done.seconds + 0.5  # the longest of three steps and the end
