"""How many calculations a relaxation takes, beside what plans expect: `python benchmarks/relaxation_steps.py`.

The spin-lattice engine, default options, FM and AFM-II; about a minute on 2 cores.
"""

from __future__ import annotations

from typing import Any

from ase import Atoms

from workflows.engines.calculator import EngineCalculator
from workflows.engines.spin_lattice.engine import SpinLatticeEngine
from workflows.equilibrium import find_equilibrium
from workflows.jobs.parents import calculations
from workflows.structures import StructureOptions
from workflows.structures.preparation import Start, starts

MIXED = {"Ni": 0.5, "Mn": 0.5}
PARENTS: list[dict[str, Any]] = [
    *[{"species": s, "cell": cell} for s in ("Ni", "Mn") for cell in ("rhombohedral4", "all8")],
    {"species": MIXED, "cell": "rhombohedral4"},
    *[{"species": MIXED, "cell": "all8", "seed": seed} for seed in range(2)],
    *[{"species": {"Ni": 0.75, "Mn": 0.25}, "cell": [[2, 0, 0], [0, 2, 0], [0, 0, 2]], "seed": n} for n in range(2)],
    *[{"species": MIXED, "cell": "conventional_2x2x2", "seed": seed} for seed in range(2)],
]


def main() -> None:
    """One line per parent and ordering."""
    options = StructureOptions.model_validate(
        {
            "parents": [{**parent, "lattice": "relax"} for parent in PARENTS],
            "orderings": ["FM", "AFM-II"],
            "deformations": [{"kind": "none"}],
        }
    )
    print(f"{'formula':10} {'atoms':>5} {'seed':>4} {'ordering':8} {'expected':>8} {'taken':>5}")
    for start in starts(options):
        config, seed = start.config, options.parents[start.number].seed
        taken = relaxation(start)
        kind = f"{config.formula:10} {len(config.species):5} {seed:4} {config.ordering:8}"
        print(f"{kind} {calculations(start):8} {taken:5}", flush=True)


def relaxation(start: Start) -> int:
    """Calculations until forces and stress are below their limit."""
    config = start.config
    atoms = Atoms(config.species, positions=config.positions, cell=config.lattice, pbc=True, magmoms=config.magmoms_in)
    calculator = EngineCalculator(SpinLatticeEngine(), config)
    return len(find_equilibrium(atoms, calculator, start.method).history)


if __name__ == "__main__":
    main()
