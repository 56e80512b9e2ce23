"""What choosing costs one core: each rule on pools of random numbers, and what rules must know of real candidates.

python benchmarks/selection.py                  # 1,000, 5,000 and 20,000 candidates
python benchmarks/selection.py --sizes 1000     # a quick look
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from datastore.atoms import config_to_atoms
from datastore.schema import SpinConfig
from spinmultinet import build_model
from spinmultinet.evaluate import predict
from spinmultinet.features import gradient_features, structure_features
from workflows.learning import SelectOptions
from workflows.policy.batch import choose
from workflows.policy.pool import Candidate, Pool
from workflows.policy.rules import RULES, make_rule
from workflows.structures import StructureOptions, generate
from workflows.structures.twin_keys import twin_keys

COLUMNS, KNOWN = 200, 500
MODEL = "configs/models/tiny.yaml"


def random_pool(n: int) -> Pool:
    """Candidates in 36 groups, four per geometry, a tenth of them twins of others."""
    rng = np.random.default_rng(0)
    orderings, kinds = ("FM", "AFM-I", "AFM-II", "AFM-III"), ("shear", "volume", "tensile")
    candidates = [
        Candidate(
            f"c{k}",
            f"p{k // 4}",
            orderings[k % 4],
            kinds[k // 4 % 3],
            f"M{k // 12 % 3}O",
            twin=f"c{k - k % 10}" if k % 10 == 9 else f"c{k}",
            price=float(rng.choice([10.0, 20.0, 40.0])),
            energy=rng.lognormal(),
            forces=rng.lognormal(),
            moments=rng.lognormal(),
        )
        for k in range(n)
    ]
    rows = rng.normal(size=(n + KNOWN, COLUMNS)) @ np.diag(np.geomspace(1, 1e-3, COLUMNS))
    return Pool(candidates, rows[:n], rows[:n], rows[n:], rows[n:])


def configurations(n: int) -> list[SpinConfig]:
    """Cells of 8 atoms of three species of cation, deformed, in three orderings."""
    options = StructureOptions.model_validate(
        {
            "parents": [{"species": {"Mn": 0.25, "Co": 0.25, "Ni": 0.5}, "cell": "all8"}],
            "orderings": ["FM", "AFM-I", "AFM-II"],
            "deformations": [{"kind": "displacement", "count": n, "amplitude": [0.02, 0.06]}],
        }
    )
    return list(itertools.islice(generate(options), n))


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The shortest of so many runs, in time of the processor: other programs do not count."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    """Print what choosing costs, rule by rule, and what its inputs cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 20_000])
    parser.add_argument("--labels", type=int, default=500, help="size of the batch")
    parser.add_argument("--real", type=int, default=1000, help="configurations for features and twins; 0: none")
    parser.add_argument("--repeats", type=int, default=2, help="the shortest of so many runs is told")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"seconds for {arguments.labels} labels, {COLUMNS} columns, {KNOWN} known labels (times random)\n")
    print(f"| candidates | {' | '.join(RULES)} |\n|---{'|---' * len(RULES)}|")
    for n in arguments.sizes:
        pool, cells, base = random_pool(n), [], 0.0
        for name in RULES:
            options = SelectOptions(rule=name)
            work = partial(choose, pool, make_rule(options), arguments.labels, options)
            took = seconds(work, arguments.repeats)
            base = base or took
            cells.append(f"{took:.2f} ({took / base:.1f})")
        print(f"| {n:,} | {' | '.join(cells)} |", flush=True)
    if arguments.real:
        _real(arguments.real)


def _real(n: int) -> None:
    configs = configurations(n)
    frames = [config_to_atoms(config) for config in configs]
    model = build_model(MODEL, ["Mn", "Co", "Ni", "O"])
    print(f"\nmilliseconds per configuration of 8 atoms, {n:,} of them, {MODEL}\n\n| step | ms |\n|---|---|")
    for name, work in (
        ("prediction of one model", lambda: predict(model, frames)),
        ("learned features", lambda: structure_features(model, frames)),
        ("gradient features", lambda: gradient_features(model, frames)),
        ("gradient features without forces", lambda: gradient_features(model, frames, forces=0)),
        ("keys of twins", lambda: twin_keys(configs)),
    ):
        print(f"| {name} | {1000 * seconds(work, 1) / n:.2f} |", flush=True)


if __name__ == "__main__":
    main()
