"""Exchange constants from the energies of several orderings of one geometry.

Convention, everywhere here: E = E0 - sum over pairs i<j of J_ij e_i.e_j with unit vectors e, each pair counted once
(equal to -1/2 times the sum over i != j). J > 0 is ferromagnetic; the lengths of the spins are in J. With spin
operators, H = -sum over pairs of J' S_i.S_j, it is J = J' S^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.neighborlist import neighbor_list

from .errors import SpinMultiNetError

_LARGEST_CUTOFF = 40.0  # Angstrom; a structure whose sites are farther apart has no exchange
_NULL = 1e-6  # relative singular values below this count as zero, and components of null vectors above it do not


@dataclass(frozen=True)
class Shell:
    """Pairs of magnetic sites of the same elements at about the same distance.

    `number` counts distances from 1; `distance` is the mean (Angstrom), `neighbours` the mean number per site of the
    first element; `counts` [n, n] holds how many images of site j site i has there (symmetric).
    """

    number: int
    elements: tuple[str, str]
    distance: float
    neighbours: float
    counts: np.ndarray

    @property
    def name(self) -> str:
        """Such as J2, or J2 Mn-Ni where there is more than one element."""
        return f"J{self.number} {'-'.join(self.elements)}"


@dataclass(frozen=True)
class ExchangeFit:
    """Result of `fit_exchange`.

    `constants` [S] (eV), `errors` [S] (eV, standard errors; NaN where there are no more orderings than unknowns), both
    NaN for shells that these orderings do not determine. `reference` is E0 (eV, NaN unless all shells are determined),
    `rms` the residual (eV per cell), `rank` how many independent combinations of shells `states` orderings determine.
    """

    shells: list[Shell]
    constants: np.ndarray
    errors: np.ndarray
    reference: float
    rms: float
    rank: int
    states: int

    @property
    def resolved(self) -> np.ndarray:
        """[S] whether the orderings determine the constant of the shell."""
        return np.isfinite(self.constants)


def exchange_shells(atoms: Atoms, magnetic: Sequence[int], count: int, tolerance: float = 0.05) -> list[Shell]:
    """The first `count` distances between magnetic sites, periodic images included; one shell per pair of elements.

    Distances (Angstrom) whose sorted neighbours differ by less than `tolerance` belong together. Raises
    SpinMultiNetError where there are fewer.
    """
    sites = atoms[list(magnetic)]
    cutoff = 4.0
    while True:
        i, j, d = neighbor_list("ijd", sites, cutoff)
        order = np.argsort(d, kind="stable")
        i, j, d = i[order], j[order], d[order]
        number = np.concatenate([[0], np.cumsum(np.diff(d) > tolerance)]) if len(d) else np.zeros(0, dtype=int)
        # One distance more than asked for shows that the last one is complete.
        if len(d) and number[-1] >= count:
            break
        cutoff *= 1.3
        if cutoff > _LARGEST_CUTOFF:
            raise SpinMultiNetError(
                f"the {len(sites)} magnetic sites have no {count} different distances within {_LARGEST_CUTOFF:g} "
                "Angstrom; ask for fewer shells"
            )
    symbols = np.array(sites.get_chemical_symbols())
    return [
        shell
        for k in range(count)
        for shell in _by_elements(k + 1, symbols, i[number == k], j[number == k], d[number == k])
    ]


def _by_elements(number: int, symbols: np.ndarray, i: np.ndarray, j: np.ndarray, d: np.ndarray) -> list[Shell]:
    pairs = np.sort(np.stack([symbols[i], symbols[j]]), axis=0)
    shells = []
    for first, second in np.unique(pairs, axis=1).T:
        mine = (pairs[0] == first) & (pairs[1] == second)
        counts = np.zeros((len(symbols), len(symbols)))
        np.add.at(counts, (i[mine], j[mine]), 1.0)
        here = counts[symbols == first].sum(1)
        shells.append(Shell(number, (str(first), str(second)), float(d[mine].mean()), float(here.mean()), counts))
    return shells


def unit_spins(moments: np.ndarray) -> np.ndarray:
    """[B, n, s] unit vectors along moments [B, n] or [B, n, s]. Raises SpinMultiNetError for a moment of zero."""
    vectors = moments[..., None] if moments.ndim == 2 else moments
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not np.all(lengths > 1e-9):
        raise SpinMultiNetError("a magnetic site has a moment of zero in one of the orderings; leave that ordering out")
    return np.asarray(vectors / lengths)


def pair_sums(shells: Sequence[Shell], moments: np.ndarray) -> np.ndarray:
    """[B, S]: sum of e_i.e_j over the pairs of each shell, each pair once; moments [B, n] or [B, n, 3]."""
    e = unit_spins(moments)
    return np.stack([0.5 * np.einsum("bis,ij,bjs->b", e, s.counts, e) for s in shells], axis=1)


def fit_exchange(shells: Sequence[Shell], moments: np.ndarray, energies: np.ndarray) -> ExchangeFit:
    """Least-squares exchange constants from energies [B] (eV) of moments [B, n] (or [B, n, 3]) of the magnetic sites.

    Which shells can be told apart depends on the cell and the orderings (in the smallest cells a pair is always
    parallel to its own image); constants that are not determined are NaN and never guessed. Raises SpinMultiNetError
    for less than two orderings.
    """
    if len(energies) < 2:
        raise SpinMultiNetError(
            f"{len(energies)} ordering gives no exchange constant; give a larger cell or more of them"
        )
    sums = pair_sums(shells, moments)
    x, y = -(sums - sums.mean(0)), energies - energies.mean()
    u, size, vt = np.linalg.svd(x, full_matrices=True)
    largest = size[0] if len(size) and size[0] > 0 else 1.0
    rank = int((size > _NULL * largest).sum())
    resolved = np.abs(vt[rank:]).max(axis=0, initial=0.0) < _NULL
    inverse = vt[:rank].T / size[:rank]
    constants = inverse @ (u[:, :rank].T @ y)
    residual = y - x @ constants
    free = len(energies) - 1 - rank
    variance = float(residual @ residual) / free if free > 0 else np.nan
    return ExchangeFit(
        shells=list(shells),
        constants=np.where(resolved, constants, np.nan),
        errors=np.where(resolved, np.sqrt(variance * (inverse**2).sum(1)), np.nan),
        reference=float(np.mean(energies + sums @ constants)) if resolved.all() else float("nan"),
        rms=float(np.sqrt(np.mean(residual**2))),
        rank=rank,
        states=len(energies),
    )


def mean_field_temperature(shells: Sequence[Shell], constants: np.ndarray, spin: float | None = None) -> float:
    """Ordering temperature (K) in mean field: the largest eigenvalue of J_ij (summed over images) over 3 k_B.

    Classical unit spins; `spin` S adds the quantum factor (S + 1) / S. Only orderings that fit the cell compete. Mean
    field is too high: the measured constants of NiO give 441 K in it and 310 K in classical Monte Carlo
    (arXiv:2504.15764). Raises SpinMultiNetError for constants that are not determined.
    """
    if not np.all(np.isfinite(constants)):
        raise SpinMultiNetError("an exchange constant is not determined, so there is no temperature; use a larger cell")
    total = sum((value * s.counts for s, value in zip(shells, constants, strict=True)), np.zeros_like(shells[0].counts))
    factor = 1.0 if spin is None else (spin + 1) / spin
    return float(np.linalg.eigvalsh(total)[-1] / (3 * units.kB) * factor)
