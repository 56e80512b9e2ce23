"""Cost of the model: ``python benchmarks/model_step.py [--models small paper] [--repeats 5] [--vectors] [--soc]``.

64 atoms of NiO with displacements of 0.05 Angstrom, cutoff 5 Angstrom, one thread. Prints per model the milliseconds of
processor time (least of the repeats; other programs on the machine hardly touch it) of a forward pass for the energy,
of energy with forces and stress, and of a training step (both, moments, derivatives of their squares by the weights,
Adam), and the peak memory of a process that does just that. PYTHONPATH chooses the version of the package to measure.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parents[1] / "configs" / "models"
COLUMNS = ("parameters", "forward_ms", "energy_forces_ms", "training_step_ms", "peak_mib")


def nio(vectors: bool) -> Any:
    """64 atoms of NiO; random signs on Ni, or random directions."""
    import numpy as np
    from ase.build import bulk

    atoms = bulk("NiO", "rocksalt", a=4.17, cubic=True).repeat(2)
    rng = np.random.default_rng(0)
    atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
    direction = rng.normal(size=(len(atoms), 3 if vectors else 1))
    moments = 2.0 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    moments[atoms.numbers == 8] = 0.0
    atoms.set_array("magmom_in", moments if vectors else moments[:, 0])
    return atoms


def fastest(work: Callable[[], Any], repeats: int) -> float:
    """Milliseconds of processor time; the first call, which allocates, does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def measure(name: str, repeats: int, vectors: bool, soc: bool) -> dict[str, float]:
    """One row, in a process of its own."""
    import torch
    import yaml

    from spinmultinet import build_model
    from spinmultinet.data import to_graph

    torch.set_num_threads(1)
    options = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"] | ({"soc": True} if soc else {})
    model = build_model(options, ["O", "Ni"])
    graph = to_graph(nio(vectors), model.species, model.options.cutoff, 3 if vectors else 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)

    def step() -> None:
        found = model(graph)
        loss = sum(found[k].square().mean() for k in ("energy", "forces", "stress", "moments") if k in found)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()

    row: dict[str, float] = {"parameters": model.n_parameters()}
    model.eval()
    row["forward_ms"] = fastest(lambda: model(graph, forces=False), repeats)
    row["energy_forces_ms"] = fastest(lambda: model(graph), repeats)
    model.train()
    row["training_step_ms"] = fastest(step, repeats)
    row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["small", "paper"], help="names in configs/models")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--vectors", action="store_true", help="vector moments instead of signed scalars")
    parser.add_argument("--soc", action="store_true", help="with spin-orbit coupling (wants --vectors)")
    given = parser.parse_args()
    print(f"{'model':12}" + "".join(f"{c:>18}" for c in COLUMNS))
    for name in given.models:
        with mp.get_context("spawn").Pool(1) as pool:  # the peak of one model is not that of the next
            row = pool.apply(measure, (name, given.repeats, given.vectors, given.soc))
        print(f"{name:12}" + "".join(f"{row[c]:18.0f}" for c in COLUMNS), flush=True)


if __name__ == "__main__":
    main()
