"""Finished results: kept on disk, one line each; other sources and broken lines are not read."""

import pytest

from datastore.errors import DataError
from workflows.finished import Finished, StateFile


def test_results_survive_and_belong_to_their_source(tmp_path):
    path = tmp_path / "deep" / "a.jsonl"
    first = Finished(path, "model a")
    first.add("k", {"energies": [1.0]})
    assert Finished(path, "model a")["k"] == {"energies": [1.0]}
    assert "k" not in Finished(path, "model b")
    Finished(path, "model b").add("k", {"energies": [2.0]})
    assert Finished(path, "model a")["k"] == {"energies": [1.0]}
    assert len(Finished(path, "model b")) == 1


def test_a_line_cut_off_by_a_kill_is_done_again_and_harms_no_other(tmp_path):
    path = tmp_path / "a.jsonl"
    kept = Finished(path)
    kept.add("one", {"x": 1})
    kept.add("two", {"x": 2})
    path.write_bytes(path.read_bytes()[:-8])
    again = Finished(path)
    assert "one" in again
    assert "two" not in again
    again.add("two", {"x": 2})
    assert [Finished(path)[k]["x"] for k in ("one", "two")] == [1, 2]


def test_without_a_path_nothing_is_written(tmp_path):
    kept = Finished(None)
    kept.add("k", {})
    assert "k" in kept
    assert not list(tmp_path.iterdir())


def test_a_state_is_written_now_and_then_and_at_the_end(tmp_path):
    file = StateFile(tmp_path / "s.json", "key", every=1000.0)
    assert file.load() is None
    file.save({"step": 1})
    file.save({"step": 2})
    assert StateFile(tmp_path / "s.json", "key").load() == {"step": 1}
    file.write()
    assert StateFile(tmp_path / "s.json", "key").load() == {"step": 2}


def test_a_state_of_something_else_is_refused(tmp_path):
    StateFile(tmp_path / "s.json", "key", every=0.0).save({"step": 1})
    with pytest.raises(DataError, match="belongs to another structure"):
        StateFile(tmp_path / "s.json", "other").load()
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(DataError, match="delete it"):
        StateFile(tmp_path / "s.json", "key").load()


def test_no_path_keeps_no_state(tmp_path):
    file = StateFile(None, "key")
    file.save({"step": 1})
    file.write()
    assert file.load() is None
    assert not list(tmp_path.iterdir())
