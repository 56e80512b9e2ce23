"""What energies say about the orderings of a cell: ranking, ground state, exchange constants. Any ASE calculator.

The orderings come from :mod:`workflows.structures`, the energies from a calculator that takes initial moments, the
algorithms from :mod:`spinmultinet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray
from pymatgen.core import Structure

from datastore.schema import SpinConfig, content_hash
from spinmultinet.anneal import AnnealOptions, AnnealResult, anneal
from spinmultinet.heisenberg import ExchangeFit, exchange_shells, fit_exchange
from spinmultinet.many import States, states_of
from spinmultinet.relax import flipped_sites, relax
from workflows.finished import Finished
from workflows.structures import StructureError, fitting_orderings, ordered_structures
from workflows.structures.arrange import SpinSites
from workflows.structures.identity import canonical
from workflows.structures.naming import recognised_ordering

FloatArray = NDArray[np.float64]
Tell = Callable[[float], None]
"""Receives the share that is done, 0 to 1."""

TOGETHER = 16
"""Orderings per call of a calculator, so that progress is seen."""

ALL = ({"kind": "enumerate"},)


@dataclass(frozen=True)
class RelaxSettings:
    """How each ordering is relaxed: largest force (eV/Angstrom), steps, whether the cell moves."""

    fmax: float = 0.005
    steps: int = 300
    cell: bool = True


def ordered_atoms(
    structure: Structure, orderings: Sequence[Any] = ALL, magmoms: Mapping[str, float] | None = None
) -> list[tuple[str, Atoms]]:
    """Names and atoms with initial moments (muB), one per collinear ordering; arguments as in a campaign.

    StructureError where an ordering is not collinear or does not fit.
    """
    found = []
    for name, ordered in ordered_structures(structure, orderings, magmoms):
        moments = np.array(ordered.site_properties["magmom"], dtype=float)
        if moments.ndim > 1:
            raise StructureError(f"{name} is not collinear; this takes collinear orderings")
        found.append((name, atoms_of(structure, moments)))
    return found


def atoms_of(structure: Structure, moments: FloatArray) -> Atoms:
    """ASE atoms in the same order with initial moments (N,) in muB."""
    symbols = [site.specie.symbol for site in structure]
    atoms = Atoms(symbols, positions=structure.cart_coords, cell=structure.lattice.matrix, pbc=True)
    atoms.set_initial_magnetic_moments(moments)
    return atoms


def name_of_moments(atoms: Atoms, moments: FloatArray) -> str:
    """Name of the ordering of moments (N,) in muB, such as AFM-II or FiM[+-++]."""
    config = SpinConfig(
        species=atoms.get_chemical_symbols(),
        lattice=atoms.cell.array,
        positions=atoms.positions,
        magmoms_in=moments,
        ordering="",
    )
    return recognised_ordering(config)


def rank_orderings(
    candidates: Sequence[tuple[str, Atoms]],
    calculator: Calculator,
    relaxation: RelaxSettings | None = None,
    finished: Finished | None = None,
    tell: Tell | None = None,
) -> list[dict[str, Any]]:
    """Orderings of one cell, lowest energy first; each relaxed where ``relaxation`` says how.

    A row: ordering, ordering_found (of the predicted moments), energy (eV), energy_per_atom, above and above_spread
    (meV/atom over the lowest, and the spread of that difference over a committee), net_moment (predicted, muB per
    cell), flipped (sites), converged, steps, atoms (with initial moments; predicted ones as ``magmom_out``). What is
    in ``finished`` is not computed again.
    """
    finished = Finished(None) if finished is None else finished
    keys = [_key(atoms, relaxation) for _, atoms in candidates]
    open_ones = [k for k, key in enumerate(keys) if key not in finished]
    size = 1 if relaxation else TOGETHER
    for start in range(0, len(open_ones), size):
        part = open_ones[start : start + size]
        atoms = [candidates[k][1] for k in part]
        rows = [_relaxed(atoms[0], calculator, relaxation)] if relaxation else _computed(atoms, calculator)
        for k, row in zip(part, rows, strict=True):
            finished.add(keys[k], row)
        if tell is not None:
            tell((len(candidates) - len(open_ones) + start + len(part)) / len(candidates))
    rows = [_described(name, atoms, finished[key]) for (name, atoms), key in zip(candidates, keys, strict=True)]
    return _ranked(rows, np.array([finished[key]["energies"] for key in keys]).T)


def _key(atoms: Atoms, relaxation: RelaxSettings | None) -> str:
    geometry = canonical(atoms.get_chemical_symbols(), atoms.cell.array, atoms.positions)
    moments = np.round(atoms.get_initial_magnetic_moments(), 8).tolist()
    return content_hash([geometry, moments, None if relaxation is None else vars(relaxation)])


def _computed(frames: Sequence[Atoms], calculator: Calculator) -> list[dict[str, Any]]:
    """Orderings of one geometry as they are; they share their neighbours."""
    states = states_of(calculator, frames[0], np.array([a.get_initial_magnetic_moments() for a in frames]))
    return [_row(atoms, states, k, converged=True, steps=0) for k, atoms in enumerate(frames)]


def _relaxed(atoms: Atoms, calculator: Calculator, settings: RelaxSettings) -> dict[str, Any]:
    result = relax(atoms, calculator, fmax=settings.fmax, steps=settings.steps, relax_cell=settings.cell)
    states = states_of(calculator, result.atoms, result.atoms.get_initial_magnetic_moments()[None])
    return _row(result.atoms, states, 0, converged=result.converged, steps=result.steps)


def _row(atoms: Atoms, states: States, state: int, *, converged: bool, steps: int) -> dict[str, Any]:
    moments = atoms.get_initial_magnetic_moments() if states.magmoms is None else states.magmoms[state]
    return {
        "energies": states.energies[:, state].tolist(),
        "cell": atoms.cell.array.tolist(),
        "positions": atoms.positions.tolist(),
        "magmoms_in": atoms.get_initial_magnetic_moments().tolist(),
        "magmoms": moments.tolist(),
        "converged": converged,
        "steps": steps,
    }


def _described(name: str, asked: Atoms, row: Mapping[str, Any]) -> dict[str, Any]:
    atoms = Atoms(asked.get_chemical_symbols(), positions=row["positions"], cell=row["cell"], pbc=True)
    atoms.set_initial_magnetic_moments(row["magmoms_in"])
    moments = np.array(row["magmoms"], dtype=float)
    atoms.set_array("magmom_out", moments)
    initial = asked.get_initial_magnetic_moments()
    kept = name_of_moments(atoms, moments) == name_of_moments(atoms, initial)
    energy = float(np.mean(row["energies"]))
    return {
        "ordering": name,
        "ordering_found": name if kept else name_of_moments(atoms, moments),
        "energy": energy,
        "energy_per_atom": energy / len(atoms),
        "net_moment": abs(float(moments.sum())),
        "flipped": flipped_sites(initial, moments),
        "converged": row["converged"],
        "steps": row["steps"],
        "atoms": atoms,
    }


def _ranked(rows: list[dict[str, Any]], energies: FloatArray) -> list[dict[str, Any]]:
    """Rows by energy, with energies [M, B] of the members for the spread of the differences."""
    states = States(energies, None)
    lowest = int(np.argmin(states.energy))
    spread = states.spread_from(lowest)
    for k, row in enumerate(rows):
        scale = 1e3 / len(row["atoms"])
        row["above"] = float(states.energy[k] - states.energy[lowest]) * scale
        row["above_spread"] = float(spread[k]) * scale
    return sorted(rows, key=lambda row: row["above"])


@dataclass(frozen=True)
class GroundState:
    """The lowest ordering found: its name, atoms (initial moments set), predicted moments (muB), the search.

    ``known``: orderings by propagation vector that fit the cell, as (name, meV/atom above the one found, spread of that
    difference over a committee). A search finds the model's errors too: what it puts far below the known ones, with a
    large spread, is one.
    """

    ordering: str
    atoms: Atoms
    magmoms: FloatArray
    search: AnnealResult
    known: list[tuple[str, float, float]]


def find_ground_state(
    structure: Structure,
    calculator: Calculator,
    options: AnnealOptions,
    magmoms: Mapping[str, float] | None = None,
    **watching: Any,
) -> GroundState:
    """Lowest collinear ordering of a cell by annealing (:func:`spinmultinet.anneal.anneal`; ``watching`` goes there).

    ``magmoms``: magnitudes per element in muB, over the defaults. The energies are those of the given geometry.
    """
    sites = SpinSites.of(structure, magmoms or {}, {})
    magnetic = sites.magnetic
    atoms = atoms_of(structure, sites.collinear(np.ones(len(magnetic), dtype=np.int64)))
    found = anneal(
        lambda moments: states_of(calculator, atoms, moments).energy,
        atoms.get_initial_magnetic_moments(),
        magnetic.tolist(),
        options,
        **watching,
    )
    atoms.set_initial_magnetic_moments(found.moments)
    named = _known_orderings(structure, magmoms)
    states = states_of(calculator, atoms, np.array([found.moments, *(moments for _, moments in named)]))
    above, spread = (1e3 / len(atoms) * x for x in (states.energy - states.energy[0], states.spread_from(0)))
    known = [(name, float(above[k + 1]), float(spread[k + 1])) for k, (name, _) in enumerate(named)]
    moments = found.moments if states.magmoms is None else states.magmoms[0]
    return GroundState(name_of_moments(atoms, found.moments), atoms, moments, found, known)


def _known_orderings(structure: Structure, magmoms: Mapping[str, float] | None) -> list[tuple[str, FloatArray]]:
    """Names and moments of FM and, in a rocksalt oxide, of the antiferromagnets that fit."""
    fitting = fitting_orderings(structure) if "grid_vectors" in structure.properties else ["FM"]
    named = ordered_atoms(structure, fitting, magmoms)
    return [(name, atoms.get_initial_magnetic_moments()) for name, atoms in named]


@dataclass(frozen=True)
class Exchange:
    """Fit to the mean energies, constants [S] of each committee member [M, S] (eV), orderings used and left out.

    Left out are orderings whose predicted moments flipped or vanished: their energy is another state's.
    """

    fit: ExchangeFit
    members: FloatArray
    used: list[str]
    left_out: list[str]


def exchange_constants(
    candidates: Sequence[tuple[str, Atoms]], calculator: Calculator, shells: int = 2, tell: Tell | None = None
) -> Exchange:
    """Exchange constants of the first ``shells`` distances, from orderings of one geometry.

    E = E0 - sum over pairs i<j of J_ij e_i.e_j with unit vectors e; see :mod:`spinmultinet.heisenberg`. StructureError
    where less than two orderings keep their moments.
    """
    atoms = candidates[0][1]
    asked = np.array([a.get_initial_magnetic_moments() for _, a in candidates])
    magnetic = np.flatnonzero(np.abs(asked).max(axis=0) > 0)
    found = exchange_shells(atoms, magnetic.tolist(), shells)
    energies, kept = [], []
    for part in _parts(asked, tell):
        states = states_of(calculator, atoms, part)
        energies.append(states.energies)
        out = part if states.magmoms is None else states.magmoms
        kept += [_kept(m[magnetic], n[magnetic]) for m, n in zip(part, out, strict=True)]
    if sum(kept) < 2:
        raise StructureError(
            f"{len(kept)} orderings, of which {sum(kept)} keep the signs asked for: exchange constants need two or "
            "more. Give a larger supercell, or a model that holds more orderings"
        )
    together = np.concatenate(energies, axis=1)[:, kept]
    moments = asked[kept][:, magnetic]
    names = [name for name, _ in candidates]
    return Exchange(
        fit_exchange(found, moments, together.mean(0)),
        np.array([fit_exchange(found, moments, member).constants for member in together]),
        [name for name, k in zip(names, kept, strict=True) if k],
        [name for name, k in zip(names, kept, strict=True) if not k],
    )


def _parts(moments: FloatArray, tell: Tell | None) -> Iterator[FloatArray]:
    for start in range(0, len(moments), TOGETHER):
        yield moments[start : start + TOGETHER]
        if tell is not None:
            tell(min(1.0, (start + TOGETHER) / len(moments)))


def _kept(asked: FloatArray, found: FloatArray) -> bool:
    """Whether moments (n,) of the magnetic sites have the signs asked for, and are there."""
    return not flipped_sites(asked, found) and bool(np.all(np.abs(found) > 0.1 * np.abs(asked)))
