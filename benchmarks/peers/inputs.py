"""The structures that all programs get: NiO with displacements of 0.05 Angstrom, as in `benchmarks/model_step.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LATTICE = 4.17  # Angstrom
DISPLACEMENT = 0.05  # Angstrom per coordinate, standard deviation
MOMENT = 2.0  # muB on Ni, with random signs


def supercell(n_atoms: int) -> tuple[int, int, int]:
    """How often to repeat the cubic cell of 8 atoms: the box of that many atoms with the least surface.

    Raises ValueError where no box has so many atoms.
    """
    cells, rest = divmod(n_atoms, 8)
    boxes = [
        (a, b, cells // (a * b))
        for a in range(1, cells + 1)
        for b in range(1, a + 1)
        if rest == 0 and cells % (a * b) == 0 and cells // (a * b) <= b
    ]
    if not boxes:
        raise ValueError(f"{n_atoms} atoms: sizes must be multiples of 8, the cubic cell of NiO")
    return min(boxes, key=lambda box: box[0] * box[1] + box[1] * box[2] + box[2] * box[0])


def write(path: Path, n_atoms: int, n_structures: int) -> None:
    """Write structures as JSON: cell [3, 3], positions [N, 3] (Angstrom), numbers [N], moments [N] (muB)."""
    import numpy as np
    from ase.build import bulk

    rng = np.random.default_rng(0)
    found = []
    for _ in range(n_structures):
        atoms = bulk("NiO", "rocksalt", a=LATTICE, cubic=True).repeat(supercell(n_atoms))
        atoms.positions += DISPLACEMENT * rng.normal(size=atoms.positions.shape)
        moments = np.where(atoms.numbers == 28, MOMENT * rng.choice([-1.0, 1.0], len(atoms)), 0.0)
        found.append(
            {
                "cell": atoms.cell.array.tolist(),
                "positions": atoms.positions.tolist(),
                "numbers": atoms.numbers.tolist(),
                "moments": moments.tolist(),
            }
        )
    path.write_text(json.dumps(found))


def read(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The structures of a job."""
    found: list[dict[str, Any]] = json.loads(Path(job["structures"]).read_text())
    return found


def read_ase(job: dict[str, Any]) -> list[Any]:
    """The same as ase.Atoms, moments in the array `magmom_in`."""
    import numpy as np
    from ase import Atoms

    found = []
    for s in read(job):
        atoms = Atoms(s["numbers"], positions=s["positions"], cell=s["cell"], pbc=True)
        atoms.set_array("magmom_in", np.array(s["moments"]))
        found.append(atoms)
    return found


def batches(items: list[Any], job: dict[str, Any]) -> list[list[Any]]:
    """Groups of as many items as the job's batch has in training; single ones in inference."""
    n = job["batch"] if job["task"] == "train" else 1
    return [items[k : k + n] for k in range(0, len(items) - n + 1, n)]
