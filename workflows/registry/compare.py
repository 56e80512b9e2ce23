"""Errors of two models on the same frozen labels, test set by test set and group by group."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms

from datastore import SpinStore
from datastore.atoms import point_to_atoms, read_points
from datastore.errors import DataError
from datastore.schema import ModelRecord
from datastore.snapshot import Snapshot, load_snapshot
from datastore.splits import SplitOptions
from spinmultinet import keys
from spinmultinet.comparison import FACTORS, REPORT_UNITS, compare, errors_of
from spinmultinet.data import name_of
from spinmultinet.evaluate import Predictor
from spinmultinet.pair_energies import pair_energies
from workflows.policy.promotion import Compared
from workflows.test_sets import TASKS, Kind, sets_of


@dataclass(frozen=True)
class FrozenTests:
    """Labels that none of the models compared was trained on, of one snapshot."""

    frames: list[Atoms]
    options: SplitOptions
    snapshot_id: str
    left_out: int = 0
    """Labels of the test split that one of the models was trained on."""
    unknown: int = 0
    """Further labels with an element that one of the models does not know."""


@dataclass(frozen=True)
class _Errors:
    """Absolute errors of one model in one task: sum and number of values per label, and what geometry each is of."""

    sums: list[float]
    counts: list[int]
    geometries: list[str]


def frozen_tests(store: SpinStore, records: Sequence[ModelRecord]) -> FrozenTests:
    """The test split of the newest snapshot of ``records``: labels that all can predict and none was trained on.

    Raises DataError where no snapshot of theirs can be read.
    """
    documents = [_snapshot(store, record) for record in records]
    newest = max(documents, key=lambda document: str(document["created"]))
    if newest.get("folder") is None:
        raise DataError(f"snapshot {newest['snapshot_id']} does not say where it lies; make it again with a new run")
    tests = tests_of(load_snapshot(newest["folder"]), documents)
    known = set.intersection(*(set(record.species) for record in records))
    frames = [atoms for atoms in tests.frames if known.issuperset(atoms.get_chemical_symbols())]
    return replace(tests, frames=frames, unknown=len(tests.frames) - len(frames))


def tests_of(snapshot: Snapshot, documents: Iterable[dict[str, Any]]) -> FrozenTests:
    """The test split of ``snapshot`` without the labels that ``documents`` (of snapshots) train or validate on."""
    seen = {p for document in documents for split in ("train", "val") for p in document["points"].get(split, [])}
    frames = [point_to_atoms(point, "test", snapshot.heads) for point in read_points(snapshot.path("test"))]
    unseen = [atoms for atoms in frames if atoms.info["point_id"] not in seen]
    return FrozenTests(unseen, snapshot.options, snapshot.snapshot_id, len(frames) - len(unseen))


def compare_models(new: Predictor, old: Predictor, tests: FrozenTests) -> list[Compared]:
    """Mean absolute errors of both on ``tests``, in the units of reports; tasks that ``old`` lacks are left out.

    Where ``new`` lacks what ``old`` predicts its error is infinite, as where a prediction is not finite.
    Test sets: ``random``, ``orderings``, ``compositions`` (:func:`datastore.splits.name_test_set`) and ``pairs``
    (differences of energy between orderings of one geometry, meV/atom). Groups: orderings, deformations, compositions.
    """
    if not tests.frames:
        return []
    predicted = [model.predict(tests.frames) for model in (new, old)]
    rows = [_rows(tests.frames, found) for found in predicted]
    pairs = [_pair_errors(tests.frames, [p["energy"] for p in found_by]) for found_by in predicted]
    found = _compared("test", "pairs", "energy", pairs)
    for (kind, name), members in sets_of(tests.frames, tests.options).items():
        for task in TASKS:
            pair = [_errors([model[k] for k in members], [tests.frames[k] for k in members], task) for model in rows]
            found += _compared(kind, name, task, pair)
    return sorted(found, key=lambda row: row.kind != "test")


def _snapshot(store: SpinStore, record: ModelRecord) -> dict[str, Any]:
    document = store.snapshots.query_one({"snapshot_id": record.snapshot_id})
    if document is None or not isinstance(document.get("points"), dict):
        raise DataError(
            f"snapshot {record.snapshot_id}, which model {record.model_id} was trained on, is not in the store; "
            "look for damage with: spinmultinet data verify PLACE"
        )
    return document


def _rows(frames: Sequence[Atoms], predictions: Sequence[dict[str, Any]]) -> list[dict[str, np.ndarray]]:
    return [compare(a, p, name_of(a, k)) for k, (a, p) in enumerate(zip(frames, predictions, strict=True))]


def _geometry(atoms: Atoms) -> str:
    """Name that labels of one geometry share: their errors are not independent."""
    return str(atoms.info.get(keys.PAIR_ID) or atoms.info[keys.CONFIG_ID])


def _errors(rows: Sequence[dict[str, np.ndarray]], frames: Sequence[Atoms], task: str) -> _Errors:
    known = [(np.abs(row[task]), _geometry(atoms)) for row, atoms in zip(rows, frames, strict=True) if task in row]
    factor = FACTORS[task]
    return _Errors([factor * float(e.sum()) for e, _ in known], [e.size for e, _ in known], [g for _, g in known])


def _pair_errors(frames: Sequence[Atoms], energies: Sequence[float]) -> _Errors:
    found = pair_energies(frames, energies)
    rows = [] if found is None else found["rows"]
    errors = errors_of([row["predicted"] for row in rows], np.array([row["label"] for row in rows]))
    return _Errors(np.abs(errors).tolist(), [1] * len(rows), [row["pair_id"] for row in rows])


def _compared(kind: Kind, name: str, task: str, pair: Sequence[_Errors]) -> list[Compared]:
    """One row, where the old model has errors; infinite errors of the new one where it has none for the same labels."""
    new, old = pair
    if not old.counts:
        return []
    if new.geometries != old.geometries or new.counts != old.counts:
        new = replace(old, sums=[math.inf] * len(old.sums))
    means = [sum(side.sums) / sum(side.counts) for side in (new, old)]
    number, error = _standard_error(new, old) if all(map(math.isfinite, means)) else (len(set(old.geometries)), 0.0)
    return [Compared(kind, name, task, REPORT_UNITS[task], len(old.counts), number, means[0], means[1], error)]


def _standard_error(new: _Errors, old: _Errors) -> tuple[int, float]:
    """Number of geometries, and standard error of the difference of the means, geometry by geometry.

    That of a ratio estimator, sum of errors over number of values, with geometries as units: W. G. Cochran, Sampling
    Techniques (3rd edition, 1977), chapter 6.
    """
    difference: dict[str, float] = defaultdict(float)
    weight: dict[str, int] = defaultdict(int)
    for k, name in enumerate(new.geometries):
        difference[name] += new.sums[k] - old.sums[k]
        weight[name] += new.counts[k]
    number, total = len(weight), sum(weight.values())
    if number < 2:
        return number, 0.0
    mean = sum(difference.values()) / total
    squares = sum((difference[name] - mean * weight[name]) ** 2 for name in weight)
    return number, float(np.sqrt(number / (number - 1) * squares) / total)
