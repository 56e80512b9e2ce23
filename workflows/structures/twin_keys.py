"""One key for configurations that are one and the same, wherever they came from.

The twins of :mod:`workflows.structures.twins` are arrangements of a known parent. Candidates of relaxations,
dynamics or files have no parent that they could be compared on, so here atoms are coloured by element and signed
moment, and :mod:`datastore.leaks` looks for equal coloured crystals: up to translation, rotation, reflection, order of
sites, choice of the lattice vectors, and reversal of all moments (each crystal is looked for in both colourings).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from datastore.fingerprints import Geometry
from datastore.isometry import Crystal
from datastore.leaks import SPIN_TOLERANCE, find_twins
from datastore.schema import SpinConfig
from workflows.structures.equivalence import isometry
from workflows.structures.symmetry import FloatArray
from workflows.structures.twins import along_axis

TOLERANCE = 1e-3
"""Angstrom, rms. Two labels of geometries that are closer tell a model the same; numerical noise is a tenth of it."""

LETTERS = "abcdfghijklmnopq"
"""Of the names of colours; without e, as Xe is an element."""

Progress = Callable[[int, int], None]


def twin_keys(
    configs: Sequence[SpinConfig],
    labelled: Collection[int] = (),
    spin_orbit: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """A key per configuration, equal for twins: the config_id of one of them, of a labelled one where there is one.

    Geometries are equal within 1e-3 Angstrom (rms), moments within 0.05 muB. Without ``spin_orbit`` collinear vectors
    are the same along any axis, and others where their scalar products are. Of non-collinear twins, only those are
    found that the first isometry of the two geometries takes to one another. ``labelled``: indices that are not
    compared with each other. ``progress`` gets how many of all were compared.
    """
    moments = [np.asarray(c.magmoms_in) if spin_orbit else along_axis(c.magmoms_in) for c in configs]
    nodes = list(_coloured(configs, moments))
    twins: defaultdict[int, set[int]] = defaultdict(set)
    for twin in find_twins([geometry for _, geometry in nodes], TOLERANCE, _sides(nodes, labelled), progress):
        first, second = int(twin.first), int(twin.second)
        if moments[first].ndim == 1 or _same_vectors(configs[first], configs[second], spin_orbit):
            twins[first].add(second)
            twins[second].add(first)
    ids = [config.config_id for config in configs]
    known = set(labelled)
    keys: dict[int, str] = {}
    for index in sorted(range(len(configs)), key=lambda k: (k not in known, ids[k])):
        # The key of one that stands for itself: chains of ever so little different geometries have several.
        keys[index] = min((ids[k] for k in twins[index] if keys.get(k) == ids[k]), default=ids[index])
    return [keys[index] for index in range(len(configs))]


def _sides(nodes: Sequence[tuple[int, Geometry]], labelled: Collection[int]) -> list[list[int]]:
    """What is not compared within: the two colourings of a configuration, and all labelled ones."""
    known = set(labelled)
    sides: defaultdict[int, list[int]] = defaultdict(list)
    for node, (index, _) in enumerate(nodes):
        sides[-1 if index in known else index].append(node)
    return list(sides.values())


def _coloured(configs: Sequence[SpinConfig], moments: Sequence[FloatArray]) -> Iterator[tuple[int, Geometry]]:
    """Index and coloured crystal, named by the index; a second one, reversed, where both colour as many atoms alike."""
    steps = _steps(np.concatenate([_lengths(values) for values in moments])) if configs else np.zeros(0)
    names: dict[tuple[str, int, str], str] = {}
    for index, (config, values) in enumerate(zip(configs, moments, strict=True)):
        kind = f"{config.moment_role} {config.occupations}"
        sizes = np.searchsorted(steps, _lengths(values), side="right")
        signs = np.where(sizes > 1, np.sign(values), 0) if values.ndim == 1 else np.ones(len(values))
        images = [
            [(e, int(s), kind) for e, s in zip(config.species, sizes * sign * signs, strict=True)] for sign in (1, -1)
        ]
        images = images[:1] if values.ndim == 2 or images[0] == images[1] else images
        if len({tuple(sorted(image)) for image in images}) > 1:
            images = [max(images, key=sorted)]
        for image in images:
            species = tuple(names.setdefault(colour, _name(len(names))) for colour in image)
            yield index, Geometry(str(index), species, config.lattice, config.positions)


def _lengths(moments: FloatArray) -> FloatArray:
    return np.abs(moments) if moments.ndim == 1 else np.linalg.norm(moments, axis=1)


def _steps(lengths: FloatArray) -> FloatArray:
    """Where intervals of lengths begin that count as equal: none is wider than SPIN_TOLERANCE, the first at zero."""
    steps = [0.0]
    for length in np.unique(lengths):
        if length > steps[-1] + SPIN_TOLERANCE:
            steps.append(float(length))
    return np.array(steps)


def _name(number: int) -> str:
    """X and letters: what pymatgen takes for a species that is no element."""
    letters = ""
    while True:
        number, letter = divmod(number, len(LETTERS))
        letters += LETTERS[letter]
        if not number:
            return "X" + letters


def _same_vectors(first: SpinConfig, second: SpinConfig, spin_orbit: bool) -> bool:
    """Whether the isometry of two geometries takes vector moments to one another, up to reversal of all.

    Without spin-orbit coupling also up to a rotation of all spins: only their scalar products count.
    """
    here, there = (Crystal(Geometry(c.config_id, tuple(c.species), c.lattice, c.positions)) for c in (first, second))
    way = isometry(here, there, TOLERANCE)
    if way is None:
        return False
    image = way.moments(np.asarray(first.magmoms_in), axial=spin_orbit)
    other = np.asarray(second.magmoms_in)
    if not spin_orbit:
        size = max(1.0, float(_lengths(other).max()))
        return bool(np.abs(image @ image.T - other @ other.T).max() <= SPIN_TOLERANCE * size)
    return any(np.abs(sign * image - other).max() <= SPIN_TOLERANCE for sign in (1, -1))
