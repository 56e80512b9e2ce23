"""Who holds the lock of a campaign's folder, as far as others can see; more in test_cli_run.py."""

import os
import time

from workflows.run_lock import LOCK_FILE, holder, run_lock


def test_holder_is_told_with_the_time_while_the_lock_is_held(tmp_path):
    assert holder(tmp_path) is None
    before = time.time()
    with run_lock(tmp_path):
        pid, since = holder(tmp_path)
        assert pid == str(os.getpid())
        assert before - 1 <= since <= time.time() + 1
    assert holder(tmp_path) is None
    assert (tmp_path / LOCK_FILE).read_text() == str(os.getpid())


def test_asking_does_not_stop_a_run(tmp_path):
    with run_lock(tmp_path):
        pass
    for _ in range(50):
        assert holder(tmp_path) is None
        with run_lock(tmp_path):
            pass
