"""Finished results: kept on disk, one line each; other sources and broken lines are not read."""

from workflows.finished import Finished


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
