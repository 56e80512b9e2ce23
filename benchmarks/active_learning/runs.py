"""One run: from the first labels through the counts, each model choosing the labels of the next. Resumable."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from benchmarks.active_learning.plan import Strategy, Task
from benchmarks.active_learning.scores import errors
from spinmultinet.checkpoint import load_model
from spinmultinet.committee import Committee
from spinmultinet.features import gradient_features, structure_features
from spinmultinet.model import SpinMultiNet
from spinmultinet.train import UnitWarning, train
from workflows.finished import Finished
from workflows.policy.batch import choose
from workflows.policy.pool import Candidate, FloatArray, Pool
from workflows.policy.rules import make_rule

Tests = dict[str, list[Atoms]]
Tell = Callable[[float], None]


class Run:
    """Strategy and seed on one task. What is finished is in ``results``: one line per count, with the next choice."""

    def __init__(
        self,
        task: Task,
        name: str,
        strategy: Strategy,
        seed: int,
        pool: list[Atoms],
        tests: Tests,
        results: Finished,
        folder: Path,
    ):
        self.task, self.name, self.strategy, self.seed = task, name, strategy, seed
        self.pool, self.tests, self.results, self.folder = pool, tests, results, folder

    def key(self, count: int) -> str:
        """Of the line in the results."""
        return f"{self.name}/{self.seed}/{count}"

    def go(self, tell: Tell) -> None:
        """Everything that is not there yet."""
        chosen = first_labels(len(self.pool), self.task.counts[0], self.seed)
        for k, count in enumerate(self.task.counts):
            if self.key(count) not in self.results:
                self.results.add(self.key(count), self._step(chosen, count, k))
            chosen = chosen + self.results[self.key(count)]["next"]
            tell((k + 1) / len(self.task.counts))

    def _step(self, chosen: list[int], count: int, k: int) -> dict[str, Any]:
        """Train on the labels chosen so far, score, choose the next ones."""
        more = self.task.counts[k + 1] - count if k + 1 < len(self.task.counts) else 0
        members = [self._train(chosen, member) for member in range(self.strategy.members if more else 1)]
        found = {"errors": errors(members[0], self.tests), "next": self._choose(members, chosen, more)}
        if k:
            shutil.rmtree(self._workdir(count, 0).parent)
        return found

    def _workdir(self, count: int, member: int) -> Path:
        """All strategies begin with the same model, which is trained once and kept."""
        name = "start" if count == self.task.counts[0] else self.name
        return self.folder / "models" / self.task.name / name / str(self.seed) / str(count) / str(member)

    def _train(self, chosen: list[int], member: int) -> SpinMultiNet:
        """The first member is what is scored, and has the same seed whatever the strategy."""
        frames, options = [self.pool[i] for i in chosen], self.task.training
        epochs = max(1, round(self.task.steps * options.batch_structures / len(frames)))
        workdir = self._workdir(len(frames), member)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnitWarning)
            seed = self.seed + 1000 * member
            result = train(
                options.model_copy(update={"epochs": epochs}), self.task.model, frames, [], workdir, seed, None, {}
            )
        return load_model(result.checkpoint)

    def _choose(self, members: list[SpinMultiNet], chosen: list[int], count: int) -> list[int]:
        """Indices of the next labels, by the code of the product."""
        if not count:
            return []
        taken = set(chosen)
        left = [i for i in range(len(self.pool)) if i not in taken]
        pool = self._pool(members, left, chosen)
        options = self.strategy.select
        found = choose(pool, make_rule(options), count, options, (self.seed, len(chosen)))
        numbers = {str(self.pool[i].info["config_id"]): i for i in left}
        return [numbers[choice.candidate.config_id] for choice in found]

    def _pool(self, members: list[SpinMultiNet], left: list[int], chosen: list[int]) -> Pool:
        """What the rule needs to know of the candidates and of the labels."""
        needs, options, model = make_rule(self.strategy.select).needs, self.strategy.select, members[0]
        frames, known = [self.pool[i] for i in left], [self.pool[i] for i in chosen]
        spreads = [{} for _ in frames] if "spreads" not in needs else _spreads(members, frames)
        pool: dict[str, FloatArray] = {}
        if "features" in needs:
            both = structure_features(model, frames + known)
            pool |= {"features": both[: len(frames)], "known_features": both[len(frames) :]}
        if "gradients" in needs:
            both = gradient_features(model, frames + known, sketch=options.sketch)
            pool |= {"gradients": both[: len(frames)], "known_gradients": both[len(frames) :]}
        candidates = [_candidate(a, s) for a, s in zip(frames, spreads, strict=True)]
        return Pool(candidates, **pool, known=tuple(_candidate(a, {}) for a in known))


def first_labels(size: int, count: int, seed: int) -> list[int]:
    """Indices of the labels that every strategy begins with, drawn at random."""
    return [int(i) for i in np.random.default_rng(seed).permutation(size)[:count]]


def _spreads(members: list[SpinMultiNet], frames: Sequence[Atoms]) -> list[dict[str, float]]:
    return [
        {
            "energy": float(p["energy_std"]) / len(atoms),
            "forces": float(np.max(p["forces_std"])),
            "moments": float(np.max(p["magmoms_std"])),
        }
        for atoms, p in zip(frames, Committee(members).predict(frames), strict=True)
    ]


def _candidate(atoms: Atoms, spreads: dict[str, float]) -> Candidate:
    names = ("config_id", "pair_id", "ordering", "deformation")
    fields = {name: str(atoms.info[name]) for name in names}
    return Candidate(**fields, formula=atoms.get_chemical_formula("metal"), **spreads)  # type: ignore[arg-type]
