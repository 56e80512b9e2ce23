"""The sets of the tables: pairs stay together, nothing is labelled twice, low-spin labels are in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.paper_tables import data as script
from datastore.errors import DataError
from workflows.structures import StructureOptions

GPAW = sorted((Path(__file__).parents[3] / "benchmarks" / "data").glob("*.extxyz"))


def made(folder, options):
    shares = []
    return script.synthetic("pairs", options, folder, shares.append), shares


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    found, shares = made(folder, script.co_pairs(12, "all8"))
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == pytest.approx(1)
    return folder, found


def pair_ids(frames):
    return {a.info["pair_id"] for a in frames}


def test_pairs_are_one_geometry_in_two_orderings_and_in_one_split(pairs):
    _, found = pairs
    frames = [*found.train, *found.val, *found.test]
    assert len(frames) == 24
    for pair in pair_ids(frames):
        first, second = (a for a in frames if a.info["pair_id"] == pair)
        assert np.array_equal(first.positions, second.positions)
        assert {first.info["ordering"], second.info["ordering"]} == {"FM", "AFM-II"}
        assert abs(first.get_potential_energy() - second.get_potential_energy()) > 0.05
    splits = [pair_ids(split) for split in (found.train, found.val, found.test)]
    assert all(splits)
    assert sum(map(len, splits)) == len(set.union(*splits)) == 12


def test_what_is_there_is_not_labelled_again(pairs, monkeypatch):
    folder, found = pairs
    monkeypatch.setattr(script, "open_store", None)  # calling it would fail
    again, shares = made(folder, script.co_pairs(12, "all8"))
    assert again.notes == found.notes
    assert [a.info["point_id"] for a in again.train] == [a.info["point_id"] for a in found.train]
    assert shares == []


def test_a_killed_call_goes_on_where_it_was(pairs, tmp_path, monkeypatch):
    _, found = pairs
    label, done = script._label_one, []

    def stopping(engine, config, store):
        if len(done) == 10:
            done.append("killed")
            raise KeyboardInterrupt
        done.append(config.config_id)
        label(engine, config, store)

    monkeypatch.setattr(script, "_label_one", stopping)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "pairs", script.co_pairs(12, "all8"))
    again, _ = made(tmp_path / "pairs", script.co_pairs(12, "all8"))
    assert len(done) == len(set(done)) == 25
    assert [a.get_potential_energy() for a in again.test] == [a.get_potential_energy() for a in found.test]
    assert again.notes == found.notes


def test_other_options_have_a_folder_of_their_own(pairs, tmp_path):
    for count in (8, 6):
        found, _ = made(tmp_path / "pairs", script.co_pairs(count, "all8"))
        assert found.notes["configurations"] == 2 * count
    assert len(list(tmp_path.iterdir())) == 2


def test_low_spin_labels_are_in_the_set(tmp_path):
    content = {
        "parents": [{"species": "Co", "cell": "rhombohedral4", "lattice_constant": 4.31}],
        "orderings": ["FM", "AFM-II"],
        "magmoms": {"Co": 1.0},
        "deformations": [{"kind": "volume", "count": 6, "amplitude": [0.8, 0.9], "displacement": 0.03}],
    }
    found, _ = made(tmp_path, StructureOptions.model_validate(content))
    frames = [*found.train, *found.val, *found.test]
    low = [a for a in frames if np.abs(a.arrays["magmom_out"][:2]).min() < 1.8]
    assert 0 < len(low) == found.notes["low_spin_accepted"]
    assert len(frames) == 12 - found.notes["rejected"] - found.notes["failed"]


def test_the_protocol_has_seven_compositions_in_three_orderings():
    options = script.mn_co_ni(36, "conventional")
    assert {p.cell for p in options.parents} == {"conventional"}
    assert len(options.parents) * len(options.orderings) * sum(d.count for d in options.deformations) == 3024
    assert not options.paired


def test_labels_of_files_are_split_by_pair_and_another_seed_tests_on_others(tmp_path):
    first, second = (script.from_files(GPAW, tmp_path / str(seed), seed) for seed in range(2))
    frames = [*first.train, *first.val, *first.test]
    assert first.notes == first.notes | {"frames": 238, "present": 0, "not_in": 0, "rejected": 238 - len(frames)}
    metals = {"".join(sorted(set(a.get_chemical_symbols()) - {"O"})) for a in frames}
    assert metals == {"Mn", "Co", "Ni", "MnNi", "CoMn", "CoNi"}
    assert not pair_ids(first.test) & pair_ids([*first.train, *first.val])
    assert 0.15 < len(first.test) / len(frames) < 0.25
    assert pair_ids(first.test) != pair_ids(second.test)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.extxyz"):
        script.from_files([tmp_path / "absent.extxyz"], tmp_path / "data", 0)
    (tmp_path / "empty.extxyz").write_text("")
    with pytest.raises(DataError):
        script.from_files([tmp_path / "empty.extxyz"], tmp_path / "data", 0)
