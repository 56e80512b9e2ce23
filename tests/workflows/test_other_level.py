"""Labels that a correction took to another level of theory: kept, known as such, trained on by nobody, made once."""

import json
from pathlib import Path

import pytest
from ase import Atoms
from jobflow import Flow

from datastore import open_store
from datastore.atoms import read_points
from datastore.errors import DataError
from datastore.levels import CHANGED
from datastore.queries import find
from datastore.snapshot import load_snapshot, make_snapshot
from datastore.splits import SPLITS, SplitOptions
from tests.support.changing_engine import Changing
from workflows.engines import EngineError, get_engine
from workflows.engines.calculator import EngineCalculator
from workflows.flows import LabelFlowMaker
from workflows.jobs.dataset import snapshot_job
from workflows.relabel import outcome_of, plan_relabel, relabel_flow, run_relabel
from workflows.structures.generate import StructureOptions, generate
from workflows.submit import run_local

ROOT = Path(__file__).resolve().parents[2]
SPLIT = SplitOptions(fractions=(0.6, 0.2, 0.2), min_test=1)
STRUCTURES = StructureOptions(
    parents=[{"species": "Ni", "lattice_constant": 4.17, "cell": "rhombohedral4"}],
    orderings=["FM", "AFM-II"],
    deformations=[{"kind": "displacement", "count": 5, "amplitude": [0.02, 0.06]}],
)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def flow(engine, uri, folder, name):
    labels = LabelFlowMaker(engine).make(generate(STRUCTURES, campaign=name))
    return Flow([labels, snapshot_job(uri, list(labels.jobs), None, [], SPLIT, folder / name, f"dataset of {name}")])


def frozen(folder, name):
    return load_snapshot(next((folder / name).glob("*/*")))


def test_a_campaign_trains_without_them_and_makes_them_once(tmp_path):
    uri, engine = f"local:{tmp_path / 'store'}", Changing(log=str(tmp_path / "log"))
    first = run_local(flow(engine, uri, tmp_path, "first"), uri, tmp_path / "files", 2)
    assert first.executed_by_kind == {"label": 10, "dataset": 1}
    with open_store(uri) as store:
        points = list(find(store))
    changed = [point for point in points if CHANGED in point.level_of_theory]
    assert {point.ordering for point in changed} == {"FM"}
    assert all(point.verdict == "accepted" for point in points)
    assert {point.level_id for point in points if point not in changed} == {engine.level_id()}

    snapshot = frozen(tmp_path, "first")
    assert snapshot.level_id == engine.level_id()
    assert snapshot.other_level == sorted(point.point_id for point in changed)
    assert sum(snapshot.counts.values()) == len(points) - len(changed) == 5
    inside = [point for split in SPLITS for point in read_points(snapshot.path(split))]
    assert all(CHANGED not in point.level_of_theory for point in inside)
    with open_store(uri) as store:
        output = store.jobs.query_one({"metadata.kind": "dataset"}, ["output"])["output"]
    assert output["other_level"] == snapshot.other_level

    again = run_local(flow(engine, uri, tmp_path, "first"), uri, tmp_path / "files", 2)
    assert again.executed == 0
    other = run_local(flow(engine, uri, tmp_path, "second"), uri, tmp_path / "files", 2)
    assert other.executed_by_kind == {"dataset": 1}
    assert engine.calls() == 10


def test_only_changed_labels_are_no_training_set_and_are_one_where_named(tmp_path):
    engine = Changing(log=str(tmp_path / "log"), ordering="FM")
    with open_store(f"local:{tmp_path / 'store'}") as store:
        for config in generate(STRUCTURES, campaign="all"):
            if config.ordering == "FM":
                store.put_point(engine.label(config))
        level = next(iter(find(store))).level_id
        with pytest.raises(DataError, match=r"all 5 accepted labels are of a level .* choose one with level_id="):
            make_snapshot(store, tmp_path / "sets", options=SPLIT)
        named = make_snapshot(store, tmp_path / "sets", criteria={"level_id": level}, options=SPLIT)
    assert sum(named.counts.values()) == 5
    assert named.other_level == []


def test_relabelling_does_not_make_them_again_and_again(tmp_path):
    uri, engine = f"local:{tmp_path / 'store'}", Changing(log=str(tmp_path / "log"))
    with open_store(uri) as store:
        for config in generate(STRUCTURES, campaign="all"):
            point = get_engine("spin-lattice").label(config)
            store.put_point(point.model_copy(update={"level_of_theory": {"code": "cheap"}}))
        criteria = {"level_of_theory.code": "cheap"}
        plan = plan_relabel(store, store, engine, criteria)
        assert len(plan.configs) == 10
        run_relabel(relabel_flow(plan, engine), uri, tmp_path / "files", 2, lambda event: None)
        outcome = outcome_of(plan, store)
        assert (outcome.accepted, outcome.rejected, outcome.other_level, outcome.missing) == (5, 0, 5, 0)
        assert outcome.reasons == {"another level of theory: ISMEAR": 5}
        assert plan_relabel(store, store, engine, criteria).configs == []
    assert engine.calls() == 10


def test_single_points_of_two_levels_are_no_energy_surface(tmp_path):
    engine = Changing(log=str(tmp_path / "log"))
    config = next(config for config in generate(STRUCTURES) if config.ordering == "FM")
    atoms = Atoms(config.species, positions=config.positions, cell=config.lattice, pbc=True)
    atoms.calc = EngineCalculator(engine, config, tmp_path)
    with pytest.raises(EngineError, match="corrections took it to another level of theory"):
        atoms.get_potential_energy()


def test_label_says_what_changed(tmp_path):
    engine = Changing(log=str(tmp_path / "log"))
    config = next(config for config in generate(STRUCTURES) if config.ordering == "FM")
    point = engine.label(config)
    assert point.level_of_theory == {**engine.level_of_theory(), CHANGED: {"ISMEAR": 0}}
    assert point.level_id != engine.level_id()
    json.dumps(point.to_document())
