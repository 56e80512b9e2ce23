"""Which cation sits on which site of a mixed oxide: at random, ordered, as listed, or special quasirandom (SQS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workflows.structures.cells import CELLS, PRIMITIVE, IntArray
from workflows.structures.errors import StructureError

DecorationLike = str | Sequence[str]

RANDOM, SQS = "random", "sqs"

ORDERED: dict[str, tuple[int, tuple[tuple[int, int, int], ...]]] = {
    "L1_0": (2, ((0, 0, 2), (0, 2, 0), (2, 0, 0))),
    "L1_1": (2, ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))),
    "L1_2": (4, ()),
}
"""Name -> (one site in how many is of the scarcer element, stacking vectors in units of pi/a).

L1_0: layers along a cube axis (CuAu). L1_1: layers along a cube diagonal (CuPt), as rocksalt-type ordering of the two
cations. L1_2: corners and faces of the cube (AuCu3). The first vector that fits the cell is used.
"""

SQS_CUTOFFS = (1.6, 0.8)
"""Pairs and triplets up to these lengths in units of a: five shells of pairs, and the nearest triplet."""

SQS_STEPS, SQS_START = 4000, 1.0
"""Trial swaps of the annealing, and its first temperature (no unit): 0.7 s for 32 cations.

Without icet's extra weight on short clusters that match exactly, with which the fourth shell stays at -0.1 to -0.3.
"""

SQS_WORST = 0.15
"""Root mean square departure above which a cell is refused: 4 and 8 cations are off by 0.3 to 0.5, 16 and more by 0.0
to 0.1."""


def check_decoration(decoration: DecorationLike) -> None:
    """StructureError where the decoration is no known name."""
    names = [RANDOM, SQS, *ORDERED]
    if isinstance(decoration, str) and decoration not in names:
        raise StructureError(f"decoration {decoration!r} is unknown; use {', '.join(names)}, or list one cation a site")


def decorate(
    counts: Mapping[str, int], decoration: DecorationLike, grid: IntArray, vectors: IntArray, seed: int
) -> tuple[list[str], dict[str, Any]]:
    """Symbol per cation site, and what there is to say about them (for ``structure.properties``).

    Args:
        counts: atoms per cation.
        decoration: ``random``, ``sqs``, a name in ORDERED, or a symbol per site in the order of ``grid``.
        grid: (n, 3) grid indices of the cation sites, units of a/2.
        vectors: (3, 3) lattice vectors, same units.
        seed: of ``random`` and ``sqs``.

    Raises:
        StructureError: the decoration is unknown, does not fit the cell, or has other counts.
    """
    check_decoration(decoration)
    if not isinstance(decoration, str):
        return _listed(counts, list(decoration)), {}
    if decoration == RANDOM:
        return place_cations(counts, seed), {}
    if len(counts) == 1:
        raise StructureError(
            f"decoration {decoration} is for mixed cations, and {next(iter(counts))} is one; remove it"
        )
    if decoration == SQS:
        return special_quasirandom(counts, grid, vectors, seed)
    return ordered_cations(counts, decoration, grid, vectors), {}


def place_cations(counts: Mapping[str, int], seed: int) -> list[str]:
    """Symbol per cation site, shuffled by ``seed``; a pure oxide draws nothing."""
    symbols = [symbol for symbol in sorted(counts) for _ in range(counts[symbol])]
    if len(counts) == 1:
        return symbols
    permutation = np.random.default_rng(seed).permutation(len(symbols))
    return [symbols[i] for i in permutation]


def ordered_cations(counts: Mapping[str, int], name: str, grid: IntArray, vectors: IntArray) -> list[str]:
    """Symbol per cation site of an ordering in ORDERED; of equally many elements the first in the alphabet starts."""
    share, waves = ORDERED[name]
    scarce, plenty = sorted(sorted(counts), key=counts.__getitem__) if len(counts) == 2 else ("", "")
    if not scarce or share * counts[scarce] != len(grid):
        raise StructureError(
            f"decoration {name} is for two cations, one of them on 1/{share} of the sites, not {dict(counts)}; "
            "change the fractions of species"
        )
    if not _fits(name, vectors):
        fitting = [cell for cell, rows in CELLS.items() if _fits(name, np.array(rows))]
        raise StructureError(
            f"decoration {name} does not fit the cell {vectors.tolist()} (rows in units of a/2); "
            f"use cell {' or '.join(fitting)}, or double the cell along a vector"
        )
    if waves:
        wave = next(np.array(wave) for wave in waves if np.all(vectors @ np.array(wave) % 4 == 0))
        first = (grid @ wave) % 4 < 2
    else:
        first = np.all(grid % 2 == 0, axis=1)
    return [scarce if is_first else plenty for is_first in first]


def _fits(name: str, vectors: IntArray) -> bool:
    waves = ORDERED[name][1]
    if not waves:  # L1_2: every lattice vector is one of the simple cubic lattice
        return bool(np.all(vectors % 2 == 0))
    return any(bool(np.all(vectors @ np.array(wave) % 4 == 0)) for wave in waves)


def special_quasirandom(
    counts: Mapping[str, int], grid: IntArray, vectors: IntArray, seed: int
) -> tuple[list[str], dict[str, Any]]:
    """Symbol per cation site whose correlations are closest to those of the random alloy, by icet's annealing.

    Zunger et al., Phys. Rev. Lett. 65, 353 (1990); van de Walle et al., Calphad 42, 13 (2013). The quality returned is
    the root mean square and the largest departure of the cluster correlations (pairs and triplets within
    SQS_CUTOFFS) from the random alloy, for the result and for the random placement with the same seed.
    """
    from ase import Atoms
    from icet import ClusterSpace
    from icet.tools.structure_generation import _get_sqs_cluster_vector, generate_sqs_from_supercells

    symbols, a = sorted(counts), 4.0  # Angstrom; any length, the problem is one of integers
    primitive = Atoms(symbols[0], positions=[[0, 0, 0]], cell=np.array(PRIMITIVE) * a / 2, pbc=True)
    sites = Atoms(place_cations(counts, seed), positions=grid * a / 2, cell=vectors * a / 2, pbc=True)
    space = ClusterSpace(primitive, [a * cutoff for cutoff in SQS_CUTOFFS], symbols)
    target = {symbol: counts[symbol] / len(grid) for symbol in symbols}
    best = generate_sqs_from_supercells(
        space, [sites], target, T_start=SQS_START, n_steps=SQS_STEPS, optimality_weight=0.0, random_seed=seed
    )
    ideal = _get_sqs_cluster_vector(space, target)
    quality: dict[str, Any] = {"steps": SQS_STEPS, "cutoffs": list(SQS_CUTOFFS)}
    for name, atoms in (("sqs", best), ("random", sites)):
        off = space.get_cluster_vector(atoms)[1:] - ideal[1:]
        quality[name] = {"rms": float(np.sqrt(np.mean(off**2))), "max": float(np.abs(off).max())}
    if quality["sqs"]["rms"] > SQS_WORST:
        raise StructureError(
            f"sqs: the correlations of the best placement found on {len(grid)} cations are off the random alloy's by "
            f"{quality['sqs']['rms']:.2f} (rms); take a larger cell such as conventional_2x2x2, or decoration random"
        )
    return best.get_chemical_symbols(), {"sqs": quality}


def _listed(counts: Mapping[str, int], symbols: list[str]) -> list[str]:
    found = {symbol: symbols.count(symbol) for symbol in sorted(set(symbols))}
    if found != dict(sorted(counts.items())):
        raise StructureError(
            f"decoration lists {found}, but species and cell ask for {dict(sorted(counts.items()))}; "
            "list one symbol per cation"
        )
    return symbols
