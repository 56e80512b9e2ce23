"""Print what the spin-lattice model is, and how it compares with PBE+U: python benchmarks/spin_lattice_table.py

Three tables in Markdown, as in docs/reference-hamiltonian.md: the terms and their values; PBE+U labels of
benchmarks/data against the model with its own self-consistent moments; and properties of the model that the labels do
not hold: lattice, angle, bulk modulus, low-spin sites in a campaign of deformed (Mn, Co, Ni)O cells, time per label.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from scipy.optimize import minimize

from datastore.schema import SpinConfig
from workflows.engines import LabelError, get_engine
from workflows.engines.spin_lattice.hamiltonian import Hamiltonian
from workflows.engines.spin_lattice.moments import relax_moments
from workflows.engines.spin_lattice.table import TABLE
from workflows.structures import StructureOptions, apply_ordering, generate, rocksalt

DATA = Path(__file__).parent / "data"
LATTICE = {"Mn": 4.51, "Co": 4.31, "Ni": 4.27}
GIGAPASCAL = 160.21766
LOW_SPIN = 1.8
"""muB; less on Co is its low-spin state."""
MIXTURES: list[dict[str, float]] = [
    {"Mn": 1.0},
    {"Co": 1.0},
    {"Ni": 1.0},
    {"Mn": 0.5, "Co": 0.5},
    {"Mn": 0.5, "Ni": 0.5},
    {"Co": 0.5, "Ni": 0.5},
    {"Mn": 0.25, "Co": 0.25, "Ni": 0.5},
    {"Mn": 0.25, "Co": 0.5, "Ni": 0.25},
    {"Mn": 0.5, "Co": 0.25, "Ni": 0.25},
]


def protocol(count: int, cell: str = "all8", seed: int = 0) -> StructureOptions:
    """Nine compositions, three orderings, the four deformations, ``count`` geometries of each."""
    parents = [
        {"species": mix, "lattice_constant": sum(x * LATTICE[metal] for metal, x in mix.items()), "cell": cell}
        for mix in MIXTURES
    ]
    deformations = [
        {"kind": "displacement", "count": count, "amplitude": [0.03, 0.12]},
        {"kind": "shear", "count": count, "amplitude": [-0.06, 0.06], "displacement": 0.03},
        {"kind": "tensile", "count": count, "amplitude": [-0.06, 0.06], "displacement": 0.03},
        {"kind": "volume", "count": count, "amplitude": [0.88, 1.1], "displacement": 0.03},
    ]
    content = {"parents": parents, "orderings": ["FM", "AFM-I", "AFM-II"], "deformations": deformations, "seed": seed}
    return StructureOptions.model_validate(content)


def terms() -> str:
    """The parameters, one line a term."""
    rows = ["| term | unit | values |", "| --- | --- | --- |"]
    units = {"charge": "e", "saturation": "1/muB^2", "reference_moment": "muB", "crowding": "eV/muB^2"}
    units |= dict.fromkeys(("direct", "bridge90", "bridge180", "induction"), "eV/muB^2")
    units |= {f"landau{n}": f"eV/muB^{n}" for n in (2, 4, 6, 8)}
    for name, value in vars(TABLE).items():
        length = name.endswith(("_range", "_ends", "_length", "_distance"))
        shown = ", ".join(f"{k} {v:.4g}" for k, v in value.items()) if isinstance(value, dict) else f"{value}"
        rows.append(f"| {name} | {'Angstrom' if length else units.get(name, 'eV')} | {shown} |")
    return "\n".join(rows)


def against_labels(frames: list[Atoms]) -> str:
    """Gaps, moments and errors: PBE+U against the model."""
    energies = []
    moments: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    errors: dict[str, list[float]] = defaultdict(list)
    for atoms in frames:
        h = Hamiltonian(TABLE, list(atoms.symbols), atoms.cell.array, atoms.positions)
        m, _ = relax_moments(h, atoms.arrays["magmom_in"])
        forces, stress = h.forces_and_stress(m)
        energies.append(h.energy(m))
        errors["force, eV/Angstrom"].append(np.abs(forces - atoms.get_forces()).mean())
        errors["stress, eV/Angstrom^3"].append(np.abs(stress - atoms.get_stress(voigt=False)).mean())
        for symbol, truth, model in zip(atoms.symbols, atoms.arrays["magmom_out"], m, strict=True):
            if symbol != "O":
                key = (symbol, atoms.get_chemical_formula(empirical=True), str(atoms.info["ordering"]))
                moments[key].append((abs(truth), abs(model)))
    rows = ["| quantity | labels | PBE+U | model |", "| --- | --- | --- | --- |"]
    for key, pairs in sorted(_gaps(frames, energies).items()):
        truth, model = np.mean(pairs, axis=0)
        rows.append(f"| E(FM) - E({key[1]}), {key[0]}, meV/atom | {len(pairs)} pairs | {truth:.1f} | {model:.1f} |")
    for key, values in sorted(moments.items()):
        truth, model = np.mean(values, axis=0)
        rows.append(f"| moment of {' in '.join(key[:2])}, {key[2]}, muB | {len(values)} | {truth:.2f} | {model:.2f} |")
    scale = {"force, eV/Angstrom": np.mean([np.abs(a.get_forces()).mean() for a in frames])}
    scale["stress, eV/Angstrom^3"] = np.mean([np.abs(a.get_stress()).mean() for a in frames])
    for name, values in errors.items():
        rows.append(f"| mean {name}; mean error | {len(frames)} | {scale[name]:.4f} | {np.mean(values):.4f} |")
    return "\n".join(rows)


def _gaps(frames: list[Atoms], energies: list[float]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(formula, ordering) -> FM minus ordering per atom in meV, PBE+U and model, for each pair of equal geometry."""
    ferro, other = {}, []
    for atoms, energy in zip(frames, energies, strict=True):
        key = (atoms.get_chemical_formula(), atoms.positions.round(5).tobytes())
        if atoms.info["ordering"] == "FM":
            ferro[key] = (atoms.get_potential_energy(), energy)
        else:
            other.append((key, atoms, energy))
    gaps: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for key, atoms, energy in other:
        if key in ferro:
            truth, model = ferro[key]
            pair = ((truth - atoms.get_potential_energy()) / len(atoms) * 1e3, (model - energy) / len(atoms) * 1e3)
            gaps[atoms.get_chemical_formula(empirical=True), str(atoms.info["ordering"])].append(pair)
    return gaps


