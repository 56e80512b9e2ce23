"""Signals are noted, not obeyed at once."""

import os
import signal
import threading
from pathlib import Path

import pytest

from spinmultinet.stopping import leave, stop_requests


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
    with pytest.raises(SystemExit) as end:
        leave(signal.SIGTERM, Path("a"))
    assert end.value.code == 143
