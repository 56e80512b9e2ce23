"""Generate 10,000 configurations of 64 atoms on one core: ``python benchmarks/structures.py [count]``.

Prints configurations per second and peak memory, with and without content ids, for three jobs: FM and AFM-II of two
oxides; enumerated, random and spiral orderings; and strains without displacements, where each geometry is compared
with all earlier ones for twins. Also the time to enumerate the orderings of some cells. Goal: 10,000 in under 30 s,
memory flat.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import numpy as np

from workflows.structures import StructureOptions, TwinCount, enumerate_signs, generate, rocksalt

LARGE = "conventional_2x2x2"
HALF = {"Ni": 0.5, "Mn": 0.5}


def paired(count: int) -> dict[str, Any]:
    """Two parents, five deformations, FM and AFM-II pairs."""
    strains = [("shear", -0.04, 0.04), ("tensile", -0.05, 0.05), ("volume", 0.93, 1.08)]
    deformations = [{"kind": "displacement", "count": count // 10, "amplitude": [0.03, 0.12]}]
    deformations += [
        {"kind": k, "count": count // 20, "amplitude": [lo, hi], "displacement": 0.03} for k, lo, hi in strains
    ]
    parents = [{"species": "Ni", "cell": LARGE}, {"species": HALF, "cell": LARGE}]
    return {"parents": parents, "orderings": ["FM", "AFM-II"], "deformations": deformations}


def enumerated(count: int) -> dict[str, Any]:
    """One quasirandom parent in 50 orderings: 40 enumerated, 8 random, a spiral and random directions."""
    return {
        "parents": [{"species": HALF, "cell": LARGE, "decoration": "sqs"}],
        "orderings": [
            {"kind": "enumerate", "max_count": 40},
            {"kind": "random", "count": 8},
            {"kind": "spiral", "q": [0, 0, "1/2"]},
            {"kind": "random_directions"},
        ],
        "deformations": [{"kind": "displacement", "count": count // 50, "amplitude": [0.03, 0.12]}],
    }


def strained(count: int) -> dict[str, Any]:
    """One parent of full symmetry (1536 operations) in 20 orderings, some of them twins; strains only."""
    strains = [("shear", -0.04, 0.04), ("tensile", -0.05, 0.05)]
    return {
        "parents": [{"species": "Ni", "cell": LARGE}],
        "orderings": [
            {"kind": "enumerate"},
            {"kind": "random", "count": 7},
            {"kind": "spiral", "q": [0, 0, "1/2"]},
            {"kind": "spiral", "q": [0, "1/2", 0]},
        ],
        "deformations": [{"kind": k, "count": count // 40, "amplitude": [lo, hi]} for k, lo, hi in strains],
    }


def run(options: dict[str, Any], with_id: bool) -> tuple[int, int, float]:
    """Configurations, twins left out, and seconds."""
    start, made, twins = time.perf_counter(), 0, TwinCount()
    for config in generate(StructureOptions.model_validate(options), twins=twins):
        made += 1
        if with_id:
            assert config.config_id
    return made, twins.removed.total(), time.perf_counter() - start


def count_orderings(species: Any, cell: Any, **options: Any) -> None:
    """Print how many orderings a cell has, and the time to find them."""
    structure = rocksalt(species, 4.2, cell)
    magnetic = np.arange(len(structure) // 2)
    start = time.perf_counter()
    found = sum(1 for _ in enumerate_signs(structure, magnetic, **options))
    seconds = time.perf_counter() - start
    print(f"{found:6d} orderings of {len(magnetic)} cations ({species}, {options or 'all'}): {seconds:.2f} s")


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for job in (paired, enumerated, strained):
        for with_id in (False, True):
            made, left_out, seconds = run(job(total), with_id)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{job.__name__:10s} {made} x 64 atoms{' with id' if with_id else '':8s}: {seconds:5.2f} s, "
                f"{made / seconds:5.0f} /s, {left_out} twins left out, peak memory {memory:.0f} MiB"
            )
    for species in ("Ni", HALF):
        count_orderings(species, [[2, 0, 0], [0, 2, 0], [0, 0, 4]])
        count_orderings(species, LARGE, max_period=4)
        count_orderings(species, LARGE, max_period=8)
