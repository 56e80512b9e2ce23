"""Errors of a model by frozen test set and by group of labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ase import Atoms
from pymatgen.core import Composition

from datastore.splits import SplitOptions, name_test_set
from spinmultinet import keys
from spinmultinet.comparison import compare, summary
from spinmultinet.data import name_of
from spinmultinet.evaluate import Prediction, Predictor, evaluate

TASKS = ("energy", "forces", "moments")


class Predicted:
    """Predictions that were made already, as :class:`spinmultinet.evaluate.Predictor`."""

    def __init__(self, model: Predictor, frames: Sequence[Atoms]) -> None:
        self.metadata = getattr(model, "metadata", None)
        self.predictions = model.predict(frames)

    def predict(self, frames: Sequence[Atoms]) -> list[Prediction]:
        """Those of all structures, in the order they were given in."""
        return self.predictions


def evaluate_by_test(model: Predictor, frames: Sequence[Atoms], split: SplitOptions) -> dict[str, Any]:
    """:func:`spinmultinet.evaluate.evaluate`, with ``tests`` and ``groups``, and ``test`` of each structure.

    ``tests``: errors on ``random``, ``orderings``, ``compositions`` (:func:`datastore.splits.name_test_set`) and
    ``pairs`` (differences of energy between orderings of one geometry, meV/atom). ``groups``: the same by ordering,
    deformation and composition, over all of ``frames``. Each has ``n`` labels and, per task, mae, rmse and n values in
    the units of the evaluation.
    """
    known = Predicted(model, frames)
    result = evaluate(known, frames)
    rows = [compare(a, p, name_of(a, k)) for k, (a, p) in enumerate(zip(frames, known.predictions, strict=True))]
    names = [_test_of(atoms, split) for atoms in frames]
    tests = _by(rows, [[name] for name in names])
    if result["pairs"]:
        scores = {key: result["pairs"][key] for key in ("mae", "rmse", "n")}
        tests["pairs"] = {"n": scores["n"], "energy": scores}
    for structure, name in zip(result["structures"], names, strict=True):
        structure["test"] = name
    return {**result, "tests": tests, "groups": _by(rows, [list(_groups(atoms)) for atoms in frames])}


def _test_of(atoms: Atoms, split: SplitOptions) -> str:
    ordering = str(atoms.info.get(keys.ORDERING, ""))
    return name_test_set(ordering, formula_of(atoms), atoms.get_chemical_symbols(), split)


def _groups(atoms: Atoms) -> Iterator[str]:
    yield f"ordering:{atoms.info.get(keys.ORDERING, 'unknown')}"
    yield f"deformation:{atoms.info.get(keys.DEFORMATION, 'unknown')}"
    yield f"composition:{formula_of(atoms)}"


def formula_of(atoms: Atoms) -> str:
    """Reduced formula as :attr:`datastore.schema.SpinConfig.formula` has it."""
    return str(Composition(str(atoms.symbols)).reduced_formula)


def _by(rows: Sequence[dict[str, Any]], names: Sequence[Sequence[str]]) -> dict[str, Any]:
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row, mine in zip(rows, names, strict=True):
        for name in mine:
            members[name].append(row)
    return {name: {"n": len(found), **_tasks(found)} for name, found in sorted(members.items())}


def _tasks(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {task: scores for task, scores in summary(rows).items() if task in TASKS}
