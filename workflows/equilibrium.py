"""The undeformed cell of a material in one ordering, from any ASE calculator: equation of state or relaxation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms
from numpy.typing import NDArray

from workflows.engines.calculator import RejectedError
from workflows.structures.errors import StructureError
from workflows.structures.lattice import RelaxOptions, ScanOptions

FloatArray = NDArray[np.float64]
Watch = Callable[[float, str], None]
"""Receives how far it is (0 to 1) and what is being done."""

TYPICAL_STEPS = 10
"""Calculations a relaxation takes where symmetry holds all atoms; tests/workflows/test_equilibrium.py counts."""

STEPS_PER_ROOT = 4
"""And so many more per square root of the number of coordinates that symmetry leaves free."""

MIN_POINTS = 5
"""An equation of state has four parameters."""

MAX_RESIDUAL = 1e-3
"""eV/atom, rms about an equation of state; benchmarks/gpaw_equation_of_state.py shows what a cutoff leaves."""


@dataclass(frozen=True)
class Step:
    """One calculation on the way: volume (Angstrom^3/atom), free energy (eV/atom), largest force and stress."""

    volume: float
    energy: float
    fmax: float
    largest_stress: float

    @classmethod
    def of(cls, atoms: Atoms) -> Step:
        """From atoms with a calculator; constraints do not hide forces (eV/Angstrom, eV/Angstrom^3)."""
        n = len(atoms)
        forces = atoms.get_forces(apply_constraint=False)
        return cls(
            volume=float(atoms.get_volume() / n),
            energy=float(atoms.get_potential_energy() / n),
            fmax=float(np.linalg.norm(forces, axis=1).max()),
            largest_stress=float(np.abs(atoms.get_stress()).max()),
        )


@dataclass(frozen=True)
class EquationOfState:
    """Birch-Murnaghan fit: V0 (Angstrom^3/atom), E0 (eV/atom), B0 (GPa), B0', rms residual (eV/atom)."""

    volume: float
    energy: float
    bulk_modulus: float
    derivative: float
    residual: float


@dataclass(frozen=True)
class Equilibrium:
    """The cell found: atoms with results of a calculation at it, the way there, and the fit where it was a scan."""

    atoms: Atoms
    history: list[Step]
    eos: EquationOfState | None = None
    dropped: list[float] = field(default_factory=list)
    """V/V0 at the ends of a scan whose labels were rejected; they take no part in the fit."""

    def document(self) -> dict[str, Any]:
        """JSON-able content: structure, energy, stress (3, 3, ASE sign), moments, history. eV, Angstrom, muB."""
        last = Step.of(self.atoms)
        return {
            "species": self.atoms.get_chemical_symbols(),
            "lattice": self.atoms.cell.array.tolist(),
            "fractional": self.atoms.get_scaled_positions(wrap=False).tolist(),
            "magmoms_in": self.atoms.get_initial_magnetic_moments().tolist(),
            "magmoms_out": _moments(self.atoms),
            "energy_per_atom": last.energy,
            "volume_per_atom": last.volume,
            "fmax": last.fmax,
            "stress": self.atoms.get_stress(voigt=False).tolist(),
            "largest_stress": last.largest_stress,
            "calculations": len(self.history) + len(self.dropped),
            "dropped": self.dropped,
            "history": [asdict(step) for step in self.history],
            "eos": None if self.eos is None else asdict(self.eos),
        }


def find_equilibrium(
    atoms: Atoms, calculator: Calculator, method: ScanOptions | RelaxOptions, watch: Watch = lambda fraction, text: None
) -> Equilibrium:
    """Scan or relax a copy of ``atoms``, whose initial moments (muB) set the ordering of every calculation.

    Raises StructureError where the scanned range misses the minimum, the relaxation does not converge in its steps, or
    a moment left the ordering; whatever the calculator raises goes through.
    """
    work = atoms.copy()
    work.calc = calculator
    found = _scan(work, method, watch) if isinstance(method, ScanOptions) else _relax(work, calculator, method, watch)
    flipped = _flipped(found.atoms)
    if flipped:
        raise StructureError(
            f"moments of sites {', '.join(map(str, flipped))} left the ordering asked for; "
            "it is not stable here: prepare the lattice in other orderings, or give it"
        )
    return found


def _scan(atoms: Atoms, options: ScanOptions, watch: Watch) -> Equilibrium:
    cell, volume = atoms.cell.array.copy(), atoms.get_volume() / len(atoms)
    history, rejected = [], {}
    ratios = np.linspace(*options.ratios, options.points)
    for number, ratio in enumerate(ratios):
        watch(number / (options.points + 1), f"volume {number + 1} of {options.points}")
        atoms.set_cell(cell * np.cbrt(ratio), scale_atoms=True)
        try:
            history.append(Step.of(atoms))
        except RejectedError as error:
            rejected[number] = error
    if rejected:
        _check_ends(ratios, rejected)
    eos = fit_equation_of_state([s.volume for s in history], [s.energy for s in history], volume)
    atoms.set_cell(cell * np.cbrt(eos.volume / volume), scale_atoms=True)
    return Equilibrium(atoms, [*history, Step.of(atoms)], eos, [float(ratios[number]) for number in rejected])


