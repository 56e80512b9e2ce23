"""Two campaigns in one store: calculations are shared, training sets are not."""

from pathlib import Path

import pytest
from jobflow import Flow

from datastore import open_store
from datastore.atoms import read_points
from datastore.queries import find
from datastore.snapshot import load_snapshot
from datastore.splits import SPLITS, SplitOptions
from workflows.engines import get_engine
from workflows.flows import LabelFlowMaker
from workflows.jobs.dataset import snapshot_job
from workflows.structures.generate import StructureOptions, generate
from workflows.submit import run_local

ROOT = Path(__file__).resolve().parents[2]
SPLIT = SplitOptions(fractions=(0.6, 0.2, 0.2), min_test=1)


def configs(name, deformation):
    """FM and AFM-II, undeformed (the same in every campaign) and in three geometries of one kind."""
    options = StructureOptions(
        parents=[{"species": "Ni", "lattice_constant": 4.17, "cell": "rhombohedral4"}],
        orderings=["FM", "AFM-II"],
        deformations=[{"kind": "none"}, {**deformation, "count": 3}],
    )
    return list(generate(options, campaign=name))


def label_and_freeze(folder, name, wanted):
    """Run the label jobs of a campaign and its snapshot job; returns the run's counts and the snapshot."""
    uri = f"local:{folder / 'store'}"
    labels = LabelFlowMaker(get_engine("spin-lattice")).make(wanted)
    frozen = snapshot_job(uri, list(labels.jobs), None, [], SPLIT, folder / name, f"dataset of {name}")
    result = run_local(Flow([labels, frozen]), uri, folder / "files" / name, 2)
    return result, load_snapshot(next((folder / name).glob("*/*")))


@pytest.fixture(scope="module")
def campaigns(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        wanted = {
            "first": configs("first", {"kind": "displacement", "amplitude": [0.02, 0.06]}),
            "second": configs("second", {"kind": "volume", "amplitude": [0.95, 1.05]}),
        }
        return folder, wanted, {name: label_and_freeze(folder, name, wanted[name]) for name in wanted}


def test_what_both_ask_for_is_calculated_once(campaigns):
    folder, wanted, done = campaigns
    ids = {name: {config.config_id for config in configs} for name, configs in wanted.items()}
    shared = ids["first"] & ids["second"]
    assert len(shared) == 2
    assert done["second"][0].reused == 2
    with open_store(f"local:{folder / 'store'}") as store:
        points = list(find(store))
    assert len(points) == 8 + 8 - 2
    assert {p.config_id for p in points if p.campaign == "first"} == ids["first"]
    assert {p.config_id for p in points if p.campaign == "second"} == ids["second"] - shared


@pytest.mark.parametrize("name", ["first", "second"])
def test_each_trains_on_what_it_asked_for(campaigns, name):
    _, wanted, done = campaigns
    snapshot = done[name][1]
    points = [point for split in SPLITS for point in read_points(snapshot.path(split))]
    assert {point.config_id for point in points} == {config.config_id for config in wanted[name]}
    assert len(points) == sum(snapshot.counts.values()) == 8
