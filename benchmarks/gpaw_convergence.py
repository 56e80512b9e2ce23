"""Error and cost of the GPAW engine's settings on one displaced NiO cell: ``python benchmarks/gpaw_convergence.py``.

One 4-atom geometry in FM and in AFM-II, two calculations at a time (about 4 minutes on two cores). Each setting is
compared with the engine's defaults, which every other option keeps. Columns: difference of the energy (AFM-II), of
E(FM) - E(AFM-II), and of the worst force component of both; CPU seconds of the AFM-II label.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from datastore.schema import SpinConfig, SpinPoint
from workflows.engines import get_engine
from workflows.structures import apply_ordering, deform, rocksalt

CELL = "rhombohedral4"
TIGHT = {"density": 1e-5, "energy": 1e-5, "eigenstates": 1e-7}
SETTINGS: dict[str, dict[str, Any]] = {
    "default: 700 eV, k 442": {},
    "500 eV": {"ecut": 500},
    "600 eV": {"ecut": 600},
    "900 eV": {"ecut": 900},
    "k 332": {"kpts": {CELL: (3, 3, 2)}},
    "k 663": {"kpts": {CELL: (6, 6, 3)}},
    "tight SCF convergence": {"convergence": TIGHT},
    "gpaw_quick.yaml: 500 eV, k 332": {"ecut": 500, "kpts": {CELL: (3, 3, 2)}},
}
ORDERINGS = ("FM", "AFM-II")
Task = tuple[str, str]


def label(task: Task) -> SpinPoint:
    name, ordering = task
    structure, _ = deform(rocksalt("Ni", lattice_constant=4.17, cell=CELL), "displacement", 0.06, seed=1)
    config = SpinConfig.from_structure(apply_ordering(structure, ordering), ordering)
    return get_engine({"type": "gpaw", **SETTINGS[name]}).label(config)


def row(name: str, found: dict[Task, SpinPoint]) -> str:
    default = next(iter(SETTINGS))
    (fm, afm), (fm0, afm0) = ([found[which, ordering] for ordering in ORDERINGS] for which in (name, default))
    n = len(afm.species)
    energy = (afm.free_energy - afm0.free_energy) / n * 1e3
    gap = (fm.free_energy - afm.free_energy - fm0.free_energy + afm0.free_energy) / n * 1e3
    force = max(float(np.abs(a.forces - b.forces).max()) for a, b in ((fm, fm0), (afm, afm0))) * 1e3
    return f"{name:32s} {energy:10.2f} {gap:18.2f} {force:12.1f} {afm.timings['cpu']:8.0f}"


def main() -> None:
    tasks = [(name, ordering) for name in SETTINGS for ordering in ORDERINGS]
    with ProcessPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        found = dict(zip(tasks, pool.map(label, tasks), strict=True))
    reference = found[tasks[1]]
    gap = (found[tasks[0]].free_energy - reference.free_energy) / len(reference.species) * 1e3
    print(f"default: E(FM) - E(AFM-II) {gap:.1f} meV/atom, largest force {np.abs(reference.forces).max():.2f} eV/A")
    print(f"{'setting':32s} {'dE meV/at':>10s} {'d(FM-II) meV/at':>18s} {'dF meV/A':>12s} {'CPU s':>8s}")
    for name in SETTINGS:
        print(row(name, found))


if __name__ == "__main__":
    main()
