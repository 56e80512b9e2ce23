"""Which training makes a model give one state for many estimates of the moments? Prints Markdown tables.

python benchmarks/many_to_one.py FOLDER                      # two kinds of data, four trainings, three seeds
python benchmarks/many_to_one.py FOLDER --seeds 1 --epochs 20

Labels are of the spin-lattice model: compressed CoO, where some sites have a low-spin state beside the high-spin one.
Estimates of LOW length lead to low spin where it exists, those of HIGH length to high spin; within either the length
changes nothing. Training sets have one length per state, as campaigns do, or random lengths; tests have random ones.
FOLDER keeps finished and stopped trainings: the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from datastore.atoms import point_to_atoms
from datastore.schema import SpinConfig
from spinmultinet import load_model
from spinmultinet.committee import Committee
from spinmultinet.errors import SpinMultiNetError
from spinmultinet.evaluate import Prediction, evaluate
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.levels import LevelWarning
from spinmultinet.spin_states import boundaries_of
from spinmultinet.train import train
from workflows.engines import get_engine
from workflows.structures import StructureOptions, generate

LOW, HIGH = (0.6, 1.4), (2.3, 3.2)
"""muB. Lengths of estimates; the model's states part between 1.5 and 2.1."""
TYPICAL = (1.0, 2.6)
SCALE = (0.85, 1.2)
"""Factors that leave TYPICAL, and nearly all of LOW and HIGH, in their branch."""
BOUNDARY = {"Co": [1.8]}
ROUNDS = 20
TEST_SEED = 1000
MODEL = ModelOptions(layers=2, channels=16, l_max=1, cutoff=3.5, radial_hidden=[32])
TRAININGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "input_scale": {"input_scale": SCALE},
    "converged_inputs": {"converged_inputs": 0.5},
    "both": {"input_scale": SCALE, "converged_inputs": 0.5},
}
DATA = ("one length per state", "random lengths")
Rng = np.random.Generator


@dataclass(frozen=True)
class Score:
    """Errors of one model: meV/atom, muB on Co, shares of Co sites, and the spread that should be zero."""

    energy: float
    moments: float
    right: float
    right_low: float
    spread: float
    rounds: float


def geometries(count: int, seed: int) -> list[SpinConfig]:
    """Compressed and distorted CoO of 8 atoms, FM and AFM-II."""
    content = {
        "parents": [{"species": "Co", "lattice_constant": 4.30, "cell": "all8"}],
        "orderings": ["FM", "AFM-II"],
        "deformations": [{"kind": "volume", "count": count, "amplitude": [0.82, 0.92], "displacement": 0.04}],
        "seed": seed,
    }
    return list(generate(StructureOptions.model_validate(content)))


def with_lengths(config: SpinConfig, low: np.ndarray, rng: Rng | None) -> SpinConfig:
    """The estimate of each Co in its branch (`low` [N] bool): random lengths, or TYPICAL ones without `rng`."""
    n = len(config.species)
    lengths = np.where(
        low, *(np.full(n, x) if rng is None else rng.uniform(*r, n) for x, r in zip(TYPICAL, (LOW, HIGH), strict=True))
    )
    return config.model_copy(update={"magmoms_in": np.sign(config.magmoms_in) * lengths})


def training_set(kind: str, count: int, seed: int) -> list[Atoms]:
    """Labels of `count` volumes in two orderings; every site starts low or high by chance."""
    rng, engine = np.random.default_rng(seed), get_engine("spin-lattice")
    frames = []
    for config in geometries(count, seed):
        low = rng.random(len(config.species)) < 0.5
        frames.append(point_to_atoms(engine.label(with_lengths(config, low, None if kind == DATA[0] else rng))))
    return frames


def groups_of_equals(count: int, lengths: int, seed: int) -> tuple[list[list[Atoms]], int]:
    """Groups of labels that differ in the lengths of their estimates only, and how many were left out.

    Left out are those that end in different states: close to where low spin vanishes LOW is no branch.
    """
    rng, engine = np.random.default_rng(seed), get_engine("spin-lattice")
    groups, dropped = [], 0
    for config in geometries(count, seed):
        low = rng.random(len(config.species)) < 0.5
        points = [engine.label(with_lengths(config, low, rng)) for _ in range(lengths)]
        if np.ptp([p.magmoms_out for p in points], axis=0).max() > 1e-6:
            dropped += 1
        else:
            groups.append([point_to_atoms(p) for p in points])
    return groups, dropped


class _Kept:
    """A committee whose predictions are looked at twice."""

    def __init__(self, committee: Committee) -> None:
        self.committee, self.metadata = committee, committee.metadata
        self.found: list[Prediction] = []

    def predict(self, frames: list[Atoms]) -> list[Prediction]:
        self.found = self.committee.predict(frames)
        return self.found


