"""ASE Atoms -> tensors: reading labels and moments, neighbour lists, batches, statistics of a training set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
import vesin
from ase import Atoms
from ase.data import atomic_numbers
from torch import Tensor

from . import keys
from .errors import SpinMultiNetError
from .levels import refuse_sets

# Total energy of a neutral atom in the Thomas-Fermi model, -0.7687 Z^(7/3) hartree (Lieb, Rev. Mod. Phys. 53, 603), in
# eV: an upper estimate of what an all-electron calculation gives, while pseudopotentials give far less.
_THOMAS_FERMI = 0.7687 * 27.2114

# eV/atom between structures of one composition; a crystal that breaks into atoms changes by less than ten.
_ENERGY_SPAN = 20.0
_COINCIDENT = 0.01  # Angstrom; closer atoms are one atom written twice

# Largest sizes that calculations of solids reach: 2 eV/Angstrom^3 are 320 GPa, and no atom has more than 15 muB.
_PLAUSIBLE = (
    ("forces", 200.0, "eV/Angstrom", ""),
    ("stress", 2.0, "eV/Angstrom^3", " (1 GPa = 0.00624151 eV/Angstrom^3)"),
    ("moments", 15.0, "muB", ""),
)


@dataclass(frozen=True)
class Graph:
    """One structure, or several side by side. Fields as in `keys.FIELDS`; labels that are absent are NaN.

    E = directed neighbour pairs; `shift` [E, 3] (Angstrom) is added to position[sender] - position[receiver]. `reverse`
    [E] is the index of the same pair in the other direction, or its own index where that is not known.
    """

    species: Tensor
    positions: Tensor
    moments: Tensor
    structure: Tensor
    receiver: Tensor
    sender: Tensor
    shift: Tensor
    reverse: Tensor
    n_atoms: Tensor
    volume: Tensor
    energy: Tensor
    forces: Tensor
    stress: Tensor
    moments_out: Tensor
    magnetic_forces: Tensor

    def edge_vectors(self) -> Tensor:
        """r_ij = r_j - r_i + shift [E, 3] (Angstrom, float64), from receiver i to sender j."""
        return self.positions[self.sender] - self.positions[self.receiver] + self.shift

    def to(self, device: torch.device | str) -> Graph:
        """The same on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def input_moments(atoms: Atoms, where: str = "structure", required: bool = True) -> np.ndarray:
    """Input moments in muB, [N] or [N, 3]: array `magmom_in`, else ASE's initial moments if really set.

    Raises SpinMultiNetError if neither is there (zeros instead if not `required`) or a value is not finite.
    """
    if atoms.has(keys.MAGMOM_IN):
        moments = np.asarray(atoms.get_array(keys.MAGMOM_IN), dtype=float)
    elif atoms.has("initial_magmoms"):
        moments = np.asarray(atoms.get_initial_magnetic_moments(), dtype=float)
    elif not required:
        return np.zeros(len(atoms))
    else:
        raise SpinMultiNetError(
            f"{where}: no input moments; set the array '{keys.MAGMOM_IN}' or atoms.set_initial_magnetic_moments(...) "
            "(zeros too must be given explicitly)"
        )
    if not np.all(np.isfinite(moments)):
        bad = np.flatnonzero(~np.isfinite(moments).reshape(len(atoms), -1).all(axis=1))
        raise SpinMultiNetError(f"{where}: input moment of atom {bad[0]} is not finite; give every atom a value in muB")
    return moments


def with_axes(moments: np.ndarray, spin_axes: int, where: str) -> np.ndarray:
    """Moments as [N, spin_axes]; signed scalars become vectors along z.

    Raises SpinMultiNetError for vectors where collinear moments, signed scalars, are wanted.
    """
    moments = moments.reshape(len(moments), -1)
    if moments.shape[1] == spin_axes:
        return moments
    if moments.shape[1] not in (1, 3):
        raise SpinMultiNetError(
            f"{where}: values per atom have shape {moments.shape}; expected one signed value or three components"
        )
    if moments.shape[1] == 1:
        return np.concatenate([np.zeros((len(moments), 2)), moments], axis=1)
    raise SpinMultiNetError(
        f"{where}: moments have shape {moments.shape}, but collinear ones (one signed value per atom) are wanted here; "
        "project the moments on an axis"
    )


