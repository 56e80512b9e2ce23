"""A small campaign with real labels of the spin-lattice engine and predictions that are the labels plus noise."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from datastore import ModelRecord, SpinStore, open_store
from datastore.atoms import point_to_atoms
from datastore.quality import with_verdict
from datastore.schema import SpinConfig, SpinPoint
from datastore.snapshot import Snapshot, make_snapshot
from datastore.splits import SplitOptions
from spinmultinet.evaluate import constant_per_ordering, evaluate
from workflows.campaign import CampaignOptions
from workflows.engines import Engine, LabelError, get_engine
from workflows.policy.batch import choose
from workflows.policy.pool import Candidate, Pool
from workflows.policy.rules import Spread
from workflows.report import write_report
from workflows.report.collect import Material, collect
from workflows.structures.generate import candidates, generate

from .rounds import SPLIT, record_of, run_rounds

UGLY = '<script>alert("x")</script> & "quotes"'


@dataclass
class Example:
    options: CampaignOptions
    store: SpinStore
    evaluated: dict[str, Any]


class Noisy:
    """Predicts the labels of structures with errors of a given size."""

    def __init__(self, energy: float, forces: float, moments: float | None, seed: int):
        self.sizes = energy, forces, moments
        self.rng = np.random.default_rng(seed)

    def predict(self, frames: list[Atoms]) -> list[dict[str, Any]]:
        return [self._one(atoms) for atoms in frames]

    def _one(self, atoms: Atoms) -> dict[str, Any]:
        found, (energy, forces, moments) = atoms.calc.results, self.sizes
        out: dict[str, Any] = {
            "energy": found["free_energy"] + energy * len(atoms) * self.rng.normal(),
            "forces": found["forces"] + forces * self.rng.normal(size=(len(atoms), 3)),
            "stress": atoms.get_stress(voigt=False),
        }
        if moments is not None:
            out["magmoms"] = found["magmoms"] + moments * self.rng.normal(size=len(atoms))
        return out


def campaign(folder: Path, name: str = "nio_example") -> CampaignOptions:
    return CampaignOptions.model_validate(
        {
            "name": name,
            "folder": str(folder),
            "engine": {"type": "spin-lattice"},
            "structures": {
                "parents": [{"species": "Ni", "lattice_constant": 4.17, "cell": "all8"}],
                # The last one is FM again, and left out; the report has to live with entries that are no names.
                "orderings": ["FM", "AFM-I", "AFM-II", {"kind": "ferrimagnetic", "signs": {"Ni": 1}}],
                "magmoms": {"Ni": 2.5},
                "deformations": [
                    {"kind": "none"},
                    {"kind": "displacement", "count": 4, "amplitude": [0.02, 0.07]},
                    {"kind": "shear", "count": 3, "amplitude": [-0.03, 0.03], "displacement": 0.03},
                    {"kind": "tensile", "count": 3, "amplitude": [-0.03, 0.03], "displacement": 0.03},
                    {"kind": "volume", "count": 3, "amplitude": [0.94, 1.06], "displacement": 0.03},
                ],
            },
            "active_learning": {"rounds": 1, "labels": 6, "candidates": 16},
        }
    )


def label_all(store: SpinStore, engine: Engine, configs: list[SpinConfig]) -> list[SpinPoint]:
    """Label and store; the third is rejected and the fifth is a recorded failure, both with ugly reasons."""
    points = []
    for number, config in enumerate(configs):
        if number == 4:
            store.put_failure(engine.failure(config, LabelError(f"SCF went astray: {UGLY}", "not-converged")))
            continue
        point = engine.label(config)
        if number == 2:
            point = with_verdict(point, [f"site 2 flipped {UGLY}"])
        store.put_point(point)
        points.append(point)
    return points


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Labels of generation 0 and no model."""
    options = campaign(tmp_path_factory.mktemp("labelled"))
    store = open_store("memory:")
    engine = get_engine(options.engine)
    label_all(store, engine, list(generate(options.structures, options.name)))
    return Example(options, store, {})


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Two generations with a choice in between, a record of each, and predictions."""
    options = campaign(tmp_path_factory.mktemp("trained"))
    store, engine = open_store("memory:"), get_engine(options.engine)
    points = label_all(store, engine, list(generate(options.structures, options.name)))
    split = SplitOptions(fractions=(0.65, 0.1, 0.25), min_test=6)
    first = make_snapshot(store, Path(options.folder) / "snapshot", options.name, options=split)
    old = _record(options, first, points, 0, 0.003, [])
    store.put_model(old)
    chosen = _choose(options)
    new = [engine.label(config) for config in chosen]
    for point in new:
        store.put_point(point)
    second = make_snapshot(store, Path(options.folder) / "snapshot", options.name, options=split, previous=first)
    record = _record(options, second, [*points, *new], 1, 0.001, [old.model_id])
    store.put_model(record)
    results = _results(second, [*points, *new])
    results["honest"] = evaluate(Noisy(0.005, 0.09, 0.02, 5), [point_to_atoms(point) for point in new])
    path = Path(options.folder) / "results.json"
    path.write_text(json.dumps(results))
    evaluated = {
        "generation": 1,
        "model_id": record.model_id,
        "members": [{"path": f"models/{k}.pt", "sha256": f"{k}" * 64, "seconds": 20.0} for k in range(3)],
        "scores": record.scores,
        "results": str(path),
        "selections": [str(Path(options.folder) / "generation_1" / "selection-0123.json")],
        "snapshot": str(second.folder),
        "point_ids": sorted(document["point_id"] for s in (store.points, store.failures) for document in s.query()),
    }
    return Example(options, store, evaluated)


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Four rounds with frozen tests, targets, a refused model and a log of the runs."""
    options = campaign(tmp_path_factory.mktemp("grown"), "grown")
    stop = {"targets": {"random": {"energy": 2.0, "forces": 30.0}, "pairs": {"energy": 0.1}}}
    learning = {"rounds": 6, "labels": 5, "candidates": 16, "stop": stop}
    content = {**options.model_dump(mode="json"), "active_learning": learning, "split": SPLIT.model_dump(mode="json")}
    options = CampaignOptions.model_validate(content)
    store, engine = open_store("memory:"), get_engine(options.engine)
    points = [engine.label(config) for config in generate(options.structures, options.name)]
    for point in points:
        store.put_point(point)
    return Example(options, store, run_rounds(options, store, engine, points))


