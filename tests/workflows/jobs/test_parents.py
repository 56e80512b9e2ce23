"""The job of one parent, with an engine that relaxes by itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

from datastore.schema import SpinConfig
from workflows.engines import EngineError, get_engine
from workflows.jobs.parents import RELAXED, compute_parent
from workflows.structures import apply_ordering, rocksalt
from workflows.structures.lattice import RelaxOptions, ScanOptions

QUICK = {"type": "vasp", "kpts": {"rhombohedral4": [2, 2, 1]}, "run": {"poll_seconds": 0.05}}


def start() -> SpinConfig:
    structure = apply_ordering(rocksalt("Ni", lattice_constant=4.3, cell="rhombohedral4"), "AFM-II")
    return SpinConfig.from_structure(structure, "AFM-II")


def compute(method: RelaxOptions | ScanOptions, kind: str = "relax") -> dict:
    return compute_parent.original(get_engine(QUICK), {}, start(), kind, method)


@pytest.fixture
def folder(tmp_path, monkeypatch, vasp_on_path):
    place = tmp_path / "job"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def test_vasp_relaxes_first_and_single_points_have_the_last_word(folder, vasp_on_path):
    document = compute(RelaxOptions(moves="volume", fmax=0.01))
    assert document["fmax"] < 0.01
    # volume of the start's cell: far from where the single points began
    assert document["volume_per_atom"] < 0.97 * start().to_structure().volume / 4
    first = document["history"][0]
    assert abs(first["volume"] / document["volume_per_atom"] - 1) < 0.01, "the single points begin where VASP ended"
    assert document["calculations"] <= 4
    assert document["start"]["config_id"] == start().config_id
    known = json.loads((folder / RELAXED).read_text())
    assert document["core_seconds"] > known["core_seconds"] > 0

    (vasp_on_path.binaries / "vasp_std").unlink()  # a second start of the job computes nothing
    again = compute(RelaxOptions(moves="volume", fmax=0.01))
    assert again["history"] == document["history"]
    assert again["core_seconds"] == pytest.approx(document["core_seconds"])


def test_a_relaxation_of_another_start_is_not_taken(folder):
    compute(RelaxOptions(moves="volume", fmax=0.02))
    known = json.loads((folder / RELAXED).read_text())
    (folder / RELAXED).write_text(json.dumps({**known, "level": "another"}))
    document = compute(RelaxOptions(moves="volume", fmax=0.02))
    assert document["fmax"] < 0.02
    assert json.loads((folder / RELAXED).read_text())["level"] == get_engine(QUICK).level_id()


def test_a_relaxation_without_an_end_fails_in_one_line(folder, vasp_on_path):
    (vasp_on_path.binaries / "vasp_std").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(EngineError, match="NiO AFM-II: engine vasp could not relax it") as caught:
        compute(RelaxOptions())
    assert "\n" not in str(caught.value)
    assert not (folder / RELAXED).exists()


def test_engines_without_a_relaxation_go_the_way_they_went(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = get_engine("spin-lattice")
    assert engine.relax(start(), "all", 0.01, 10, tmp_path) is None
    document = compute_parent.original(engine, {}, start(), "relax", RelaxOptions(moves="volume"))
    assert np.isclose(document["history"][0]["volume"], start().to_structure().volume / 4)
    assert not (tmp_path / RELAXED).exists()