def labels(atoms: Atoms, spin_axes: int, where: str) -> dict[str, np.ndarray]:
    """Labels of a structure, NaN where absent, under the names and in the units of `keys.FIELDS`.

    energy [1] (free energy if present), forces [N, 3], stress [1, 3, 3], moments_out and magnetic_forces [N, axes].
    Raises SpinMultiNetError for wrong shapes and for energies that cannot be in eV.
    """
    n = len(atoms)
    found = _found(atoms)
    energy = found.get("free_energy", found.get("energy"))
    out = {
        "energy": np.array([np.nan if energy is None else float(energy)]),
        "forces": np.asarray(found.get("forces", np.full((n, 3), np.nan)), dtype=float),
        "stress": _full_stress(found.get("stress"), where)[None],
    }
    out["moments_out"] = label_moments(atoms, spin_axes, where)
    out["magnetic_forces"] = _per_site(
        found.get(keys.MAGNETIC_FORCES), n, spin_axes, f"{where}, {keys.MAGNETIC_FORCES}"
    )
    _check_energy(float(out["energy"][0]), atoms, where)
    if out["forces"].shape != (n, 3):
        raise SpinMultiNetError(f"{where}: forces have shape {out['forces'].shape}; expected ({n}, 3) in eV/Angstrom")
    return out


def label_moments(atoms: Atoms, spin_axes: int, where: str) -> np.ndarray:
    """Converged moments [N, spin_axes] (muB) of a label, NaN where absent. Raises SpinMultiNetError as `with_axes`."""
    found = _found(atoms)
    return _per_site(found.get(keys.MAGMOM_OUT, found.get("magmoms")), len(atoms), spin_axes, where)


def _found(atoms: Atoms) -> dict[str, Any]:
    # ASE >= 3.23 moves what it knows from extended XYZ into the calculator's results; other writers leave it in place.
    return {**atoms.info, **atoms.arrays, **(atoms.calc.results if atoms.calc is not None else {})}


def _per_site(values: object, n: int, spin_axes: int, where: str) -> np.ndarray:
    if values is None:
        return np.full((n, spin_axes), np.nan)
    return with_axes(np.asarray(values, dtype=float), spin_axes, where)


def _check_energy(energy: float, atoms: Atoms, where: str) -> None:
    """Refuse energies beyond what the electrons of these atoms can bind, twice over: their unit is not eV."""
    bound = _THOMAS_FERMI * float((np.maximum(atoms.numbers, 1) ** (7 / 3)).sum())
    if abs(energy) > 2 * bound:
        raise SpinMultiNetError(
            f"{where}: energy {energy:.4g} eV for {atoms.get_chemical_formula()}, whose electrons bind about "
            f"{bound:.2g} eV in all; energies must be total energies in eV: convert them"
        )


