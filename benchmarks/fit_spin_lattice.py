"""Fit the spin-lattice amplitudes to PBE+U labels: python benchmarks/fit_spin_lattice.py [--check] LABELS.extxyz ...

The energy is linear in the amplitudes, so one least-squares problem asks for everything at once: energies,
differences between orderings of one geometry, forces, stress, and dE/dm = 0 at the labels' own moments. Prints the
table for workflows/engines/spin_lattice/table.py; with ``--check`` nothing is fitted, and the table in use is compared
with the labels, such as tests/data/gpaw_nio_mno.extxyz. Files need arrays ``magmom_in`` and ``magmom_out``.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import asdict, replace
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.io import read
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from workflows.engines.spin_lattice.hamiltonian import Hamiltonian
from workflows.engines.spin_lattice.landau import spin_state_polynomial
from workflows.engines.spin_lattice.moments import relax_moments
from workflows.engines.spin_lattice.parameters import ELEMENTS, METALS, Parameters
from workflows.engines.spin_lattice.table import TABLE

Vector = NDArray[np.float64]
# Lengths, saturation and the terms of fourth order were chosen by hand (see table.py); the rest is fitted.
SHAPE = Parameters(
    repulsion_range={"Mn-O": 0.26, "Co-O": 0.26, "Ni-O": 0.25, "O-O": 0.25},
    saturation={"Mn": 0.76 / 4.5**2, "Co": 0.76 / 2.65**2, "Ni": 0.76 / 1.78**2},
    reference_moment={"Mn": 4.5, "Co": 2.65, "Ni": 1.78},
    two_site=-0.0005,
    three_site=0.0002,
)
SPIN_STATES = spin_state_polynomial(onset=2.2, merge=6.6)
WEIGHTS = {"energy": 3.0, "pair": 300.0, "force": 10.0, "stress": 3.0, "moment": 10.0, "ridge": 0.01}
PAIRS = ["-".join(pair) for pair in combinations_with_replacement(METALS, 2)]
OXIDES = [f"{metal}-O" for metal in METALS]
AMPLITUDES = (
    [("offset", "O")]
    + [("offset", metal) for metal in METALS]
    + [("repulsion", key) for key in [*OXIDES, "O-O"]]
    + [("soft", key) for key in [*OXIDES, "O-O"]]
    + [("charge", "")]
    + [(name, metal) for name in ("embedding1", "embedding2") for metal in METALS]
    + [(name, metal) for name in ("landau2", "crowding", "induction") for metal in METALS]
    + [("landau4", "Mn"), ("landau4", "Ni"), ("spin states", "Co")]
    + [("landau2", "O")]
    + [(name, key) for name in ("direct", "bridge90", "bridge180") for key in PAIRS]
    + [("four_site", "")]
)
# Stiffness of the moments: what a change of exchange field does to them between orderings.
PRIORS = {
    ("landau4", "Mn"): 0.0040,
    ("landau4", "Ni"): 0.061,
    ("landau2", "O"): 0.8,
    ("spin states", "Co"): 0.005,
    ("crowding", "Co"): 0.015,
}
# Direct overlap and 180-degree superexchange are antiferromagnetic, 90-degree exchange is ferromagnetic.
POSITIVE, NEGATIVE = (0, np.inf), (-np.inf, 0)
SIGNS = {"direct": POSITIVE, "bridge180": POSITIVE, "bridge90": NEGATIVE, "repulsion": POSITIVE}
STRENGTH = {("four_site", ""): 3.0}


def with_amplitudes(shape: Parameters, values: Vector) -> Parameters:
    """``shape`` (its lengths) with these amplitudes; the value for the charge is its square."""
    tables: dict[str, dict[str, float]] = defaultdict(dict)
    single: dict[str, float] = {}
    for (name, key), value in zip(AMPLITUDES, values, strict=True):
        if name == "charge":
            single[name] = float(np.sqrt(max(value, 0.0)))
        elif name == "spin states":
            for power, factor in zip(("landau4", "landau6", "landau8"), SPIN_STATES, strict=True):
                tables[power][key] = float(value) * factor
        elif key:
            tables[name][key] = float(value)
        else:
            single[name] = float(value)
    return replace(shape, **single, **tables)


def moments_of(atoms: Atoms) -> Vector:
    return np.asarray(atoms.arrays["magmom_out"], dtype=float)


def response(p: Parameters, atoms: Atoms) -> Vector:
    """Energy, forces, stress * volume and dE/dm at the label's moments, as one vector."""
    h = Hamiltonian(p, list(atoms.symbols), atoms.cell.array, atoms.positions)
    m = moments_of(atoms)
    forces, stress = h.forces_and_stress(m)
    return np.concatenate([[h.energy(m)], forces.ravel(), stress.ravel() * h.volume, h.moment_gradient(m)])


def target(atoms: Atoms) -> Vector:
    stress = atoms.get_stress(voigt=False) * atoms.get_volume()
    return np.concatenate(
        [[atoms.get_potential_energy()], atoms.get_forces().ravel(), stress.ravel(), np.zeros(len(atoms))]
    )


def weights(atoms: Atoms) -> Vector:
    n = len(atoms)
    parts = [("energy", 1), ("force", 3 * n), ("stress", 9), ("moment", n)]
    scale = 0.3 if "Co" in atoms.symbols else 1.0
    return np.concatenate([np.full(size, WEIGHTS[name] * scale / (n if size == 1 else 1)) for name, size in parts])


def load(files: list[str]) -> list[Atoms]:
    frames = [atoms for file in files for atoms in read(file, ":")]
    return [atoms for atoms in frames if set(atoms.symbols) <= set(ELEMENTS) and "magmom_out" in atoms.arrays]


