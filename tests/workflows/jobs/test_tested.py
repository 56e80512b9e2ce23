"""What lies on the frozen tests, and what a model has seen under another id."""

import numpy as np
import pytest

from datastore import open_store
from datastore.atoms import read_points
from datastore.snapshot import make_snapshot
from datastore.splits import SplitOptions
from tests.workflows.exploration.conftest import campaign
from workflows.engines import get_engine
from workflows.jobs.tested import on_tests, untrained
from workflows.structures.generate import generate


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """Store, snapshot, and its labels by split."""
    engine, folder = get_engine("spin-lattice"), tmp_path_factory.mktemp("tested")
    with open_store("memory:") as store:
        for config in generate(campaign().structures, campaign="search"):
            store.put_point(engine.label(config))
        snapshot = make_snapshot(store, folder, options=SplitOptions(min_test=6, min_val=3))
        yield store, snapshot, {split: list(read_points(snapshot.path(split))) for split in snapshot.points}


def shifted(config, size):
    """Another origin, and sites off by ``size`` (Angstrom)."""
    noise = size * np.random.default_rng(0).standard_normal(config.positions.shape)
    return config.model_copy(update={"positions": config.positions + np.array([0.3, 0.1, 0.2]) + noise})


def test_candidates_on_tested_geometries_in_whatever_state(frozen):
    _, snapshot, labels = frozen
    tested, trained = labels["test"][0], labels["train"][0]
    other_state = tested.model_copy(update={"magmoms_in": 0.9 * np.abs(tested.magmoms_in)})
    candidates = [trained, other_state, shifted(tested, 0.002), shifted(trained, 0.002), shifted(tested, 0.1)]
    assert on_tests(candidates, snapshot) == {1, 2}
    assert on_tests([], snapshot) == set()
    growing = snapshot.model_copy(update={"options": SplitOptions(by="generation")})
    assert on_tests(candidates, growing) == set()


def test_geometries_of_retracted_tests_count(frozen, tmp_path):
    store, snapshot, labels = frozen
    gone = labels["test"][0]
    kept = [p.point_id for p in store_points(labels) if p.pair_id != gone.pair_id]
    later = make_snapshot(
        store, tmp_path, criteria={"point_id": {"$in": kept}}, options=snapshot.options, previous=snapshot, frozen=True
    )
    assert gone.point_id not in later.points["test"]
    assert on_tests([shifted(gone, 0.001), labels["train"][0]], later) == {0}


def store_points(labels):
    return [point for points in labels.values() for point in points]


def test_twins_of_trained_labels_are_no_honest_test(frozen):
    _, snapshot, labels = frozen
    seen, checked, tested = labels["train"][0], labels["val"][0], labels["test"][0]
    reversed_twin = shifted(seen, 0.0).model_copy(update={"magmoms_in": -seen.magmoms_in})
    points = [reversed_twin, tested, shifted(checked, 0.0), shifted(seen, 0.1)]
    assert [p.point_id for p in untrained(points, snapshot, False)] == [points[1].point_id, points[3].point_id]
    assert untrained([], snapshot, False) == []
