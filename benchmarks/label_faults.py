"""How many wrong labels the verdicts find, and how many right ones they reject: faults put into accepted labels.

python benchmarks/label_faults.py                 # Markdown tables for docs/quality.md, about a minute on one core
python benchmarks/label_faults.py --floor 0.002   # the same with another tolerance of the surface rule, eV/atom

Labels: PBE+U of NiO and MnO in tests/data, those of all oxides in $SPINMULTINET_TEST_DATA/data/gpaw_pool.extxyz (where
set; without those of CoO that are found to be metastable), and the spin-lattice engine's over mixed cells. Each fault
goes into a tenth of them, three times with other seeds. A label counts as found where a rule or a group rule rejects
it. Noise in forces sums to zero over the cell, as that of real calculations does. Exit code 1 where a flip, a swap of
moments or a calculation that says it did not converge is not found.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from datastore import outliers
from datastore.ingest import ingest
from datastore.outliers import find_outliers
from datastore.quality import judge, magnetic_sites, name_ordering
from datastore.schema import SpinFailure, SpinPoint
from datastore.stores import open_store
from workflows.engines import get_engine
from workflows.engines.interface import LabelError
from workflows.structures import StructureOptions, generate

OURS = Path(__file__).parents[1] / "tests" / "data" / "gpaw_nio_mno.extxyz"
SHARE, SEEDS = 0.1, 3
MIXTURES = [{"Mn": 0.25, "Co": 0.25, "Ni": 0.5}, {"Mn": 0.5, "Ni": 0.5}, {"Mn": 0.25, "Co": 0.5, "Ni": 0.25}]
MIXTURES += [{"Co": 0.5, "Ni": 0.5}]
DEFORMATIONS = [
    {"kind": "displacement", "count": 16, "amplitude": [0.02, 0.15]},
    {"kind": "shear", "count": 16, "amplitude": [-0.06, 0.06], "displacement": 0.03},
    {"kind": "tensile", "count": 16, "amplitude": [-0.06, 0.06], "displacement": 0.03},
    {"kind": "volume", "count": 16, "amplitude": [0.9, 1.1], "displacement": 0.03},
]
DIFFERENT = 0.3
"""muB. Moments nearer to each other than this, up to one global reversal, are the same state: no fault."""

NOTICEABLE = 0.05
"""eV/Angstrom. Rows of forces that differ by less were not mixed up."""

Rng = np.random.Generator
Fault = Callable[[SpinPoint, Rng, list[SpinPoint]], SpinPoint | None]


def first_principles(path: Path) -> list[SpinPoint]:
    """Labels of an extended XYZ file of ours, judged."""
    return [judge(_point(atoms)) for atoms in ase.io.read(path, ":")]


def _point(atoms: Atoms) -> SpinPoint:
    info, results, out = atoms.info, atoms.calc.results, atoms.arrays["magmom_out"]
    fields = {name: str(info[name]) for name in ("ordering", "pair_id", "deformation") if name in info}
    point = SpinPoint(
        species=list(atoms.symbols),
        lattice=atoms.cell.array,
        positions=atoms.positions,
        magmoms_in=atoms.arrays["magmom_in"],
        cell=info["parent"],
        engine="gpaw",
        engine_version="26.7.0",
        level_of_theory={"xc": "PBE+U"},
        energy=results["energy"],
        free_energy=results["energy"],
        forces=results["forces"],
        stress=atoms.get_stress(voigt=False),
        magmoms_out=out,
        total_moment=out.sum(),
        ordering_found=info["ordering"],
        verdict="accepted",
        **fields,
    )
    return point.model_copy(update={"ordering_found": name_ordering(point, out)})


def spin_lattice() -> list[SpinPoint]:
    """Labels of four mixed 8-atom cells in FM and AFM-I."""
    options = {
        "parents": [{"species": s, "cell": "conventional", "seed": i} for i, s in enumerate(MIXTURES)],
        "orderings": ["FM", "AFM-I"],
        "deformations": DEFORMATIONS,
    }
    engine, labels = get_engine("spin-lattice"), []
    for config in generate(StructureOptions.model_validate(options)):
        try:
            labels.append(engine.label(config))
        except LabelError:
            continue
    return labels


def with_moments(point: SpinPoint, moments: np.ndarray) -> SpinPoint | None:
    """The label with other moments; None where that is the same state."""
    sites = magnetic_sites(point)
    old, new = point.magmoms_out[sites], moments[sites]
    if min(np.abs(new - old).max(), np.abs(new + old).max()) < DIFFERENT:
        return None
    return point.model_copy(update={"magmoms_out": moments, "total_moment": float(moments.sum())})


def flip(several: bool) -> Fault:
    def fault(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint | None:
        sites = magnetic_sites(point)
        number = int(rng.integers(2, len(sites))) if several and len(sites) > 2 else 1
        signs = np.ones(len(point.species))
        signs[rng.choice(sites, number, replace=False)] = -1
        return None if several and len(sites) <= 2 else with_moments(point, signs * point.magmoms_out)

    return fault


def swap(unequal: bool) -> Fault:
    def fault(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint | None:
        sites = magnetic_sites(point) if unequal else np.arange(len(point.species))
        pairs = [(a, b) for a in sites for b in sites if a < b]
        pairs = [(a, b) for a, b in pairs if not unequal or point.species[a] != point.species[b]]
        if not pairs:
            return None
        a, b = pairs[rng.integers(len(pairs))]
        moments = np.array(point.magmoms_out)
        moments[[a, b]] = moments[[b, a]]
        return with_moments(point, moments)

    return fault


def rotated(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint | None:
    return with_moments(point, np.roll(point.magmoms_out, int(rng.integers(1, len(point.species)))))


def low_spin(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint | None:
    site = rng.choice(magnetic_sites(point))
    unpaired = {"Mn": rng.choice([1, 3]), "Co": 1, "Ni": 0}[point.species[site]]
    moments = np.array(point.magmoms_out)
    moments[site] *= 0.9 * unpaired / abs(moments[site])
    return with_moments(point, moments)


def centred(rng: Rng, scale: float, point: SpinPoint) -> np.ndarray:
    """(N, 3) noise in forces whose sum over the cell is zero, so that the rule on the net force says nothing."""
    noise = rng.normal(scale=scale, size=point.forces.shape)
    return np.asarray(noise - noise.mean(axis=0))


def half_converged(energy: float, force: float, share: float) -> Fault:
    def fault(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint:
        update = {
            "free_energy": point.free_energy + len(point.species) * rng.normal(scale=energy),
            "forces": point.forces + centred(rng, force, point),
            "magmoms_out": point.magmoms_out * (1 + rng.normal(scale=share, size=len(point.species))),
        }
        return point.model_copy(update=update)

    return fault


def noisy_forces(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint:
    return point.model_copy(update={"forces": point.forces + centred(rng, 0.2, point)})


def rows_permuted(within_elements: bool) -> Fault:
    """Moments and forces in another order of the sites than positions: what a wrong site order gives."""

    def fault(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint | None:
        order = np.arange(len(point.species))
        for element in sorted(set(point.species)) if within_elements else [""]:
            sites = [i for i, symbol in enumerate(point.species) if element in ("", symbol)]
            order[sites] = rng.permutation(sites)
        return _with_rows(point, order)

    return fault


def _with_rows(point: SpinPoint, order: np.ndarray) -> SpinPoint | None:
    forces = point.forces[order]
    if np.linalg.norm(forces - point.forces, axis=1).max() < NOTICEABLE:
        return None
    return point.model_copy(update={"forces": forces, "magmoms_out": point.magmoms_out[order]})


def forces_of_another(point: SpinPoint, rng: Rng, labels: list[SpinPoint]) -> SpinPoint | None:
    others = [p for p in labels if p.species == point.species and p.point_id != point.point_id]
    other = others[rng.integers(len(others))]
    return point.model_copy(update={"forces": other.forces})


def forces_permuted(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint | None:
    forces = point.forces[rng.permutation(len(point.species))]
    worst = np.linalg.norm(forces - point.forces, axis=1).max()
    return None if worst < NOTICEABLE else point.model_copy(update={"forces": forces})


def other_level(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint:
    metals = len(magnetic_sites(point))
    update = {"free_energy": point.free_energy + 0.1 * metals, "magmoms_out": 1.02 * point.magmoms_out}
    return point.model_copy(update=update)


def shifted(per_atom: float) -> Fault:
    def fault(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint:
        return point.model_copy(update={"free_energy": point.free_energy + per_atom * len(point.species)})

    return fault


def growing(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint:
    drift = rng.uniform(0.010, 0.060)  # whoever is hit early or late in a run that drifts to 60 meV/atom
    return point.model_copy(update={"free_energy": point.free_energy + drift * len(point.species)})


def stress_sign(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint:
    return point.model_copy(update={"stress": -point.stress})


def stress_unit(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint:
    return point.model_copy(update={"stress": -point.stress * 1602.1766})  # kB, VASP's sign


def says_unconverged(point: SpinPoint, rng: Rng, _: list[SpinPoint]) -> SpinPoint:
    return point.model_copy(update={"corrections": ["SCF not converged"]})


REQUIRED: dict[str, Fault] = {
    "flip of one site": flip(False),
    "flip of several sites": flip(True),
    "moments of two sites swapped": swap(False),
    "moments of two cations of different elements swapped": swap(True),
    "order of the moments rotated": rotated,
    "not converged, told with the label": says_unconverged,
}
OTHERS: dict[str, Fault] = {
    "low spin on one site": low_spin,
    "half converged (30 meV/atom, 0.1 eV/Å, 3 % of the moments)": half_converged(0.03, 0.1, 0.03),
    "half converged (10 meV/atom, 0.05 eV/Å, 1 % of the moments)": half_converged(0.01, 0.05, 0.01),
    "moments and forces in another order of the sites": rows_permuted(False),
    "moments and forces in another order within the elements": rows_permuted(True),
    "noise of 0.2 eV/Å in the forces": noisy_forces,
    "forces of another geometry": forces_of_another,
    "forces permuted between sites": forces_permuted,
    "another U (0.1 eV per cation, 2 % of the moments)": other_level,
    "energy 30 meV/atom too high": shifted(0.030),
    "energy 15 meV/atom too low": shifted(-0.015),
    "drift of 10 to 60 meV/atom": growing,
    "stress of the wrong sign": stress_sign,
    "stress in kB": stress_unit,
}


def rejected(labels: list[SpinPoint]) -> set[str]:
    """point_ids that the rules, then the group rules reject."""
    judged = [judge(point) for point in labels]
    found = {point.point_id for point in judged if point.verdict == "rejected"}
    return found | set(find_outliers(point for point in judged if point.verdict == "accepted"))


def measure(labels: list[SpinPoint], fault: Fault) -> tuple[int, int, int]:
    """(faults put in, faults found, right labels rejected) over all seeds."""
    put = found = wrong = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        changed: dict[int, SpinPoint] = {}
        for index in rng.permutation(len(labels)).tolist():
            new = fault(labels[index], rng, labels)
            if new is not None:
                changed[index] = new
            if len(changed) >= SHARE * len(labels):
                break
        ids = {labels[index].point_id for index in changed}
        hits = rejected([changed.get(index, point) for index, point in enumerate(labels)])
        put, found, wrong = put + len(ids), found + len(hits & ids), wrong + len(hits - ids)
    return put, found, wrong


def failures_kept_out(labels: list[SpinPoint]) -> tuple[int, int]:
    """Calculations that an engine reports as not converged: (put in, those that became no label), through ingest."""
    chosen = labels[:: round(1 / SHARE)]
    with open_store("memory:") as store:
        for number, point in enumerate(chosen):
            shared = {name: getattr(point, name) for name in SpinFailure.model_fields if hasattr(point, name)}
            failure = SpinFailure(**shared, error="no convergence in 333 steps", error_type="not-converged")
            store.jobs.update({"uuid": f"j{number}", "index": 1, "completed_at": "1", "output": failure.to_document()})
        report = ingest(store)
        return len(chosen), report.failures - store.points.count()


def table(sets: dict[str, list[SpinPoint]]) -> bool:
    """Print recall and precision; returns whether every required fault was found."""
    sound = True
    print("| fault | " + " | ".join(f"{name}: recall, precision" for name in sets) + " |")
    print("| --- |" + " --- |" * len(sets))
    for name, fault in (REQUIRED | OTHERS).items():
        cells = []
        for labels in sets.values():
            put, found, wrong = measure(labels, fault)
            sound &= name not in REQUIRED or found == put
            precision = f"{found / (found + wrong):.3f}" if found + wrong else "-"
            cells.append(f"{found / put:.3f}, {precision} ({put})" if put else "-")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    cells = []
    for labels in sets.values():
        put, found = failures_kept_out(labels)
        sound &= put == found
        cells.append(f"{found / put:.3f}, - ({put})")
    print("| not converged, reported by the engine | " + " | ".join(cells) + " |")
    print(
        "| least share of the tolerance that rejects no right label | " + " | ".join(map(_room, sets.values())) + " |"
    )
    print(f"| no fault: labels rejected | {' | '.join(f'{len(rejected(v))} of {len(v)}' for v in sets.values())} |")
    return sound


def _room(labels: list[SpinPoint]) -> str:
    """The tolerance of the surface rule made tighter in steps of 0.05 until it rejects one of these labels."""
    floor, share = outliers.SURFACE_FLOOR, outliers.SURFACE_SHARE
    factor = 1.0
    try:
        while factor > 0 and not find_outliers(labels):
            factor = round(factor - 0.05, 2)
            outliers.SURFACE_FLOOR, outliers.SURFACE_SHARE = floor * factor, share * factor
    finally:
        outliers.SURFACE_FLOOR, outliers.SURFACE_SHARE = floor, share
    return f"{factor + 0.05:.2f}"


def metastable(labels: list[SpinPoint]) -> list[SpinPoint]:
    """Print the pairs of CoO and what is said of them; returns the labels without those that are rejected."""
    bad = find_outliers(labels)
    pairs: defaultdict[str, list[SpinPoint]] = defaultdict(list)
    for point in labels:
        if point.formula == "CoO":
            pairs[point.pair_id].append(point)
    print("| pair of CoO | E(FM) - E(AFM), meV/atom | rejected |\n| --- | --- | --- |")
    for name, members in sorted(pairs.items()):
        ordered = {point.ordering: point for point in members}
        energy = {ordering: 1000 * point.free_energy / len(point.species) for ordering, point in ordered.items()}
        other = next((ordering for ordering in ordered if ordering != "FM"), "")
        difference = f"{energy['FM'] - energy[other]:.1f}" if other and "FM" in energy else "-"
        said = "; ".join(f"{o}: {bad[p.point_id][0]}" for o, p in ordered.items() if p.point_id in bad)
        print(f"| {name}, {other or 'FM'} | {difference} | {said or '-'} |")
    print()
    return [point for point in labels if point.point_id not in bad]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="How many wrong labels the verdicts find.")
    parser.add_argument("--floor", type=float, default=outliers.SURFACE_FLOOR, help="of the surface rule, eV/atom")
    outliers.SURFACE_FLOOR = parser.parse_args().floor
    sets = {"NiO, MnO": first_principles(OURS)}
    folder = os.environ.get("SPINMULTINET_TEST_DATA")
    if folder:
        sets["all oxides"] = metastable(first_principles(Path(folder) / "data" / "gpaw_pool.extxyz"))
    sets["spin-lattice mixtures"] = [point for point in spin_lattice() if point.verdict == "accepted"]
    print(", ".join(f"{name}: {len(labels)} labels" for name, labels in sets.items()) + "\n")
    return 0 if table(sets) else 1


if __name__ == "__main__":
    sys.exit(main())
