"""Neighbour lists on disk: the same to the bit, whole or not there, and never those of other data."""

import multiprocessing
import os
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from spinmultinet import SpinMultiNetError
from spinmultinet.cache import HEADER, GraphCache, cache_key, cached, write
from spinmultinet.data import Graph, batches, collate, to_graph

SPECIES = ["O", "Ni"]


@pytest.fixture
def graphs(nio):
    """Structures of different size, one without neighbours, one without most labels."""
    nio[1] = nio[1].repeat((2, 1, 1))
    lonely = nio[2][:1]
    lonely.pbc = False
    lonely.calc = None
    return [to_graph(a, SPECIES, 4.0, need_moments=False) for a in [*nio[:2], lonely, *nio[3:6]]]


def same(a, b):
    for f in fields(Graph):
        x, y = getattr(a, f.name), getattr(b, f.name)
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        assert x.numpy().tobytes() == y.numpy().tobytes(), f.name


def test_what_comes_back_is_the_same_to_the_bit(tmp_path, graphs):
    cache = cached(tmp_path, "k", lambda: graphs)
    assert len(cache) == len(graphs)
    for k, graph in enumerate(graphs):
        same(cache[k], graph)
        assert cache.n_pairs(k) == len(graph.receiver)
    same(cache[-1], graphs[-1])
    same(collate(cache[1:4]), collate(graphs[1:4]))
    assert list(batches(cache, [3, 0, 4, 1], 2, 10**6)) == list(batches(graphs, [3, 0, 4, 1], 2, 10**6))
    with pytest.raises(IndexError):
        cache[len(graphs)]


def test_every_field_of_a_graph_is_stored(tmp_path, graphs):
    """A field added to Graph and forgotten here would fail on loading; this names it."""
    cached(tmp_path, "k", lambda: graphs)
    stored = {p.stem for p in (tmp_path / "k").glob("*.npy")}
    assert stored == {f.name for f in fields(Graph)} - {"structure"}


def test_it_is_built_once_and_changed_graphs_do_not_reach_the_disk(tmp_path, graphs):
    cached(tmp_path, "k", lambda: graphs)
    again = cached(tmp_path, "k", lambda: pytest.fail("built again"))
    again[0].positions.add_(1.0)
    same(GraphCache(tmp_path / "k")[0], graphs[0])


def test_the_key_depends_on_content_and_choices():
    base = cache_key("abc", {"cutoff": 5.0, "species": SPECIES})
    others = [
        cache_key("abd", {"cutoff": 5.0, "species": SPECIES}),
        cache_key("abc", {"cutoff": 5.5, "species": SPECIES}),
        cache_key("abc", {"cutoff": 5.0, "species": SPECIES[::-1]}),
    ]
    assert len({base, *others}) == 4
    assert cache_key("abc", {"species": SPECIES, "cutoff": 5.0}) == base


@pytest.mark.parametrize("name", ["sender.npy", "positions.npy", HEADER])
@pytest.mark.parametrize("damage", ["half", "empty", "gone", "foreign"])
def test_damaged_files_are_noticed_and_built_again(tmp_path, graphs, name, damage):
    cached(tmp_path, "k", lambda: graphs)
    path = tmp_path / "k" / name
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "foreign": b'{"format": "other"}'}[damage])
    with pytest.raises(SpinMultiNetError, match="damaged or absent"):
        GraphCache(tmp_path / "k")
    same(cached(tmp_path, "k", lambda: graphs)[1], graphs[1])


def test_pickles_are_not_read(tmp_path, graphs):
    cached(tmp_path, "k", lambda: graphs)
    np.save(tmp_path / "k" / "energy.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(SpinMultiNetError, match="damaged"):
        GraphCache(tmp_path / "k")


def test_a_writer_that_fails_leaves_nothing(tmp_path, graphs):
    def breaks():
        yield graphs[0]
        raise SpinMultiNetError("structure 1 has no moments")

    with pytest.raises(SpinMultiNetError, match="structure 1 has no moments"):
        cached(tmp_path, "k", breaks)
    assert list(tmp_path.iterdir()) == []


def test_remnants_of_killed_writers_go_after_a_day(tmp_path, graphs):
    old, young = tmp_path / ".a.x.tmp", tmp_path / ".b.y.tmp"
    old.mkdir()
    young.mkdir()
    os.utime(old, (time.time() - 100_000,) * 2)
    cached(tmp_path, "k", lambda: graphs)
    assert {p.name for p in tmp_path.iterdir()} == {young.name, "k"}


def test_the_second_of_two_writers_uses_what_the_first_left(tmp_path, graphs):
    def overtaken():
        yield graphs[0]
        other = tmp_path / "other"
        other.mkdir()
        write(other, graphs)
        other.rename(tmp_path / "k")
        yield from graphs[1:]

    same(cached(tmp_path, "k", overtaken)[3], graphs[3])
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def _writer(folder, positions, done):
    template = Graph(
        **{f.name: torch.zeros(1, dtype=torch.float64) for f in fields(Graph)}
        | {name: torch.zeros(0, dtype=torch.long) for name in ("receiver", "sender", "reverse")}
        | {"shift": torch.zeros(0, 3, dtype=torch.float64), "n_atoms": torch.tensor([1])}
    )
    graphs = [replace(template, positions=torch.tensor([[float(x)] * 3], dtype=torch.float64)) for x in positions]
    found = cached(folder, "k", lambda: graphs)
    done.put([float(g.positions[0, 0]) for g in found])


def test_concurrent_writers_and_readers_see_whole_sets(tmp_path):
    context = multiprocessing.get_context("fork")
    done = context.SimpleQueue()
    children = [context.Process(target=_writer, args=(tmp_path, range(200), done)) for _ in range(4)]
    for child in children:
        child.start()
    assert [done.get() for _ in children] == [[float(x) for x in range(200)]] * 4
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path, graphs):
    tmp_path.chmod(0o500)
    with pytest.raises(SpinMultiNetError, match="cannot write neighbour lists"):
        cached(tmp_path, "k", lambda: graphs)


def test_a_file_in_the_way_is_a_clear_error(tmp_path, graphs):
    (tmp_path / "taken").write_text("")
    with pytest.raises(SpinMultiNetError, match="cannot write neighbour lists"):
        cached(tmp_path / "taken", "k", lambda: graphs)


def test_an_empty_set_is_refused(tmp_path):
    with pytest.raises(SpinMultiNetError, match="no structures"):
        cached(tmp_path, "k", list)
    assert list(tmp_path.iterdir()) == []