@pytest.fixture(scope="session")
def material(grown: Example) -> Material:
    """What the report of the four rounds is made of."""
    return collect(grown.options, grown.store, grown.evaluated)


@pytest.fixture(scope="session")
def page(trained: Example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two generations, in a folder that did not exist."""
    path = tmp_path_factory.mktemp("page") / "deep" / "report.html"
    assert write_report(trained.options, trained.store, trained.evaluated, path) == path
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path


@pytest.fixture(scope="session")
def page_of_rounds(grown: Example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of four rounds."""
    return write_report(grown.options, grown.store, grown.evaluated, tmp_path_factory.mktemp("rounds") / "report.html")


def _frames(snapshot: Snapshot, points: list[SpinPoint], split: str) -> list[Atoms]:
    return [point_to_atoms(point) for point in points if point.point_id in snapshot.points[split]]


def _results(snapshot: Snapshot, points: list[SpinPoint]) -> dict[str, Any]:
    train, test = (_frames(snapshot, points, split) for split in ("train", "test"))
    return {
        "generation": 1,
        "model": evaluate(Noisy(0.001, 0.03, 0.004, 1), test),
        "constant": constant_per_ordering(train, test),
        "no_spin": evaluate(Noisy(0.015, 0.08, None, 2), test),
    }


def _record(
    options: CampaignOptions,
    snapshot: Snapshot,
    points: list[SpinPoint],
    generation: int,
    error: float,
    parents: list[str],
) -> ModelRecord:
    scores = evaluate(Noisy(error, 20 * error, 3 * error, 3), _frames(snapshot, points, "test"))
    return record_of(options, snapshot, generation, {"model": scores["overall"]}, parents)


def _scored(config: SpinConfig, rng: np.random.Generator) -> Candidate:
    energy, forces, moments = (rng.gamma(2.0, scale) for scale in (1e-3, 0.03, 0.004))
    fields = (config.config_id, config.pair_id, config.ordering, config.deformation)
    return Candidate(*fields, energy=energy, forces=forces, moments=moments)


def _choose(options: CampaignOptions) -> list[SpinConfig]:
    pool = list(candidates(options.structures, 1, options.name, 4))
    rng = np.random.default_rng(7)
    scored = [_scored(c, rng) for c in pool]
    choices = choose(Pool(scored), Spread(), options.active_learning.labels)
    path = Path(options.folder) / "generation_1" / "selection-0123.json"
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps(
            {
                "generation": 1,
                "chosen": [asdict(choice) for choice in choices],
                "candidates": [asdict(candidate) for candidate in scored],
            }
        )
    )
    ids = {choice.candidate.config_id for choice in choices}
    return [config for config in pool if config.config_id in ids]
