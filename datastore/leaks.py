"""Twins among geometries: the same thing written down twice, which must not be on both sides of a split.

Three steps, each passing on fewer pairs: a tree on :mod:`datastore.fingerprints`, the surroundings of the most unusual
atoms, and the exact comparison of :mod:`datastore.isometry`. A point of 64 atoms takes about 10 kB of memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from datastore.atoms import MAGMOM_IN, read_atoms
from datastore.errors import DataError
from datastore.fingerprints import Geometry, IntArray, reach
from datastore.isometry import PROBES, Crystal, Match, likeness, match
from datastore.schema import FloatArray, SpinConfig

Spins = Literal["equal", "reversed", "different", "not compared"]
Progress = Callable[[int, int], None]

TOLERANCE = 0.01
"""Angstrom, rms. Thermal displacements are ten times that; labels of two such geometries tell a model the same."""

EQUAL = 1e-4
"""Angstrom, rms. Below it the crystals are equal but for rounding."""

SPIN_TOLERANCE = 0.05
"""muB. Input moments that differ by less are equal."""

CHUNK = 256


@dataclass(frozen=True)
class Twin:
    """Two geometries that are one."""

    first: str
    second: str
    rms: float
    """Angstrom, after the best translation, rotation and order of sites."""
    spins: Spins
    """Input moments of the second against the first, on the sites that coincide."""

    @property
    def kind(self) -> str:
        """``equal`` or ``near-duplicate``, and the spins where they were compared."""
        kind = "equal" if self.rms <= EQUAL else f"near-duplicate ({self.rms:.4f} Angstrom)"
        return kind if self.spins == "not compared" else f"{kind}, spins {self.spins}"


@dataclass(frozen=True)
class Leak:
    """Twins on two sides of a split."""

    first: str
    """``SET: GEOMETRY``."""
    second: str
    kind: str
    """See :attr:`Twin.kind`."""


def geometry_of(config: SpinConfig) -> Geometry:
    """The geometry of a configuration or label, named by its config_id."""
    return Geometry(config.config_id, tuple(config.species), config.lattice, config.positions, config.magmoms_in)


def read_geometries(path: str | Path) -> Iterator[Geometry]:
    """Geometries of an extended XYZ file, named ``frame N (config_id)``. Raises DataError where one is not periodic."""
    for number, (atoms, source) in enumerate(read_atoms(path)):
        if not all(atoms.pbc) or abs(np.linalg.det(atoms.cell.array)) < 1e-3:
            raise DataError(
                f"{source}: it is not periodic in three directions, so twins cannot be looked for; remove it"
            )
        name = f"frame {number}" + (f" ({atoms.info['config_id']})" if "config_id" in atoms.info else "")
        moments = atoms.arrays.get(MAGMOM_IN, atoms.arrays.get("initial_magmoms"))
        yield Geometry(name, tuple(atoms.get_chemical_symbols()), atoms.cell.array, atoms.positions, moments)


def find_leaks(
    sets: Mapping[str, Iterable[Geometry]], tolerance: float = TOLERANCE, progress: Progress | None = None
) -> list[Leak]:
    """Twins with one member in one of ``sets`` (name -> geometries) and one in another.

    Geometries that a set holds several times, such as those of several orderings, are compared once.
    """
    chosen: list[Geometry] = []
    across: list[range] = []
    for name, geometries in sets.items():
        distinct: dict[str, Geometry] = {}
        for geometry in geometries:
            distinct.setdefault(geometry.token, replace(geometry, name=f"{name}: {geometry.name}"))
        across.append(range(len(chosen), len(chosen) + len(distinct)))
        chosen += distinct.values()
    return [Leak(t.first, t.second, t.kind) for t in find_twins(chosen, tolerance, across, progress)]


def find_twins(
    geometries: Iterable[Geometry],
    tolerance: float = TOLERANCE,
    across: Collection[Collection[int]] | None = None,
    progress: Progress | None = None,
) -> Iterator[Twin]:
    """Pairs of geometries that are the same within ``tolerance`` (Angstrom, rms; see :func:`datastore.isometry.match`).

    ``across``: sets of indices; only pairs with members in two of them are looked for. ``progress`` receives how many
    geometries of all were compared. Every pair that differs by random displacements within the tolerance is found;
    where a single atom carries nearly all of it the pair may be missed.
    """
    crystals = [Crystal(geometry) for geometry in geometries]
    side = _sides(len(crystals), across)
    buckets: defaultdict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for index, crystal in enumerate(crystals):
        buckets[crystal.geometry.composition].append(index)
    done = 0
    for members in buckets.values():
        for index, others in _near(crystals, np.array(members), tolerance):
            chosen = others[side[others] != side[index]]
            for other in _alike(crystals, index, chosen, tolerance):
                found = match(crystals[index], crystals[other], tolerance)
                if found is not None:
                    yield _twin(crystals[index].geometry, crystals[other].geometry, found)
            done += 1
            if progress is not None:
                progress(done, len(crystals))


def _sides(number: int, across: Collection[Collection[int]] | None) -> IntArray:
    """(number,) which set an index belongs to; all different where every pair counts."""
    if across is None:
        return np.arange(number)
    side = np.full(number, -1)
    for k, members in enumerate(across):
        side[list(members)] = k
    return side


def _near(crystals: list[Crystal], members: IntArray, tolerance: float) -> Iterator[tuple[int, IntArray]]:
    """Each member with the later ones whose fingerprints are near."""
    vectors = np.array([crystals[m].fingerprint for m in members])
    tree = cKDTree(vectors)
    radius = reach(len(crystals[members[0]].elements), tolerance)
    for position, member in enumerate(members):
        found = np.array(tree.query_ball_point(vectors[position], radius), dtype=np.int64)
        yield int(member), np.sort(members[found[found > position]])


def _alike(crystals: list[Crystal], index: int, others: IntArray, tolerance: float) -> list[int]:
    """Those of ``others`` that have atoms with surroundings like the most unusual ones of ``index``."""
    crystal, limit = crystals[index], likeness(len(crystals[index].elements), tolerance)
    shapes: defaultdict[int, list[int]] = defaultdict(list)
    for other in others.tolist():
        shapes[len(crystals[other].order)].append(other)
    kept: list[int] = []
    for same in shapes.values():
        for start in range(0, len(same), CHUNK):
            part = same[start : start + CHUNK]
            stack = np.stack([crystals[other].environments for other in part])
            gaps = _gaps(crystal, crystals[part[0]], stack)
            kept += [other for other, gap in zip(part, np.median(gaps, axis=1), strict=True) if gap <= limit]
    return sorted(kept)


def _gaps(crystal: Crystal, other: Crystal, stack: NDArray[np.float32]) -> FloatArray:
    """(n, PROBES) Angstrom: from the surroundings of each probe to the most similar ones in each of the others."""
    columns = []
    for site in crystal.unusual[:PROBES].tolist():
        element = crystal.blocks.index(crystal.block_of(site))
        difference = stack[:, other.blocks[element]] - crystal.environments[site]
        columns.append(np.einsum("nax,nax->na", difference, difference).min(axis=1))
    return np.asarray(np.sqrt(np.stack(columns, axis=1)))


def _twin(first: Geometry, second: Geometry, found: Match) -> Twin:
    return Twin(first.name, second.name, found.rms, _spins(first, second, found.sites))


def _spins(first: Geometry, second: Geometry, sites: IntArray) -> Spins:
    if first.moments is None or second.moments is None or len(sites) == 0:
        return "not compared"
    if first.moments.shape != second.moments.shape:
        return "different"
    image = second.moments[sites]
    for name, sign in (("equal", 1.0), ("reversed", -1.0)):
        if np.abs(first.moments - sign * image).max() <= SPIN_TOLERANCE:
            return "equal" if name == "equal" else "reversed"
    return "different"