def score(checkpoint: Path, groups: list[list[Atoms]], rounds: int) -> Score:
    """Errors on all labels, and the spread of predicted energies within groups (RMS over groups, meV/atom)."""
    predictor = _Kept(Committee([load_model(checkpoint)], rounds))
    frames = [atoms for group in groups for atoms in group]
    result = evaluate(predictor, frames, BOUNDARY)
    energies = np.array([p["energy"] / len(a) for p, a in zip(predictor.found, frames, strict=True)])
    spreads = [part.std(ddof=1) for part in np.split(energies, len(groups))]
    states = result["spin_states"]["per_element"]["Co"]
    return Score(
        energy=result["overall"]["energy"]["mae"],
        moments=result["per_element"]["Co"]["moments"]["mae"],
        right=states["right"],
        right_low=states["states"][0]["right"],
        spread=1e3 * float(np.sqrt(np.mean(np.square(spreads)))),
        rounds=float(np.mean([p.get("rounds", 0) for p in predictor.found])),
    )


def trained(folder: Path, kind: str, name: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Checkpoint of one training; finished ones are not repeated."""
    options = TrainOptions(
        epochs=arguments.epochs, batch_structures=5, learning_rate=0.01, moment_species="all", **TRAININGS[name]
    )
    frames = training_set(kind, arguments.geometries, seed)
    return train(options, MODEL, frames, [], folder / f"{kind} {name} {seed}".replace(" ", "_"), seed).checkpoint


def measure(arguments: argparse.Namespace, groups: list[list[Atoms]]) -> dict[tuple[str, str, int], list[Score]]:
    """(data, training, rounds of iteration) -> scores of the seeds."""
    found: dict[tuple[str, str, int], list[Score]] = {}
    runs = [(seed, kind, name) for seed in range(arguments.seeds) for kind in DATA for name in TRAININGS]
    started = time.monotonic()
    for k, (seed, kind, name) in enumerate(runs):
        checkpoint = trained(arguments.folder, kind, name, seed, arguments)
        for rounds in (0, ROUNDS):
            found.setdefault((kind, name, rounds), []).append(score(checkpoint, groups, rounds))
        left = (time.monotonic() - started) * (len(runs) - k - 1) / (k + 1)
        print(
            f"{k + 1} of {len(runs)}: {kind}, {name}, seed {seed}; about {left:.0f} s left", file=sys.stderr, flush=True
        )
    return found


def table(kind: str, found: dict[tuple[str, str, int], list[Score]]) -> str:
    """Means over seeds, and lowest to highest."""
    columns = (
        "energy meV/atom",
        "Co moments muB",
        "right state %",
        "right, low spin %",
        "energy spread meV/atom",
        "rounds",
    )
    rows = [f"| training | iterated | {' | '.join(columns)} |", "| --- " * (len(columns) + 2) + "|"]
    for name in TRAININGS:
        for rounds in (0, ROUNDS):
            scores = found[kind, name, rounds]
            cells = [_cell([s.energy for s in scores], 2), _cell([s.moments for s in scores], 3)]
            cells += [_cell([100 * s.right for s in scores], 1), _cell([100 * s.right_low for s in scores], 1)]
            cells += [_cell([s.spread for s in scores], 2), f"{np.mean([s.rounds for s in scores]):.1f}"]
            rows.append(f"| {name} | {'yes' if rounds else 'no'} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(values: list[float], digits: int) -> str:
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def at_least_one(text: str) -> int:
    """A positive number of an option."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=at_least_one, default=3)
    parser.add_argument("--epochs", type=at_least_one, default=60)
    parser.add_argument("--geometries", type=at_least_one, default=100, help="of a training set, each in two orderings")
    parser.add_argument("--test", type=at_least_one, default=30, help="geometries to test on, each in two orderings")
    parser.add_argument("--lengths", type=at_least_one, default=6, help="random lengths per geometry and branch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", LevelWarning)
    groups, dropped = groups_of_equals(arguments.test, arguments.lengths, TEST_SEED)
    lengths = np.abs(np.concatenate([g[0].arrays["magmom_out"][g[0].symbols == "Co"] for g in groups]))
    try:
        found = measure(arguments, groups)
    except SpinMultiNetError as error:
        parser.error(str(error))
    print(
        f"{2 * arguments.geometries} labels to train on, {arguments.epochs} epochs, {arguments.seeds} seeds; tests: "
        f"{len(groups)} labels ({dropped} more have no branches), {arguments.lengths} estimates each"
    )
    share, limits = 100 * np.mean(lengths < BOUNDARY["Co"][0]), ", ".join(f"{x:.2f}" for x in boundaries_of(lengths))
    print(f"{share:.0f} % of {len(lengths)} Co are low-spin; their lengths have a gap at {limits} muB")
    for kind in DATA:
        print(f"\nTraining set with {kind}:\n\n{table(kind, found)}")


if __name__ == "__main__":
    main()
