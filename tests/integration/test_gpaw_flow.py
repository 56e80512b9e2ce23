"""First-principles labels from the flow to the store: GPAW in two worker processes, at settings cheap enough."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from datastore import open_store
from datastore.ingest import ingest
from datastore.schema import SpinConfig
from workflows.engines import get_engine
from workflows.engines.gpaw import import_problem
from workflows.flows.label import LabelFlowMaker
from workflows.structures import apply_ordering, deform, rocksalt
from workflows.submit import run_local

ROOT = Path(__file__).resolve().parents[2]
CHEAP = {"type": "gpaw", "ecut": 400, "kpts": {"rhombohedral4": [2, 2, 2]}}
SIGNS = {"FM": [1, 1], "AFM-II": [1, -1]}

pytestmark = [
    pytest.mark.first_principles,
    pytest.mark.slow,
    pytest.mark.skipif(
        import_problem() is not None and os.environ.get("SPINMULTINET_REQUIRE_GPAW") != "1",
        reason="GPAW is not installed: make gpaw",
    ),
]


def test_a_pair_of_orderings_is_labelled_and_stored_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    structure, _ = deform(rocksalt("Ni", lattice_constant=4.2, cell="rhombohedral4"), "displacement", 0.04, seed=2)
    configs = [SpinConfig.from_structure(apply_ordering(structure, name), name, pair_id="pair") for name in SIGNS]
    engine = get_engine(CHEAP)
    uri = f"local:{tmp_path / 'store'}"

    def run():
        result = run_local(LabelFlowMaker(engine).make(configs), uri, tmp_path / "files", workers=2)
        return result.executed, result.reused

    assert run() == (2, 0)
    with open_store(uri) as store:
        assert ingest(store).labels == 2
        points = {point.ordering: point for point in map(store.get_point, ids(engine, configs)) if point}
        assert store.failures.count() == 0
    assert run() == (0, 2)
    with open_store(uri) as store:
        assert ingest(store).jobs == 0

    assert set(points) == set(SIGNS)
    for ordering, point in points.items():
        assert (point.verdict, point.ordering_found) == ("accepted", ordering), point.verdict_reasons
        assert np.sign(point.magmoms_out[:2]).tolist() == SIGNS[ordering]
        assert np.abs(point.magmoms_out[:2]) == pytest.approx([1.75, 1.75], abs=0.2)
        assert point.deformation == "displacement"
        assert point.kpoints == [2, 2, 2]
    gap = (points["FM"].free_energy - points["AFM-II"].free_energy) / 4 * 1e3
    assert 20 < gap < 70, f"{gap:.1f} meV/atom"


def ids(engine, configs):
    from datastore.schema import point_id

    return [point_id(config.config_id, engine.level_id()) for config in configs]
