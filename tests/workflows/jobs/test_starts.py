"""Which labels of a store are started again, and how."""

import json
import os
from pathlib import Path

import ase.io
import pytest

from datastore import open_store
from datastore.atoms import point_to_atoms
from datastore.metastable import is_comparable
from datastore.outliers import above_surface
from datastore.quality import judge, other_spin_state
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.train import train
from tests.datastore.test_quality import _from_pool
from workflows.campaign import CampaignOptions
from workflows.engines import get_engine
from workflows.jobs.starts import choose_starts
from workflows.structures import generate

STRUCTURES = {
    "parents": [{"species": "Co", "lattice_constant": 4.29, "cell": "rhombohedral4"}],
    "orderings": ["FM", "AFM-II"],
    "magmoms": {"Co": 1.0},
    "deformations": [{"kind": "volume", "count": 10, "amplitude": [0.86, 1.05], "displacement": 0.05}],
    "seed": 2,
}


@pytest.fixture(scope="module")
def points():
    options = CampaignOptions(name="coo", engine="spin-lattice", structures=STRUCTURES)
    engine = get_engine("spin-lattice")
    return [engine.label(config) for config in generate(options.structures, campaign="coo")]


@pytest.fixture
def choose(points, tmp_path):
    """Choose among ``labelled`` (all by default) of a store with the labels."""

    def chosen(labelled=None, changed=(), previous=None, **starts):
        name = f"local:{tmp_path / 'store'}"
        options = CampaignOptions(
            name="coo", engine="spin-lattice", structures=STRUCTURES, store=name, starts={"count": 1, **starts}
        )
        with open_store(name) as store:
            for point in [*points, *changed]:
                store.put_point(point)
        ids = [p.point_id for p in points] if labelled is None else labelled
        path = tmp_path / "starts.json"
        result = choose_starts(options, options.starts, 3, ids, previous, path)
        assert json.loads(path.read_text()) == {"generation": 3, "suspects": result[1]}
        return result

    return chosen


def raised(point, by):
    """The label ``by`` eV/atom higher."""
    size = len(point.species)
    return point.model_copy(update={name: getattr(point, name) + by * size for name in ("energy", "free_energy")})


def test_low_spin_is_started_in_high_spin(choose, points):
    low = {p.point_id for p in points if other_spin_state(p)}
    assert 0 < len(low) < len(points)
    configs, why = choose(when=["spin-state"])
    assert {suspect["point_id"] for suspect in why} == low
    assert {(c.start, c.campaign, c.generation) for c in configs} == {("high-spin", "coo", 3)}
    assert {tuple(abs(c.magmoms_in)) for c in configs} == {(3.0, 3.0, 0.0, 0.0)}
    assert choose(when=["spin-state"]) == (configs, why)


def test_a_label_above_its_neighbours_is_found(choose, points):
    victim = raised(next(p for p in points if not other_spin_state(p)), 0.05)
    configs, why = choose(changed=[victim], when=["neighbours"])
    (suspect,) = [s for s in why if s["point_id"] == victim.point_id]
    assert suspect["height"] == pytest.approx(0.05, abs=0.02)
    assert len(configs) == len(why)


def test_only_labels_of_the_generation_are_asked_for_and_a_limit_holds(choose, points):
    one = points[0].point_id
    configs, why = choose([one], when=["always"], count=4)
    assert [suspect["point_id"] for suspect in why] == [one]
    assert [c.start for c in configs] == ["high-spin", "1.5x", "0.5x"]
    assert len(choose(when=["always"], limit=5)[1]) == 5


def test_labels_with_a_better_start_are_left_alone(choose, points):
    """Where the campaign has that start; one that it does not know, or has only now, makes no difference."""
    victim = raised(points[0], 0.05)
    better = get_engine("spin-lattice").label(
        points[0].config().model_copy(update={"magmoms_in": points[0].magmoms_in * 3, "start": "high-spin"})
    )
    tagged = victim.model_copy(
        update={"ground": better.point_id, "verdict": "rejected", "verdict_reasons": ["metastable: 50 meV/atom above"]}
    )
    before = choose(changed=[victim], when=["always"])
    assert victim.point_id in {suspect["point_id"] for suspect in before[1]}
    assert choose(changed=[tagged, better], when=["always"]) == before
    known = {"point_ids": [better.point_id], "members": []}
    why = choose(changed=[tagged, better], previous=known, when=["always"])[1]
    assert victim.point_id not in {suspect["point_id"] for suspect in why}


def test_the_committee_of_the_round_before_has_a_say(choose, points, tmp_path):
    good = [p for p in points if p.verdict == "accepted"][:9]
    atoms = [point_to_atoms(p) for p in good]
    model = ModelOptions(layers=1, channels=4, l_max=1, cutoff=3.5)
    options = TrainOptions(epochs=15, batch_structures=4)
    members = [train(options, model, atoms[1:-1], atoms[-1:], tmp_path / f"{seed}", seed) for seed in (0, 1)]
    previous = {"members": [{"path": str(m.checkpoint)} for m in members], "point_ids": []}
    victim = raised(good[0], 0.3)
    _, why = choose([p.point_id for p in good], [victim], previous, when=["committee"], spreads=1.0, energy=0.15)
    assert [suspect["point_id"] for suspect in why] == [victim.point_id]
    assert why[0]["height"] == pytest.approx(0.3, abs=0.15)
    assert "above the committee, whose spread is" in why[0]["reason"]


def test_the_metastable_labels_of_the_pool_are_found_above_their_neighbours():
    """docs/quality.md: two labels of CoO, 56 and 97 meV/atom above the surface of the others."""
    folder = os.environ.get("SPINMULTINET_TEST_DATA")
    if not folder:
        pytest.skip("SPINMULTINET_TEST_DATA names no folder with data/gpaw_pool.extxyz")
    frames = ase.io.read(Path(folder) / "data" / "gpaw_pool.extxyz", ":")
    pool = [judge(_from_pool(atoms).model_copy(update={"pair_id": atoms.info["pair_id"]})) for atoms in frames]
    heights = above_surface([p for p in pool if is_comparable(p)])
    high = {(p.pair_id, p.ordering): heights[p.point_id] for p in pool if p.point_id in heights and p.formula == "CoO"}
    assert high == {("p0005", "FM"): pytest.approx(0.056, abs=5e-4), ("p0035", "FM"): pytest.approx(0.097, abs=5e-4)}
    assert not [p for p in pool if p.point_id in heights and p.formula in ("NiO", "MnO")]