def _full_stress(stress: object, where: str) -> np.ndarray:
    if stress is None:
        return np.full((3, 3), np.nan)
    s = np.asarray(stress, dtype=float)
    if s.shape == (6,):
        return s[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    if s.size == 9:
        return s.reshape(3, 3)
    raise SpinMultiNetError(
        f"{where}: stress has shape {s.shape}; expected 6 (Voigt, ASE order) or 3x3 in eV/Angstrom^3"
    )


def name_of(atoms: Atoms, index: int) -> str:
    """How to call a structure in a message: its number and its identifier if it has one."""
    label = atoms.info.get(keys.CONFIG_ID) or atoms.info.get("name")
    return f"structure {index}" + (f" ({label})" if label else "")


def species_of(frames: Iterable[Atoms]) -> list[str]:
    """Chemical symbols in order of atomic number."""
    return sorted({s for a in frames for s in a.get_chemical_symbols()}, key=lambda s: atomic_numbers[s])


def to_graph(
    atoms: Atoms,
    species: Sequence[str],
    cutoff: float,
    spin_axes: int = 1,
    *,
    where: str = "structure",
    need_moments: bool = True,
    labelled: bool = True,
) -> Graph:
    """One structure with its neighbour list (vesin; self-images included) and labels, in float64.

    Labels are neither read nor checked unless `labelled`: they are no input of a prediction.
    Raises SpinMultiNetError for unknown species, missing or non-finite moments or positions, moments of the wrong kind.
    """
    index = {s: k for k, s in enumerate(species)}
    unknown = sorted(set(atoms.get_chemical_symbols()) - set(index))
    if unknown:
        raise SpinMultiNetError(
            f"{where}: species {', '.join(unknown)} unknown to the model, which knows {', '.join(species)}"
        )
    if len(atoms) == 0 or not np.all(np.isfinite(atoms.positions)):
        raise SpinMultiNetError(f"{where}: it has no atoms, or positions that are not finite")
    moments = with_axes(input_moments(atoms, where, need_moments), spin_axes, where)
    i, j, shift, reverse = neighbours(atoms, cutoff, where)
    volume = atoms.cell.volume if all(atoms.pbc) else np.nan
    found = labels(atoms if labelled else Atoms(numbers=atoms.numbers), spin_axes, where)
    t = torch.as_tensor
    return Graph(
        species=t([index[s] for s in atoms.get_chemical_symbols()]),
        positions=t(atoms.positions.copy()),
        moments=t(moments.copy()),
        structure=torch.zeros(len(atoms), dtype=torch.long),
        receiver=t(i),
        sender=t(j),
        shift=t(shift),
        reverse=t(reverse),
        n_atoms=t([len(atoms)]),
        volume=t([volume], dtype=torch.float64),
        **{name: t(value) for name, value in found.items()},
    )


def neighbours(
    atoms: Atoms, cutoff: float, where: str = "structure"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All directed pairs closer than `cutoff`: receiver [E], sender [E], shift [E, 3] (Angstrom), reverse pair [E].

    Raises SpinMultiNetError for a missing cell vector and for two atoms in one place: their pair has no direction.
    """
    if atoms.pbc.any() and not np.all(np.linalg.norm(atoms.cell[atoms.pbc], axis=1) > 0):
        raise SpinMultiNetError(
            f"{where}: periodic along a direction without a cell vector; set the cell, or pbc=False there"
        )
    cell = atoms.cell.complete().array
    search = vesin.NeighborList(cutoff=float(cutoff), full_list=True)
    i, j, s, d = search.compute(atoms.positions, cell, [bool(p) for p in atoms.pbc], quantities="ijSd")
    if len(d) and d.min() < _COINCIDENT:
        first = int(d.argmin())
        raise SpinMultiNetError(
            f"{where}: atoms {i[first]} and {j[first]} (counted from 0) are {d[first]:.2g} Angstrom apart; check the "
            "positions and the cell"
        )
    # A fixed order makes sums, and with them training, reproducible bit for bit.
    order = np.lexsort((s[:, 2], s[:, 1], s[:, 0], j, i))
    i, j, s = i[order].astype(np.int64), j[order].astype(np.int64), s[order]
    return i, j, s.astype(float) @ cell, _reversed(i, j, s)


def _reversed(i: np.ndarray, j: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Index of the pair (j, i, -s) of each pair (i, j, s); the pairs are sorted by i, j, s."""
    reverse = np.empty(len(i), dtype=np.int64)
    reverse[np.lexsort((-s[:, 2], -s[:, 1], -s[:, 0], i, j))] = np.arange(len(i))
    # At the cutoff rounding may have left one direction out; its neighbours in the list are then wrong too.
    found = (i[reverse] == j) & (j[reverse] == i) & np.all(s[reverse] == -s, axis=1)
    return reverse if found.all() else np.arange(len(i))


def collate(graphs: Sequence[Graph]) -> Graph:
    """Several graphs as one, indices shifted."""
    if len(graphs) == 1:
        return graphs[0]
    atoms = accumulate((len(g.species) for g in graphs), initial=0)
    pairs = accumulate((len(g.reverse) for g in graphs), initial=0)
    moved = [
        replace(g, receiver=g.receiver + n, sender=g.sender + n, reverse=g.reverse + e, structure=g.structure + k)
        for k, (g, n, e) in enumerate(zip(graphs, atoms, pairs, strict=False))
    ]
    return Graph(**{f.name: torch.cat([getattr(g, f.name) for g in moved]) for f in fields(Graph)})


def batches(graphs: Sequence[Graph], order: Sequence[int], structures: int, edges: int) -> Iterator[list[int]]:
    """Indices in the given order, cut where either budget is full; a structure over the edge budget goes alone.

    Scalar and vector moments do not share a batch.
    """
    batch: list[int] = []
    used = 0
    count = pair_counter(graphs)
    for k in order:
        n = count(k)
        other_axes = bool(batch) and graphs[k].moments.shape[1] != graphs[batch[0]].moments.shape[1]
        if batch and (len(batch) >= structures or used + n > edges or other_axes):
            yield batch
            batch, used = [], 0
        batch.append(k)
        used += n
    if batch:
        yield batch


def pair_counter(graphs: Sequence[Graph]) -> Callable[[int], int]:
    """What gives the number of neighbour pairs of structure k; graphs on disk know it without being read."""
    known: Callable[[int], int] | None = getattr(graphs, "n_pairs", None)
    return known or (lambda k: len(graphs[k].receiver))


def one_value(frames: Sequence[Atoms], key: str, default: str, what: str) -> str:
    """The value all frames share for an info key. Raises SpinMultiNetError if they differ: never mix such data."""
    values = {str(a.info.get(key, default)) for a in frames}
    if len(values) > 1:
        raise SpinMultiNetError(
            f"{what} mixes {key} {', '.join(sorted(repr(v) for v in values))}; such labels are not comparable: "
            "select one of them"
        )
    return values.pop() if values else default


def check_training_set(train: Sequence[Atoms], val: Sequence[Atoms]) -> dict[str, str]:
    """Level of theory and role of the moments shared by all frames. Raises SpinMultiNetError if mixed or empty."""
    if not train:
        raise SpinMultiNetError("the training set is empty; give at least one labelled structure")
    frames = [*train, *val]
    refuse_sets(frames, "the training set")
    role = one_value(frames, keys.MOMENT_ROLE, keys.GUESS, "the training set")
    if role not in keys.MOMENT_ROLES:
        raise SpinMultiNetError(f"{keys.MOMENT_ROLE} '{role}' is neither {' nor '.join(keys.MOMENT_ROLES)}")
    _refuse_magnetic_forces_of_guesses(frames, role)
    missing = [name_of(a, k) for k, a in enumerate(frames) if not np.isfinite(labels(a, 3, name_of(a, k))["energy"][0])]
    if missing:
        raise SpinMultiNetError(
            f"training set: {missing[0]} has no finite energy ({len(missing)} in all); label or remove it"
        )
    return {
        keys.LEVEL_ID: one_value(frames, keys.LEVEL_ID, "unknown", "the training set"),
        keys.LEVEL_TEXT: str(train[0].info.get(keys.LEVEL_TEXT, train[0].info.get("functional", "unknown"))),
        keys.MOMENT_ROLE: role,
    }


def _refuse_magnetic_forces_of_guesses(frames: Sequence[Atoms], role: str) -> None:
    found = [k for k, a in enumerate(frames) if keys.MAGNETIC_FORCES in a.arrays]
    if found and role != keys.CONSTRAINT:
        raise SpinMultiNetError(
            f"training set: {name_of(frames[found[0]], found[0])} has {keys.MAGNETIC_FORCES} ({len(found)} in all), "
            f"but its {keys.MOMENT_ROLE} is '{role}': -dE/dm exists for constrained moments only. If they were held, "
            f"set atoms.info['{keys.MOMENT_ROLE}'] = '{keys.CONSTRAINT}' in every frame; else remove the array"
        )


def unit_doubts(frames: Sequence[Atoms], labelled: bool = True) -> list[str]:
    """Numbers whose size suggests another unit, one line per kind; a plausible size is no proof of the right unit.

    Input moments, and labels if `labelled`.
    """
    notes = []
    for name, limit, unit, other in _PLAUSIBLE if labelled else _PLAUSIBLE[-1:]:
        key = keys.MAGMOM_IN if name == "moments" else name
        values = [_largest(a, key) for a in frames]
        beyond = [k for k, v in enumerate(values) if v > limit]
        if beyond:
            first = beyond[0]
            notes.append(
                f"{name} of {name_of(frames[first], first)} reach {values[first]:.3g}, and {len(beyond)} of "
                f"{len(frames)} structures exceed {limit:g}; the unit must be {unit}{other}"
            )
    return [*notes, *(_energy_doubts(frames) if labelled else [])]


def _energy_doubts(frames: Sequence[Atoms]) -> list[str]:
    """A line if energies of one composition lie further apart than structures of it can."""
    spans: dict[str, list[float]] = {}
    for k, atoms in enumerate(frames):
        energy = labels(atoms, 3, name_of(atoms, k))["energy"][0] / len(atoms)
        if np.isfinite(energy):
            spans.setdefault(atoms.get_chemical_formula(empirical=True), []).append(float(energy))
    widest = max(spans, key=lambda formula: np.ptp(spans[formula]), default="")
    if not widest or np.ptp(spans[widest]) <= _ENERGY_SPAN:
        return []
    return [
        f"energies of {widest} span {np.ptp(spans[widest]):.3g} eV/atom; they must be total energies in eV, all from "
        "one kind of calculation"
    ]


def _largest(atoms: Atoms, key: str) -> float:
    results = atoms.calc.results if atoms.calc is not None else {}
    value = results.get(key, atoms.arrays.get(key))
    return 0.0 if value is None else float(np.nanmax(np.abs(np.asarray(value, dtype=float)), initial=0.0))


def fingerprint(frames: Iterable[Atoms]) -> str:
    """Hash of everything a training sees of these frames: geometry, species, moments and labels."""
    digest = hashlib.sha256()
    for k, atoms in enumerate(frames):
        moments = input_moments(atoms, name_of(atoms, k), required=False)
        parts = [atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, moments]
        for part in (*parts, *labels(atoms, 3, name_of(atoms, k)).values()):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
