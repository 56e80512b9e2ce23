"""Errors of a model by frozen test set and by group of labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ase import Atoms
from pymatgen.core import Composition

from datastore.splits import SplitOptions, name_test_set
from spinmultinet import keys
from spinmultinet.comparison import compare, summary
from spinmultinet.data import name_of
from spinmultinet.evaluate import Prediction, Predictor, evaluate

TASKS = ("energy", "forces", "moments")
Kind = Literal["test", "group"]


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
    sets = sets_of(frames, split)
    tests = _scores(rows, sets, "test")
    if result["pairs"]:
        scores = {key: result["pairs"][key] for key in ("mae", "rmse", "n")}
        tests["pairs"] = {"n": scores["n"], "energy": scores}
    for (kind, name), members in sets.items():
        if kind == "test":
            for k in members:
                result["structures"][k]["test"] = name
    return {**result, "tests": tests, "groups": _scores(rows, sets, "group")}


def sets_of(frames: Sequence[Atoms], split: SplitOptions) -> dict[tuple[Kind, str], list[int]]:
    """Members, as indices, of every test set and group: tests first, each in the order of their names.

    Every structure is in one test set, and in one group each by ordering (``ordering:FM``), deformation and composition
    (reduced formula).
    """
    sets: dict[tuple[Kind, str], list[int]] = defaultdict(list)
    for k, atoms in enumerate(frames):
        formula = formula_of(atoms)
        ordering = str(atoms.info.get(keys.ORDERING, ""))
        sets["test", name_test_set(ordering, formula, atoms.get_chemical_symbols(), split)].append(k)
        sets["group", f"ordering:{ordering or 'unknown'}"].append(k)
        sets["group", f"deformation:{atoms.info.get(keys.DEFORMATION, 'unknown')}"].append(k)
        sets["group", f"composition:{formula}"].append(k)
    return dict(sorted(sets.items(), key=lambda item: (item[0][0] != "test", item[0])))


def formula_of(atoms: Atoms) -> str:
    """Reduced formula as :attr:`datastore.schema.SpinConfig.formula` has it."""
    return str(Composition(str(atoms.symbols)).reduced_formula)


def _scores(
    rows: Sequence[dict[str, Any]], sets: Mapping[tuple[Kind, str], Sequence[int]], kind: Kind
) -> dict[str, Any]:
    """Number of labels and errors of every set of one kind."""
    found = {name: members for (one, name), members in sets.items() if one == kind}
    return {name: {"n": len(members), **_tasks([rows[k] for k in members])} for name, members in found.items()}


def _tasks(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {task: scores for task, scores in summary(rows).items() if task in TASKS}
