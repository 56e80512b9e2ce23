"""The rows of the tables: which model learns which labels, how it is trained, and what it is asked."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks.paper_tables.data import DataSet
from spinmultinet import load_model
from spinmultinet.committee import TrainingJob, train_parallel
from spinmultinet.evaluate import evaluate
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.metrics import Metrics
from spinmultinet.model import SpinMultiNet, build_model
from workflows.cli.output import whole_file

ROWS: dict[str, dict[str, Any]] = {
    "no-spin": {"spin": False, "moments": False},
    "single-task": {"moments": False},
    "multi-task": {},
    "invariant": {"time_reversal": "invariant"},
    "accurate-input": {"input_moments": "converged", "moments": False},
}
"""Row -> how its model differs from that of the multi-task row."""

HEADLINE = ("no-spin", "single-task", "multi-task")
"""Rows that are trained from every seed; the others from the first only, unless asked."""

PASSES = {"pairs": 3}
"""Set -> how often it is seen for once that the others are; the pairs are few, and would be trained in few steps."""

LOW_SPIN_CO = 1.8
"""muB; less on Co is its low-spin state."""


@dataclass(frozen=True)
class Training:
    """One row on one set from one seed."""

    row: str
    data: DataSet
    seed: int

    @property
    def name(self) -> str:
        """Also the folder."""
        return f"{self.data.name}/{self.row}/seed_{self.seed}"


def variant(row: str, base: ModelOptions, species: Sequence[str]) -> ModelOptions:
    """The model of a row, with as many parameters as ``base`` has (to the next channel)."""
    options = ModelOptions.model_validate(base.model_dump() | ROWS[row])
    if options.has_odd == base.has_odd:
        return options
    wanted = build_model(base, species).n_parameters()
    choices = [options.model_copy(update={"channels": n}) for n in range(base.channels, 4 * base.channels)]
    return min(choices, key=lambda o: abs(build_model(o, species).n_parameters() - wanted))


def train_all(
    trainings: Sequence[Training],
    base: tuple[ModelOptions, TrainOptions],
    folder: Path,
    processes: int,
    progress: Callable[[float], None],
) -> dict[str, dict[str, Any]]:
    """Scores by name of training; what an earlier call finished is not trained again.

    Raises SpinMultiNetError where ``folder`` holds trainings with other options or data.
    """
    work = _Work(trainings, progress)
    scores = {}
    for data in {id(t.data): t.data for t in trainings}.values():
        own = [t for t in trainings if t.data is data]
        species = sorted({s for a in data.train for s in a.get_chemical_symbols()})
        epochs = base[1].epochs * PASSES.get(data.name, 1)
        options = base[1].model_copy(update={"epochs": epochs, "cache_folder": str(folder / data.name / "graphs")})
        jobs = [
            TrainingJob(t.name, options, variant(t.row, base[0], species), t.seed, folder / t.name, {}) for t in own
        ]
        work.skip(job.name for job in jobs if (job.workdir / "model.pt").exists())
        done = train_parallel(jobs, data.train, data.val, processes, work.tell)
        for training, result in zip(own, done, strict=True):
            cost = {"parameters": result.n_parameters, "seconds": result.seconds, "epochs": len(result.history)}
            scores[training.name] = _scores(result.checkpoint, data.test) | cost
    return scores


class _Work:
    """How much of all trainings is done; each counts by its steps."""

    def __init__(self, trainings: Sequence[Training], progress: Callable[[float], None]) -> None:
        self.sizes = {t.name: len(t.data.train) for t in trainings}
        self.done = dict.fromkeys(self.sizes, 0.0)
        self.progress = progress

    def tell(self, name: str, epoch: int, epochs: int, _: Metrics) -> None:
        """Hear of one epoch."""
        self.done[name] = epoch / epochs
        self.progress(sum(self.sizes[n] * done for n, done in self.done.items()) / sum(self.sizes.values()))

    def skip(self, names: Iterable[str]) -> None:
        """Trainings that an earlier call finished."""
        self.done |= dict.fromkeys(names, 1.0)


def _scores(checkpoint: Path, test: Sequence[Atoms]) -> dict[str, Any]:
    """Errors on the test set, kept beside the checkpoint."""
    file = checkpoint.with_name("scores.json")
    if not file.exists():
        with whole_file(file) as temporary:
            temporary.write_text(json.dumps(scored(load_model(checkpoint), test)))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def scored(model: SpinMultiNet, test: Sequence[Atoms]) -> dict[str, Any]:
    """MAE per task; of energy differences in pairs; fractions of right signs, as given and with all moments reversed.

    `energy_low_spin` and `energy_high_spin`: energy MAE of structures with and without a low-spin site, as far as there
    are both.
    """
    found = evaluate(model, test)
    scores = {task: values["mae"] for task, values in found["overall"].items()}
    if found["pairs"] is not None:
        scores |= {"pair_difference": found["pairs"]["mae"], "right_order": found["pairs"]["right_order"]}
    if found["right_sign"] is not None:
        backwards = evaluate(model, [reversed_moments(a) for a in test])["right_sign"]
        scores |= {"right_sign": found["right_sign"], "right_sign_reversed": backwards}
    errors = np.array([abs(s["energy"]["predicted"] - s["energy"]["label"]) for s in found["structures"]]) * 1e3
    low = np.array([has_low_spin(a) for a in test])
    if low.any() and not low.all():
        scores |= {"energy_low_spin": float(errors[low].mean()), "energy_high_spin": float(errors[~low].mean())}
    return scores


def reversed_moments(atoms: Atoms) -> Atoms:
    """The same label after time reversal: moments in and out change sign, energy and forces do not."""
    found = atoms.copy()
    for name in ("magmom_in", "magmom_out"):
        found.arrays[name] = -atoms.arrays[name]
    kept = {k: v for k, v in atoms.calc.results.items() if k != "magmoms"}
    found.calc = SinglePointCalculator(found, **kept)
    return found


def has_low_spin(atoms: Atoms) -> bool:
    """Whether a Co ended in its low-spin state (below LOW_SPIN_CO muB)."""
    cobalt = np.array(atoms.get_chemical_symbols()) == "Co"
    return bool((np.abs(atoms.arrays["magmom_out"][cobalt]) < LOW_SPIN_CO).any())


def blind_bound(test: Sequence[Atoms]) -> float | None:
    """Least energy MAE (meV/atom) that a model blind to spin can have on the pairs among ``test``; None without pairs.

    It gives structures of one geometry one energy, so the best it can do is their median.
    """
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for atoms in test:
        groups[str(atoms.info["pair_id"])].append(1e3 * atoms.get_potential_energy() / len(atoms))
    pairs = [energies for energies in groups.values() if len(energies) > 1]
    if not pairs:
        return None
    return float(np.mean([abs(e - np.median(energies)) for energies in pairs for e in energies]))