def cell_energy(metal: str, ordering: str, a: float, tilt: float) -> float:
    """eV per formula unit of an oxide with cubic lattice constant ``a`` sheared by ``tilt`` along [111]."""
    structure = apply_ordering(rocksalt(metal, lattice_constant=a, cell="all8"), ordering)
    strain = np.eye(3) + tilt * (np.ones((3, 3)) - np.eye(3))
    species = [site.specie.symbol for site in structure]
    h = Hamiltonian(TABLE, species, structure.lattice.matrix @ strain, structure.cart_coords @ strain)
    return h.energy(relax_moments(h, np.array(structure.site_properties["magmom"]))[0]) / 4


def relaxed(metal: str, ordering: str) -> tuple[float, float, float, float]:
    """Lattice constant (Angstrom), angle (degrees), bulk modulus (GPa), energy (eV per formula unit)."""
    start = [LATTICE[metal], 0.0]
    best = minimize(lambda x: cell_energy(metal, ordering, *x), start, method="Nelder-Mead", options={"xatol": 1e-6})
    a, tilt = best.x
    row = np.eye(3) + tilt * (np.ones((3, 3)) - np.eye(3))
    angle = float(np.degrees(np.arccos(row[0] @ row[1] / (row[0] @ row[0]))))
    length = float(a * np.linalg.norm(row[0]))
    step = 0.004
    curvature = sum(cell_energy(metal, ordering, a * (1 + s * step), tilt) for s in (1, -1)) - 2 * best.fun
    # E(a) -> B = V d2E/dV2 with dV/V = 3 da/a at the minimum
    bulk = curvature / (9 * step**2) / (np.linalg.det(row) * a**3 / 4) * GIGAPASCAL
    return length, angle, float(bulk), float(best.fun)


def properties() -> str:
    """Relaxed crystals of the model."""
    rows = ["| oxide | ordering | a, Angstrom | alpha, degrees | B, GPa | E - E(FM), meV/atom |", "| --- " * 6 + "|"]
    for metal in LATTICE:
        reference = relaxed(metal, "FM")[3]
        for ordering in ("FM", "AFM-I", "AFM-II") if metal != "Co" else ("FM", "AFM-II"):
            a, angle, bulk, energy = relaxed(metal, ordering)
            gap = (energy - reference) / 2 * 1e3
            rows.append(f"| {metal}O | {ordering} | {a:.3f} | {angle:.2f} | {bulk:.0f} | {gap:.1f} |")
    return "\n".join(rows)


def campaign(configs: Iterator[SpinConfig]) -> str:
    """Low-spin Co, changed orderings, failures and time per label over deformed cells from the default moments."""
    engine = get_engine("spin-lattice")
    cobalt, changed, failed, seconds, atoms = [], 0, 0, [], 0
    for config in configs:
        atoms = len(config.species)
        try:
            start = time.process_time()
            point = engine.label(config)
            seconds.append(time.process_time() - start)
        except LabelError:
            failed += 1
            continue
        cobalt += [abs(m) for symbol, m in zip(config.species, point.magmoms_out, strict=True) if symbol == "Co"]
        changed += point.ordering_found != config.ordering
    low = 100 * np.mean(np.array(cobalt) < LOW_SPIN)
    times = np.percentile(np.array(seconds) * 1e3, [50, 95])
    return (
        f"{len(seconds)} labels of {atoms} atoms, {failed} failed, {changed} in another ordering; "
        f"{low:.2f} % of {len(cobalt)} Co low-spin; {times[0]:.1f} ms of CPU time per label (95 %: {times[1]:.1f})"
    )


def main() -> None:
    frames = [a for name in ("gpaw_pool", "gpaw_reference") for a in read(DATA / f"{name}.extxyz", ":")]
    if "--short" not in sys.argv:
        print(terms(), "\n")
    print(against_labels(frames), "\n\n" + properties(), "\n")
    print(campaign(generate(protocol(12))))
    print(campaign(generate(protocol(1, cell="conventional_2x2x2"))))


if __name__ == "__main__":
    main()