def groups(frames: list[Atoms]) -> list[list[int]]:
    """Indices of frames with one geometry in several orderings."""
    found: dict[str, list[int]] = defaultdict(list)
    for index, atoms in enumerate(frames):
        key = str(atoms.info.get("pair_id") or "")
        key = key or atoms.get_chemical_formula() + np.array2string(atoms.positions, precision=5)
        found[key].append(index)
    return [members for members in found.values() if len(members) > 1]


def solve(shape: Parameters, frames: list[Atoms]) -> tuple[Vector, float]:
    """Amplitudes of the weighted least-squares problem and its root-mean-square residual."""
    fixed = [response(with_amplitudes(shape, np.zeros(len(AMPLITUDES))), atoms) for atoms in frames]
    units = np.eye(len(AMPLITUDES))
    blocks = [
        np.stack([response(with_amplitudes(shape, unit), atoms) - rest for unit in units], axis=1)
        for atoms, rest in zip(frames, fixed, strict=True)
    ]
    targets = [target(atoms) - rest for atoms, rest in zip(frames, fixed, strict=True)]
    rows = [block * weights(atoms)[:, None] for block, atoms in zip(blocks, frames, strict=True)]
    values = [wanted * weights(atoms) for atoms, wanted in zip(frames, targets, strict=True)]
    for members in groups(frames):
        first = members[0]
        for other in members[1:]:
            # CoO's labels hold metastable states: its differences scatter by 40 meV/atom.
            doubtful = list(frames[first].symbols).count("Co") > 1
            weight = WEIGHTS["pair"] * (0.1 if doubtful else 1.0) / len(frames[first])
            rows.append((blocks[other][:1] - blocks[first][:1]) * weight)
            values.append((targets[other][:1] - targets[first][:1]) * weight)
    prior = np.array([PRIORS.get(name, 0.0) for name in AMPLITUDES])
    strength = np.array(
        [100 / PRIORS[name] if name in PRIORS else STRENGTH.get(name, WEIGHTS["ridge"]) for name in AMPLITUDES]
    )
    strength[[name == "offset" for name, _ in AMPLITUDES]] = 0.0
    rows.append(np.diag(strength))
    values.append(prior * strength)
    a, b = np.concatenate(rows), np.concatenate(values)
    # Scaled columns: lsq_linear would otherwise stop early on badly conditioned ones.
    scale = np.linalg.norm(a, axis=0)
    low, high = np.array([SIGNS.get(name, (-np.inf, np.inf)) for name, _ in AMPLITUDES]).T
    solution = lsq_linear(a / scale, b, bounds=(low, high), method="bvls").x / scale
    return solution, float(np.sqrt(np.mean((a @ solution - b) ** 2)))


def python_table(p: Parameters) -> str:
    """The parameters as the Python source of table.py, rounded to six digits."""
    lines = []
    for name, value in asdict(p).items():
        if isinstance(value, dict):
            inner = ", ".join(f'"{key}": {number:.6g}' for key, number in value.items())
            lines.append(f"    {name}={{{inner}}},")
        else:
            lines.append(f"    {name}={round(value, 6) if isinstance(value, float) else value},")
    return "TABLE = Parameters(\n" + "\n".join(lines) + "\n)"


def compare(p: Parameters, frames: list[Atoms]) -> str:
    """Labels against the model with its own self-consistent moments: one line per system, cell and quantity."""
    energies, errors = {}, defaultdict(list)
    for index, atoms in enumerate(frames):
        h = Hamiltonian(p, list(atoms.symbols), atoms.cell.array, atoms.positions)
        m, _ = relax_moments(h, atoms.arrays["magmom_in"])
        forces, stress = h.forces_and_stress(m)
        energies[index] = h.energy(m)
        errors["force eV/A"].append(np.abs(forces - atoms.get_forces()).mean())
        errors["stress eV/A^3"].append(np.abs(stress - atoms.get_stress(voigt=False)).mean())
        for element in ELEMENTS:
            here = np.array([symbol == element for symbol in atoms.symbols])
            if here.any():
                errors[f"moment {element} muB"].append(np.abs(m - moments_of(atoms))[here].mean())
    lines = [f"mean absolute error, {name}: {np.mean(values):.4f}" for name, values in errors.items()]
    gaps = defaultdict(list)
    for first, second, *_ in groups(frames):
        a, b = frames[first], frames[second]
        key = (a.get_chemical_formula(), a.info.get("parent"), a.info.get("ordering"), b.info.get("ordering"))
        truth = (b.get_potential_energy() - a.get_potential_energy()) / len(a) * 1e3
        gaps[key].append((truth, (energies[second] - energies[first]) / len(a) * 1e3))
    for key, pairs in gaps.items():
        truth, model = np.mean(pairs, axis=0)
        lines.append(f"{key}: {len(pairs)} pairs, PBE+U {truth:.1f}, model {model:.1f} meV/atom")
    return "\n".join(lines)


def main() -> None:
    files = [argument for argument in sys.argv[1:] if argument != "--check"]
    if not files:
        sys.exit(f"usage: {__doc__.splitlines()[0].split(': ')[1]}")
    frames = load(files)
    if "--check" in sys.argv:
        print(compare(TABLE, frames))
        return
    solution, residual = solve(SHAPE, frames)
    fitted = with_amplitudes(SHAPE, solution)
    print(python_table(fitted))
    print(f"\nroot-mean-square weighted residual {residual:.3f}\n{compare(fitted, frames)}")


if __name__ == "__main__":
    main()
