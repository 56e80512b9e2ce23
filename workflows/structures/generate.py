"""From options to configurations: parents x deformations x orderings, deterministic from seeds, without twins.

The one module of this room that makes :class:`datastore.schema.SpinConfig` of structures. The inner loop works on
plain arrays; pymatgen structures exist once per parent.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymatgen.core import Structure

from datastore.schema import SpinConfig, content_hash
from workflows.structures.arrange import Arrangement, SpinSites, arrange
from workflows.structures.deformations import (
    FloatArray,
    Geometry,
    Recipe,
    choice_rng,
    deform_arrays,
    deformation_gradient,
    draw_direction,
)
from workflows.structures.equivalence import Crystals
from workflows.structures.errors import NoCandidatesError, StructureError
from workflows.structures.identity import canonical, parent_id
from workflows.structures.lattice import Variant, variants
from workflows.structures.options import (
    DeformationOptions,
    EnumerateOptions,
    ParentOptions,
    StructureOptions,
    check_magmoms,
)
from workflows.structures.orderings import FILE
from workflows.structures.parents import parent_structures
from workflows.structures.rocksalt import ANION
from workflows.structures.symmetry import count_operations
from workflows.structures.twins import Kept, TwinCount, Twins

__all__ = ["DeformationOptions", "ParentOptions", "StructureOptions", "candidates", "count_configs", "generate"]

MANY = 500
"""Orderings of one cell that are worth a note."""

LOOSER = 5
"""Times symprec: symmetry found within this is worth a note."""


@dataclass(frozen=True)
class _Parent:
    """What the inner loop needs of a parent: plain arrays and ids.

    ``number`` of its entry in the options, ``member`` among the structures of that entry and ``streams`` (one per
    ordering; pairs take the first) choose its seeds. ``how``: where a computed lattice came from; empty where it was
    given.
    """

    id: str
    crystal: str
    """Id of the first parent that is the same crystal."""
    cell: str
    species: list[str]
    geometry: Geometry
    arrangements: list[Arrangement]
    twins: Twins
    number: int
    member: int
    streams: list[int]
    how: dict[str, Any]


@dataclass(frozen=True)
class _Run:
    """What all configurations of one call have in common. ``stream`` 0 is generate(), others are candidates()."""

    options: StructureOptions
    stream: int
    count: int | None
    fields: dict[str, Any]
    seen: TwinCount


def generate(
    options: StructureOptions, campaign: str = "", generation: int = 0, twins: TwinCount | None = None
) -> Iterator[SpinConfig]:
    """Configurations of a campaign, one after the other: parents, then deformations, then orderings.

    Every geometry has its own random stream, derived from (seed, parent, deformation, item): adding parents,
    deformations or counts at the end never changes earlier configurations. ``pair_id`` hashes the geometry. Of
    configurations that symmetry makes the same one only the first is given; ``twins`` counts the others, if passed.
    Parents and orderings are checked before this returns. Raises StructureError.
    """
    fields = {"campaign": campaign, "generation": generation, "moment_role": options.moment_role}
    run = _Run(options, 0, None, fields, TwinCount() if twins is None else twins)
    return _stream(run, _prepare(options, run.seen))


def candidates(
    options: StructureOptions, generation: int, campaign: str = "", count: int | None = None
) -> Iterator[SpinConfig]:
    """New configurations of the same kind for active learning, different from every earlier generation's.

    ``generation`` (1 or more) chooses the random streams; ``count`` replaces the count of every deformation.
    Undeformed parents are left out: generation 0 has them. So are strains of a fixed amplitude that an earlier
    generation has, or one that symmetry makes the same; NoCandidatesError where nothing else is left.
    """
    if generation < 1:
        raise StructureError(f"generation is {generation}; candidates start at 1, generation 0 is generate()")
    if count is not None and count < 1:
        raise StructureError(f"count is {count}; give at least 1")
    if all(deformation.kind == "none" for deformation in options.deformations):
        raise NoCandidatesError(
            "no candidates: every deformation is 'none'; add displacement, shear, tensile or volume"
        )
    fields = {"campaign": campaign, "generation": generation, "moment_role": options.moment_role}
    seen = TwinCount()
    parents = _prepare(options, seen)
    for earlier in range(generation):  # fills ``seen``
        past = _Run(options, earlier, count if earlier else None, fields, seen)
        collections.deque(_stream(past, parents, repeatable=True), maxlen=0)
    found = _stream(_Run(options, generation, count, fields, seen), parents)
    first = next(found, None)
    if first is None:
        raise NoCandidatesError(
            "no candidates are left: every strain of these fixed amplitudes was in an earlier generation; give a range "
            "of amplitudes or a displacement on top"
        )
    return itertools.chain([first], found)


def count_configs(options: StructureOptions) -> int:
    """How many configurations :func:`generate` gives, found by generating them (10,000 take about a second)."""
    return sum(1 for _ in generate(options))


def _stream(run: _Run, parents: list[_Parent], repeatable: bool = False) -> Iterator[SpinConfig]:
    """All configurations; ``repeatable``: of deformations that other streams may give as well only."""
    return itertools.chain.from_iterable(
        _family(run, parent, deformation, d)
        for parent in parents
        for d, deformation in enumerate(run.options.deformations)
        if not (run.stream and deformation.kind == "none") and (deformation.repeatable or not repeatable)
    )


def _family(run: _Run, parent: _Parent, deformation: DeformationOptions, d: int) -> Iterator[SpinConfig]:
    """All configurations of one parent in one deformation (the ``d``-th), without twins."""
    # An undeformed geometry is the same for every ordering, whatever the options say.
    share = run.options.paired or deformation.kind == "none"
    for item in range(run.count or deformation.count):
        branch = [run.options.seed, run.stream, parent.number, d, item]
        shared = _geometry(parent, deformation, [*branch, parent.streams[0]]) if share else None
        own: Kept = {}  # keys of a geometry that no other is like
        keys = parent.twins.keys(shared[1]) if shared else []
        for number, (ordering, moments) in enumerate(parent.arrangements):
            fields, gradient = shared or _geometry(parent, deformation, [*branch, parent.streams[number]])
            if not shared:
                keys = [] if gradient is None else parent.twins.keys(gradient)
            kept = own if gradient is None or deformation.continuous else None
            if keys and not run.seen.is_new(parent.crystal, keys[number], parent.id, ordering, kept):
                continue
            yield SpinConfig(
                species=parent.species,
                magmoms_in=moments,
                ordering=ordering,
                cell=parent.cell,
                parent=parent.id,
                parent_lattice=parent.geometry.lattice,
                deformation=deformation.kind,
                **fields,
                **run.fields,
            )


def _geometry(
    parent: _Parent, deformation: DeformationOptions, seed: list[int]
) -> tuple[dict[str, Any], FloatArray | None]:
    """Fields lattice, positions, deformation_parameters, pair_id of one deformed geometry.

    And its deformation gradient (3, 3), or None where atoms are displaced at random.
    """
    seed = [*seed, parent.member] if parent.member else seed
    recipe = _draw_recipe(deformation, seed)
    lattice, positions, parameters = deform_arrays(parent.geometry, recipe, seed)
    parameters |= {"parent": parent.how} if parent.how else {}
    fields = {
        "lattice": lattice,
        "positions": positions,
        "deformation_parameters": parameters,
        "pair_id": content_hash(canonical(parent.species, lattice, positions), 16),
    }
    displaced = recipe.displacement > 0 or (recipe.kind == "displacement" and recipe.amplitude > 0)
    return fields, None if displaced else deformation_gradient(recipe)


def _draw_recipe(deformation: DeformationOptions, seed: list[int]) -> Recipe:
    if deformation.amplitude is None:
        return Recipe(deformation.kind)
    rng = choice_rng(seed)
    # The direction first: deform() with the recorded seed then draws the same one.
    direction = draw_direction(deformation.kind, rng)
    return Recipe(deformation.kind, float(rng.uniform(*deformation.amplitude)), direction, deformation.displacement)


def _prepare(options: StructureOptions, seen: TwinCount) -> list[_Parent]:
    """Build all parents and their arrangements, with notes on them in ``seen``.

    StructureError where an ordering does not fit, or moments are wrong.
    """
    structures = [
        (structure, parent, number, member)
        for number, parent in enumerate(options.parents)
        for member, structure in enumerate(parent_structures(parent))
    ]
    check_magmoms(options.magmoms, {ANION}.union(*(_symbols(structure) for structure, *_ in structures)))
    crystals = Crystals()
    cells = [cell for item in structures for cell in _ready(options, crystals, *item)]
    seen.notes += [*_notes_on_symmetry(options, [s for s, *_ in structures]), *_notes_on_number(cells)]
    return cells


def _notes_on_symmetry(options: StructureOptions, structures: list[Structure]) -> Iterator[str]:
    """Structures of files that a looser tolerance finds more symmetric."""
    wide = LOOSER * options.symprec
    for structure in structures:
        if FILE in structure.properties:
            found, more = (count_operations(structure, symprec) for symprec in (options.symprec, wide))
            if more > found:
                yield (
                    f"{structure.properties[FILE]} has {found} symmetry operations within {options.symprec:g} Angstrom "
                    f"and {more} within {wide:g}; if it is meant to have these, set symprec: {wide:g}"
                )


def _notes_on_number(parents: list[_Parent]) -> Iterator[str]:
    for parent in parents:
        if len(parent.arrangements) > MANY:
            yield (
                f"{parent.id} has {len(parent.arrangements)} orderings; max_count or net_moment of enumerate choose "
                "among them"
            )


def _ready(
    options: StructureOptions,
    crystals: Crystals,
    structure: Structure,
    parent: ParentOptions,
    number: int,
    member: int,
) -> list[_Parent]:
    """One undeformed structure, ready for the inner loop: one cell, or one per ordering its lattice was computed in."""
    sites = SpinSites.of(structure, options.magmoms, options.signs, options.symprec)
    entries = parent.orderings or options.orderings
    arrangements = list(arrange(sites, entries))
    if not arrangements:
        raise StructureError(f"{sites.label} has no ordering with these filters; change net_moment")
    if parent.lattice is not None:  # a cell is computed once, however often its ordering is listed
        arrangements = list(dict(arrangements).items())
        cells = variants(parent.lattice, structure, dict(arrangements), options.paired, options.moment_role)
    else:
        names = [name for name, _ in arrangements]
        cells = [Variant(structure, names, list(range(len(names))))]
    found = []
    for cell in cells:
        mine = set(cell.orderings)
        own = [(name, moments) for name, moments in arrangements if name in mine]
        if cell.how and options.paired:
            own += _of_lower_symmetry(options, cell.structure, entries, own)
        found.append(_parent(options, crystals, cell, own, number, member))
    return found


def _of_lower_symmetry(
    options: StructureOptions, structure: Structure, entries: Sequence[Any], own: list[Arrangement]
) -> list[Arrangement]:
    """What enumerating finds in a computed cell and not in the one it started from, which has more symmetry."""
    listed = [entry for entry in entries if isinstance(entry, EnumerateOptions) and entry.max_count is None]
    found = list(arrange(SpinSites.of(structure, options.magmoms, options.signs, options.symprec), listed))
    moments = [moments for _, moments in [*own, *found]]
    keys = Twins(structure, moments, options.spin_orbit, symprec=options.symprec).keys(np.eye(3))
    met = set(keys[: len(own)])
    new = {key: item for key, item in zip(keys[len(own) :], found, strict=True) if key not in met}
    return list(new.values())


def _parent(
    options: StructureOptions,
    crystals: Crystals,
    cell: Variant,
    own: list[Arrangement],
    number: int,
    member: int,
) -> _Parent:
    name = parent_id(cell.structure)
    crystal, first, way = crystals.find(cell.structure, name, (number, member), bool(cell.how))
    return _Parent(
        id=name,
        crystal=crystal,
        cell=cell.structure.properties["cell"],
        species=_symbols(cell.structure),
        geometry=Geometry.of(cell.structure),
        arrangements=own,
        twins=Twins(first, [moments for _, moments in own], options.spin_orbit, way, options.symprec),
        number=number,
        member=member,
        streams=cell.streams,
        how=cell.how,
    )


def _symbols(structure: Structure) -> list[str]:
    return [site.specie.symbol for site in structure]