def _check_ends(ratios: FloatArray, rejected: dict[int, RejectedError]) -> None:
    """A scan can do without volumes at its ends, far from the minimum, where enough are left between them."""
    kept = [number for number in range(len(ratios)) if number not in rejected]
    first = next(iter(rejected.values()))
    if kept and kept[-1] - kept[0] >= len(kept):
        raise first  # one in the middle: the energies around it may be of two states
    if len(kept) < MIN_POINTS:
        raise StructureError(
            f"scan: {len(rejected)} of {len(ratios)} volumes have no accepted label, too few are left for a fit; "
            f"write ratios: {_nearer(ratios, kept)}. The first of them: {first}"
        )


def _nearer(ratios: FloatArray, kept: list[int]) -> str:
    """The range to try where volumes at an end of ``ratios`` are too far off, away from that end."""
    low, high = float(ratios[0]), float(ratios[-1])
    if not kept:
        return "[0.94, 1.14]"
    below, above = kept[0] > 0, kept[-1] < len(ratios) - 1
    if below and above:
        return f"[{ratios[kept[0]]:.2f}, {ratios[kept[-1]]:.2f}]"
    return _moved(low, high, below=above)


def fit_equation_of_state(volumes: list[float], energies: list[float], reference: float) -> EquationOfState:
    """Third-order Birch-Murnaghan fit (Birch, Phys. Rev. 71, 809 (1947); pymatgen's) of at least five points.

    Angstrom^3/atom and eV/atom; ``reference``: volume that the ratios in messages refer to. Raises StructureError
    where the minimum is not inside the range, naming a range that is likely to hold it, or the fit fails, or leaves
    more than MAX_RESIDUAL.
    """
    from pymatgen.analysis.eos import EOS, EOSError

    order = np.argsort(volumes)
    v, e = np.array(volumes)[order], np.array(energies)[order]
    lowest = int(np.argmin(e))
    if lowest in (0, len(v) - 1):
        raise StructureError(_missed(v / reference, lowest == 0))
    try:
        fit = EOS("birch_murnaghan").fit(v, e - e[lowest])
    except EOSError as error:
        raise StructureError(
            f"scan: the equation of state cannot be fitted ({error}); take more points or a range around the minimum"
        ) from None
    if not (v[0] < fit.v0 < v[-1] and fit.b0 > 0):
        raise StructureError(_missed(v / reference, fit.v0 < v[lowest]))
    residual = float(np.sqrt(np.mean((fit.func(v) - (e - e[lowest])) ** 2)))
    if residual > MAX_RESIDUAL:
        raise StructureError(
            f"scan: the energies scatter by {1000 * residual:.2g} meV/atom about the equation of state, at most "
            f"{1000 * MAX_RESIDUAL:g} can be fitted; raise the engine's cutoff, or scan a smaller range"
        )
    return EquationOfState(float(fit.v0), float(fit.e0 + e[lowest]), float(fit.b0_GPa), float(fit.b1), residual)


def _missed(ratios: FloatArray, below: bool) -> str:
    return (
        f"scan: the minimum of the energy is not inside V/V0 = {ratios[0]:.3g} to {ratios[-1]:.3g}, it lies "
        f"{'below' if below else 'above'}; write ratios: {_moved(float(ratios[0]), float(ratios[-1]), below)}"
    )


def _moved(low: float, high: float, below: bool) -> str:
    """A wider range, most of it below or above the given one."""
    width = high - low
    low, high = (low - 0.75 * width, high - 0.5 * width) if below else (low + 0.5 * width, high + 0.75 * width)
    return f"[{max(0.5, low):.2f}, {min(2.0, high):.2f}]"


def _relax(atoms: Atoms, calculator: Calculator, options: RelaxOptions, watch: Watch) -> Equilibrium:
    from spinmultinet.relax import relax

    history: list[Step] = []

    def note(now: Atoms) -> None:
        history.append(Step.of(now))
        done = len(history) / max(TYPICAL_STEPS, len(history) + 1)
        watch(done, f"step {len(history)}, force {history[-1].fmax:.4f}, stress {history[-1].largest_stress:.5f}")

    if options.moves != "all":
        atoms.set_constraint(FixAtoms(range(len(atoms))))
    result = relax(
        atoms,
        calculator,
        fmax=options.fmax,
        steps=options.steps,
        relax_cell="volume" if options.moves == "volume" else True,
        carry="fixed",  # one energy surface: every step starts from the same moments
        watch=note,
    )
    if not result.converged:
        raise StructureError(
            f"relax: not converged to {options.fmax:g} eV/Angstrom after {options.steps} steps (largest force "
            f"{history[-1].fmax:.4f} eV/Angstrom, stress {history[-1].largest_stress:.5f} eV/Angstrom^3); "
            "raise steps or fmax"
        )
    result.atoms.set_constraint()
    return Equilibrium(result.atoms, history)


def _moments(atoms: Atoms) -> list[float] | None:
    assert atoms.calc is not None
    found = atoms.calc.results.get("magmoms")
    return None if found is None else np.asarray(found, dtype=float).tolist()


def _flipped(atoms: Atoms) -> list[int]:
    from spinmultinet.relax import flipped_sites

    found = _moments(atoms)
    return [] if found is None else flipped_sites(atoms.get_initial_magnetic_moments(), np.array(found))
