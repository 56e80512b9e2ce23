"""Configurations on disk, slice by slice."""

import json
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.errors import DataError
from datastore.schema import SpinConfig
from workflows.jobs import slices as module
from workflows.jobs.slices import Slices, sliced
from workflows.structures.generate import StructureOptions, generate

OPTIONS = StructureOptions.model_validate(
    {
        "parents": [{"species": "Ni", "cell": "rhombohedral4"}, {"species": "Mn", "cell": "rhombohedral4"}],
        "orderings": ["FM", "AFM-II"],
        "deformations": [{"kind": "displacement", "count": 3, "amplitude": [0.02, 0.06]}],
    }
)
FOLLOWS = {"known": ["a-b"], "previous": {"model_id": "m"}, "labelled": None}


@pytest.fixture(scope="module")
def configs():
    return list(generate(OPTIONS, "campaign"))


def write(folder, configs, chunk=5, **options):
    return Slices.write(folder, sliced(configs, chunk), FOLLOWS, lambda config: len(config.species), **options)


def atoms(n):
    return SpinConfig(
        species=["Ni"] * n, lattice=np.eye(3) * 5, positions=np.zeros((n, 3)), magmoms_in=np.ones(n), ordering="FM"
    )


@given(st.lists(st.integers(1, 6), max_size=20), st.integers(1, 5))
def test_slices_hold_everything_in_order_and_are_no_larger_than_asked(sizes, chunk):
    found = list(sliced((atoms(n) for n in sizes), chunk))
    assert [len(c.species) for c in chain.from_iterable(found)] == sizes
    assert all(0 < len(part) <= chunk for part in found)


def test_large_cells_make_smaller_slices(monkeypatch):
    monkeypatch.setattr(module, "MOST_SITES", 10)
    assert [len(part) for part in sliced([atoms(4)] * 5 + [atoms(30), atoms(1)], 100)] == [2, 2, 1, 1, 1]


def test_what_was_written_is_read(configs, tmp_path):
    told = []
    slices = write(tmp_path / "here", configs, tell=told.append)
    assert (len(configs), len(slices), told) == (12, 3, [5, 10, 12])
    again = Slices(tmp_path / "here")
    assert [c for k in range(3) for c in again.read(k)] == configs
    assert [i for k in range(3) for i in again.config_ids(k)] == [c.config_id for c in configs]
    assert again.follows == FOLLOWS
    assert list(again.sizes(2)) == [("MnO", 4, 4)] * 2
    assert again.config_ids(-1) == []
    assert not list(tmp_path.glob(".*"))


def test_what_is_there_is_not_written_again(configs, tmp_path):
    before = {p.name: p.read_bytes() for p in write(tmp_path / "here", configs).folder.iterdir()}
    assert len(write(tmp_path / "here", [])) == 3
    assert {p.name: p.read_bytes() for p in (tmp_path / "here").iterdir()} == before
    write(tmp_path / "there", configs)
    assert {p.name: p.read_bytes() for p in (tmp_path / "there").iterdir()} == before


def test_a_write_that_breaks_off_leaves_nothing(configs, tmp_path):
    def broken():
        yield from configs[:7]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "here", broken())
    assert not list(tmp_path.iterdir())
    assert len(write(tmp_path / "here", configs)) == 3


@pytest.mark.parametrize("name", ["0001.jsonl.gz", "index.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_told_with_a_remedy(configs, tmp_path, name, damage):
    write(tmp_path / "here", configs)
    path = tmp_path / "here" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    {"flip": lambda: path.write_bytes(data), "cut": lambda: path.write_bytes(data[:40]), "remove": path.unlink}[
        damage
    ]()
    with pytest.raises(DataError, match=rf"{name} (is damaged|cannot be read).*made again with another `chunk`"):
        Slices(tmp_path / "here").read(1)


def test_an_index_without_its_checksum_is_damaged(configs, tmp_path):
    path = write(tmp_path / "here", configs).folder / "index.json"
    index = json.loads(path.read_text())
    del index["checksum"]
    path.write_text(json.dumps(index))
    with pytest.raises(DataError, match="damaged"):
        len(Slices(tmp_path / "here"))
