"""Generate 10,000 configurations of 64 atoms on one core: ``python benchmarks/structures.py [count]``.

Prints configurations per second, once as they are and once with their content ids, and the peak memory. Goal: 10,000
in under 30 s, memory flat.
"""

from __future__ import annotations

import resource
import sys
import time

from workflows.structures import StructureOptions, generate


def options(count: int) -> StructureOptions:
    """``count`` configurations of 64 atoms: two parents, five deformations, FM and AFM-II pairs."""
    strains = [("shear", -0.04, 0.04), ("tensile", -0.05, 0.05), ("volume", 0.93, 1.08)]
    deformations = [{"kind": "displacement", "count": count // 10, "amplitude": [0.03, 0.12]}]
    deformations += [
        {"kind": k, "count": count // 20, "amplitude": [lo, hi], "displacement": 0.03} for k, lo, hi in strains
    ]
    return StructureOptions.model_validate(
        {
            "parents": [
                {"species": "Ni", "cell": "conventional_2x2x2"},
                {"species": {"Ni": 0.5, "Mn": 0.5}, "cell": "conventional_2x2x2"},
            ],
            "orderings": ["FM", "AFM-II"],
            "deformations": deformations,
        }
    )


def run(count: int, with_id: bool) -> float:
    """Seconds for ``count`` configurations."""
    start = time.perf_counter()
    made = 0
    for config in generate(options(count)):
        made += 1
        if with_id:
            assert config.config_id
    assert made == count, made
    return time.perf_counter() - start


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for with_id in (False, True):
        seconds = run(total, with_id)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        what = "with config_id" if with_id else "configurations"
        print(
            f"{what:15s} {total} x 64 atoms: {seconds:6.2f} s, {total / seconds:7.0f} /s, peak memory {memory:.0f} MiB"
        )
