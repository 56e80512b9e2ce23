"""A campaign, and a real committee of two tiny models trained on its first labels."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from datastore import open_store
from datastore.schema import content_hash
from datastore.snapshot import make_snapshot
from datastore.splits import SplitOptions
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.train import train
from workflows.campaign import CampaignOptions
from workflows.engines import get_engine
from workflows.exploration import Task
from workflows.jobs.dataset import split_atoms
from workflows.structures.generate import generate

STRUCTURES = {
    "parents": [
        {"species": "Ni", "cell": "all8"},
        {"species": {"Mn": 0.5, "Ni": 0.5}, "cell": "all8"},
    ],
    "orderings": ["FM", "AFM-I", "AFM-II"],
    "deformations": [
        {"kind": "none"},
        {"kind": "shear", "count": 2, "amplitude": [-0.04, 0.04], "displacement": 0.05},
        {"kind": "volume", "count": 2, "amplitude": [0.94, 1.06], "displacement": 0.05},
    ],
    "seed": 3,
}


@dataclass(frozen=True)
class Trained:
    members: list[str]
    model_id: str
    snapshot: str
    point_ids: list[str]


MADE: list[Trained] = []
"""Trained once, however many modules import the fixture: pytest makes it anew for each."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    if not MADE:
        MADE.append(_trained(tmp_path_factory.mktemp("committee")))
    return MADE[0]


def _trained(folder: Path) -> Trained:
    torch.set_num_threads(1)
    options, engine = campaign(), get_engine("spin-lattice")
    with open_store(f"local:{folder / 'store'}") as store:
        points = [engine.label(config) for config in generate(options.structures, campaign="search")]
        for point in points:
            store.put_point(point)
        snapshot = make_snapshot(store, folder / "snapshot", options=SplitOptions(min_test=6, min_val=3))
    model = ModelOptions(layers=1, channels=8, l_max=1, cutoff=3.2, radial_hidden=[8])
    training = TrainOptions(epochs=30, batch_structures=6, stress_weight=1.0)
    data = [split_atoms(snapshot, split) for split in ("train", "val")]
    metadata = {"snapshot_id": snapshot.snapshot_id, "level_of_theory": snapshot.level_of_theory}
    results = [train(training, model, *data, folder / f"member_{k}", k, metadata=metadata) for k in range(2)]
    members = [str(result.checkpoint) for result in results]
    return Trained(members, content_hash(members), str(snapshot.folder), [p.point_id for p in points])


def campaign(structures=None, split=None, seed=0, candidates=4, **explore) -> CampaignOptions:
    return CampaignOptions(
        name="search",
        engine="spin-lattice",
        structures={**STRUCTURES, **(structures or {})},
        seed=seed,
        split=split or {"min_test": 6},
        active_learning={"candidates": candidates, "explore": explore},
    )


@pytest.fixture
def make_task(trained, tmp_path):
    """A task of a source, in a folder of its own; ``options`` as in :func:`campaign`."""
    numbers = itertools.count()

    def made(source, generation=1, folder: Path | None = None, **options) -> Task:
        return Task(
            options=campaign(**options),
            generation=generation,
            source=source,
            members=list(trained.members),
            model_id=trained.model_id,
            snapshot=trained.snapshot,
            folder=folder or tmp_path / f"task-{next(numbers)}",
            known=frozenset(p.split("-")[0] for p in trained.point_ids),
        )

    return made
