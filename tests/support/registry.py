"""A store with two trained models of one campaign, the second better, for tests of the registry."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from ase import Atoms

from datastore import ModelRecord, open_store
from datastore.atoms import point_to_atoms, read_points
from datastore.checksums import file_sha256
from datastore.schema import ModelFile
from datastore.snapshot import Snapshot, make_snapshot
from datastore.splits import SplitOptions
from spinmultinet.checkpoint import load_model, save_model
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.train import train
from workflows.campaign import CampaignOptions
from workflows.engines import get_engine
from workflows.structures.generate import generate

MODEL = {"layers": 1, "channels": 2, "l_max": 1, "cutoff": 3.5, "radial_hidden": [8]}
EPOCHS = 25
CAMPAIGN = {
    "name": "nio",
    "engine": {"type": "spin-lattice"},
    "structures": {
        "parents": [{"species": "Ni", "lattice_constant": 4.17, "cell": "rhombohedral4"}],
        "orderings": ["FM", "AFM-II"],
        "magmoms": {"Ni": 2.5},
        "deformations": [{"kind": "displacement", "count": 10, "amplitude": [0.02, 0.08]}],
    },
    "active_learning": {"promote": {"md_steps": 5, "structures": 1}},
}


@dataclass(frozen=True)
class Example:
    """A campaign's options (its store is a folder), and the records of both models."""

    options: CampaignOptions
    poor: ModelRecord
    good: ModelRecord

    @property
    def folder(self) -> Path:
        return Path(self.options.folder)

    def file(self, name: str) -> Path:
        return Path(getattr(self, name).files[0].path)


def example(folder: Path) -> Example:
    """A copy of the example in ``folder``; the original is trained once per process."""
    shutil.copytree(_original(), folder, dirs_exist_ok=True)
    options = CampaignOptions.model_validate({**CAMPAIGN, "folder": str(folder)})
    with open_store(options.store) as store:
        for document in list(store.snapshots.query({})):
            moved = {k: v for k, v in document.items() if k not in ("_id", "checksum")}
            store.snapshots.update(moved | {"folder": str(folder / "snapshots" / document["snapshot_id"])})
        records = {}
        for record in store.get_models():
            name = record.model_id
            files = [ModelFile(path=str(folder / name / "model.pt"), sha256=record.files[0].sha256)]
            records[name] = record.model_copy(update={"files": files})
            store.put_model(records[name])
    return Example(options, records["poor"], records["good"])


@cache
def _original() -> Path:
    folder = Path(mkdtemp(prefix="spinmultinet-registry-"))
    options = CampaignOptions.model_validate({**CAMPAIGN, "folder": str(folder)})
    engine = get_engine(options.engine)
    with open_store(options.store) as store:
        for config in generate(options.structures, campaign=options.name):
            store.put_point(engine.label(config))
        split = SplitOptions(fractions=(0.5, 0.1, 0.4), min_test=8)
        snapshot = make_snapshot(store, folder / "snapshots", options.name, options=split)
        good = _train(snapshot, folder / "good")
        store.put_model(_record(snapshot, good, "good", 1))
        store.put_model(_record(snapshot, _shaken(good, folder / "poor"), "poor", 0))
    return folder


def frames_of(snapshot: Snapshot, split: str) -> list[Atoms]:
    return [point_to_atoms(point, split) for point in read_points(snapshot.path(split))]


def _train(snapshot: Snapshot, folder: Path) -> Path:
    about = {"snapshot_id": snapshot.snapshot_id, "level_of_theory": snapshot.level_of_theory}
    given = (frames_of(snapshot, "train"), frames_of(snapshot, "val"))
    hypers = (TrainOptions(epochs=EPOCHS, batch_structures=4, checkpoint_epochs=1000), ModelOptions(**MODEL))
    return train(*hypers, *given, folder, 0, None, about).checkpoint


def _shaken(checkpoint: Path, folder: Path) -> Path:
    """The same model with other weights, off by some 30 %: worse in everything."""
    model = load_model(checkpoint)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(1 + 0.3 * torch.randn(weights.shape, generator=generator))
    folder.mkdir()
    return save_model(model, folder / "model.pt")


def _record(snapshot: Snapshot, checkpoint: Path, name: str, number: int) -> ModelRecord:
    return ModelRecord(
        model_id=name,
        campaign="nio",
        generation=number,
        created=f"2026-01-0{number + 1}T00:00:00+00:00",
        snapshot_id=snapshot.snapshot_id,
        level_id=snapshot.level_id,
        level_of_theory=snapshot.level_of_theory,
        moment_role=snapshot.moment_role,
        species=snapshot.species,
        hypers={"model": MODEL, "training": {"epochs": EPOCHS}},
        files=[ModelFile(path=str(checkpoint), sha256=file_sha256(checkpoint))],
        code_version="0.1.0",
    )


def flip_a_byte(path: Path) -> None:
    """One bit of a file changes, somewhere among the weights."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
