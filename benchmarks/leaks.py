"""How many planted twins the leak check finds among generated geometries of 64 atoms, and how fast. Prints a table.

python benchmarks/leaks.py                  # 5,000 geometries, 20 twins of each kind among them
python benchmarks/leaks.py --points 1000
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from dataclasses import replace

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from scipy.stats import ortho_group, special_ortho_group

from datastore.fingerprints import Geometry
from datastore.leaks import TOLERANCE, find_twins, geometry_of
from workflows.structures.generate import StructureOptions, generate

TWINS = 20
KINDS = (
    *("identical", "translated", "rotated", "reflected", "sites permuted", "other cell vectors", "supercell"),
    *("spins reversed", "near-duplicate", "everything at once"),
)
NOISE = 0.8 * TOLERANCE
"""Angstrom, rms displacement of near-duplicates."""

CONFIRMED = 40
"""Pairs nobody planted that are looked at with pymatgen's StructureMatcher."""


def geometries(number: int) -> list[Geometry]:
    """As campaigns make them: three compositions, four kinds of deformation with and without random displacements."""
    parents = [{"species": s, "cell": "conventional_2x2x2"} for s in ("Ni", "Mn", {"Ni": 0.5, "Mn": 0.5})]
    each, plain = -(-number // (4 * len(parents))), -(-number // 200)
    strains = {"shear": [-0.05, 0.05], "tensile": [-0.05, 0.05], "volume": [0.93, 1.07]}
    deformations = [{"kind": "displacement", "count": each, "amplitude": [0.02, 0.07]}]
    for kind, amplitude in strains.items():
        deformations += [
            {"kind": kind, "count": each, "amplitude": amplitude, "displacement": 0.03},
            {"kind": kind, "count": plain, "amplitude": amplitude},
        ]
    options = StructureOptions(parents=parents, orderings=["AFM-II"], deformations=deformations)
    found = [geometry_of(config) for config in generate(options)]
    rng = np.random.default_rng(0)
    return [replace(found[i], name=str(i)) for i in sorted(rng.permutation(len(found))[:number].tolist())]


def twin(original: Geometry, kind: str, rng: np.random.Generator) -> Geometry:
    """The same geometry, written down in another way."""
    species, lattice, positions, moments = (
        np.array(original.species),
        original.lattice,
        original.positions,
        original.moments,
    )
    if kind in ("translated", "everything at once"):
        positions = positions + rng.normal(scale=5, size=3)
    if kind in ("near-duplicate", "everything at once"):
        positions = positions + rng.normal(scale=NOISE / np.sqrt(3), size=positions.shape)
    if kind in ("rotated", "reflected", "everything at once"):
        group = special_ortho_group if kind == "rotated" else ortho_group
        rotation = group.rvs(3, random_state=rng) if kind != "reflected" else np.diag([1.0, 1.0, -1.0])
        lattice, positions = lattice @ rotation, positions @ rotation
    if kind in ("other cell vectors", "everything at once"):
        lattice = unimodular(rng) @ lattice
    if kind == "supercell":
        positions = np.concatenate([positions, positions + lattice[0]])
        lattice = np.diag([2.0, 1.0, 1.0]) @ lattice
        species, moments = np.tile(species, 2), np.tile(moments, 2)
    if kind in ("sites permuted", "everything at once"):
        order = rng.permutation(len(species))
        species, positions, moments = species[order], positions[order], moments[order]
    if kind in ("spins reversed", "everything at once"):
        moments = -moments
    return Geometry(f"twin of {original.name}: {kind}", tuple(species.tolist()), lattice, positions, moments)


def unimodular(rng: np.random.Generator) -> np.ndarray:
    """Random integer matrix that gives another basis of the same lattice."""
    matrix = np.zeros((3, 3))
    while abs(abs(np.linalg.det(matrix)) - 1) > 0.5:
        matrix = rng.integers(-1, 2, size=(3, 3)).astype(float)
    return matrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=5000)
    number = parser.parse_args().points
    rng = np.random.default_rng(1)
    known = geometries(number - TWINS * len(KINDS))
    chosen = rng.permutation(len(known))[: TWINS * len(KINDS)]
    planted = [twin(known[i], KINDS[k % len(KINDS)], rng) for k, i in enumerate(chosen)]
    everything = [*known, *planted]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    found = list(find_twins([everything[i] for i in rng.permutation(len(everything))]))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    pairs = {frozenset((t.first, t.second)) for t in found}
    hits = Counter(
        g.name.split(": ")[1]
        for g in planted
        if frozenset((g.name, g.name.split(": ")[0].removeprefix("twin of "))) in pairs
    )
    print("| kind of twin | planted | found |\n| --- | --- | --- |")
    for kind in KINDS:
        print(f"| {kind} | {TWINS} | {hits[kind]} |")
    print(f"\n{len(everything)} geometries in {seconds:.1f} s ({cpu:.1f} s of CPU time), +{memory:.0f} MB of memory")
    by_name = {geometry.name: geometry for geometry in everything}
    others = [t for t in found if not t.first.startswith("twin") and not t.second.startswith("twin")]
    sample = [others[i] for i in rng.permutation(len(others))[:CONFIRMED].tolist()]
    wrong = [t for t in sample if not confirmed(by_name[t.first], by_name[t.second])]
    print(f"{len(others)} pairs among the generated ones; of {len(sample)} checked, {len(wrong)} are false alarms")


def confirmed(first: Geometry, second: Geometry) -> bool:
    """Whether pymatgen finds them the same too, within 0.02 Angstrom (rms) and 0.3 % of lengths."""
    matcher = StructureMatcher(ltol=0.003, stol=0.01, angle_tol=0.3, scale=False)
    one, two = (Structure(g.lattice, g.species, g.positions, coords_are_cartesian=True) for g in (first, second))
    return bool(matcher.fit(one, two))


if __name__ == "__main__":
    main()
