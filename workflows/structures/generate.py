"""From options to configurations: parents x deformations x orderings, deterministic from seeds.

The one module of this room that knows :class:`datastore.schema.SpinConfig`. The inner loop works on plain arrays;
pymatgen structures exist once per parent.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pymatgen.core import Structure

from datastore.schema import SpinConfig, content_hash
from workflows.structures.deformations import (
    FloatArray,
    Geometry,
    Recipe,
    check_amplitude,
    check_displacement,
    check_kind,
    choice_rng,
    deform_arrays,
    draw_direction,
)
from workflows.structures.errors import StructureError
from workflows.structures.identity import canonical, parent_id
from workflows.structures.lattice import LatticeOptions, count_variants, parse_lattice, variants
from workflows.structures.orderings import CUSTOM, PROPAGATION, apply_ordering
from workflows.structures.rocksalt import ANION, parse_species, rocksalt


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ParentOptions(_Options):
    """One undeformed cell."""

    species: str | dict[str, float] = Field(description="cation, or fractions such as {Ni: 0.5, Mn: 0.5}")
    lattice_constant: float | None = Field(default=None, description="cubic a in Angstrom; default: experiment, Vegard")
    cell: str | list[list[int]] = Field(default="all8", description="name, or 3x3 integers on the primitive fcc cell")
    seed: int = Field(default=0, ge=0, description="of the random placement of mixed cations")
    orderings: list[str] | None = Field(default=None, description="for this parent instead of the common list")
    lattice: LatticeOptions | None = Field(default=None, description="given (default), scan or relax: computed first")

    @field_validator("lattice", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return parse_lattice(value)

    @model_serializer(mode="wrap")
    def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Campaigns with given lattices keep the uuids of their jobs from before there was a choice.
        content: dict[str, Any] = handler(self)
        return {key: value for key, value in content.items() if key != "lattice" or value is not None}

    @field_validator("species")
    @classmethod
    def _known(cls, value: str | dict[str, float]) -> str | dict[str, float]:
        parse_species(value)
        return value


class DeformationOptions(_Options):
    """A number of random deformations of one kind, applied to every parent."""

    kind: str = Field(description="displacement, shear, tensile, volume or none")
    count: int = Field(default=1, description="geometries per parent")
    amplitude: tuple[float, float] | None = Field(
        default=None,
        description="[low, high], drawn evenly: Angstrom rms (displacement), strain (shear, tensile), V/V0 (volume)",
    )
    displacement: float = Field(default=0.0, description="rms random displacement on top of a strain, Angstrom")

    @model_validator(mode="after")
    def _possible(self) -> DeformationOptions:
        check_kind(self.kind)
        if self.count < 1:
            raise StructureError(f"{self.kind}: count is {self.count}; give at least 1 or remove the entry")
        check_displacement(self.kind, self.displacement)
        if self.kind == "none":
            if self.count != 1 or self.amplitude is not None:
                raise StructureError("none is the one undeformed geometry; remove its amplitude and set count to 1")
            return self
        if self.amplitude is None:
            raise StructureError(f"{self.kind}: amplitude is missing; give [low, high]")
        low, high = self.amplitude
        if low > high:
            raise StructureError(f"{self.kind}: amplitude [{low:g}, {high:g}] runs backwards; swap the numbers")
        check_amplitude(self.kind, low)
        check_amplitude(self.kind, high)
        return self


class StructureOptions(_Options):
    """All configurations of a campaign: every parent, in every deformation, in every ordering."""

    parents: list[ParentOptions]
    orderings: list[str] = Field(description="FM, AFM-I, AFM-II, AFM-III, or a name under signs")
    magmoms: dict[str, float] = Field(default_factory=dict, description="initial moment per element, muB, magnitude")
    deformations: list[DeformationOptions]
    seed: int = Field(default=0, ge=0, description="of all deformations")
    paired: bool = Field(default=True, description="one geometry in every ordering; false: a geometry per ordering")
    signs: dict[str, list[int]] = Field(default_factory=dict, description="own orderings: name -> +1/-1 per cation")

    @model_validator(mode="after")
    def _consistent(self) -> StructureOptions:
        for name in ("parents", "orderings", "deformations"):
            if not getattr(self, name):
                raise StructureError(f"{name} is empty; give at least one, or nothing would be generated")
        for clash in sorted(set(self.signs) & set(PROPAGATION)):
            raise StructureError(f"signs: {clash} is a built-in ordering; choose another name")
        known = [*PROPAGATION, *self.signs]
        for names in [self.orderings, *(p.orderings for p in self.parents if p.orderings is not None)]:
            _check_orderings(names, known)
        present = {ANION}.union(*(parse_species(parent.species) for parent in self.parents))
        for symbol in sorted(set(self.magmoms) - present):
            raise StructureError(f"magmoms: {symbol} is in no parent; remove it or add a parent with {symbol}")
        return self


def _check_orderings(names: list[str], known: list[str]) -> None:
    if not names:
        raise StructureError(f"orderings is empty; name at least one of {', '.join(known)}")
    for name in names:
        if name not in known:
            raise StructureError(f"ordering {name!r} is unknown; use {', '.join(known)}, or define it under signs")
        if names.count(name) > 1:
            raise StructureError(f"ordering {name} is listed twice; remove one")


@dataclass(frozen=True)
class _Parent:
    """What the inner loop needs of a parent: plain arrays and ids."""

    id: str
    cell: str
    species: list[str]
    geometry: Geometry
    moments: dict[str, FloatArray]
    first: int
    how: dict[str, Any]


def generate(options: StructureOptions, campaign: str = "", generation: int = 0) -> Iterator[SpinConfig]:
    """Configurations of a campaign, one after the other: parents, then deformations, then orderings.

    Every geometry has its own random stream, derived from (seed, parent, deformation, item): adding parents,
    deformations or counts at the end never changes earlier configurations. ``pair_id`` hashes the geometry.
    Parents and orderings are checked before this returns. Raises StructureError.
    """
    return _stream(options, campaign, generation, stream=0, count=None)


def candidates(
    options: StructureOptions, generation: int, campaign: str = "", count: int | None = None
) -> Iterator[SpinConfig]:
    """New configurations of the same kind for active learning, different from every other generation's.

    ``generation`` (1 or more) chooses the random streams; ``count`` replaces the count of every deformation.
    Undeformed parents are left out: generation 0 has them. Raises StructureError.
    """
    if generation < 1:
        raise StructureError(f"generation is {generation}; candidates start at 1, generation 0 is generate()")
    if count is not None and count < 1:
        raise StructureError(f"count is {count}; give at least 1")
    if all(deformation.kind == "none" for deformation in options.deformations):
        raise StructureError("no candidates: every deformation is 'none'; add displacement, shear, tensile or volume")
    return _stream(options, campaign, generation, stream=generation, count=count)


def count_configs(options: StructureOptions) -> int:
    """How many configurations :func:`generate` gives."""
    items = sum(deformation.count for deformation in options.deformations)
    return items * sum(_labels_per_geometry(options, parent) for parent in options.parents)


def count_cells(options: StructureOptions) -> int:
    """How many undeformed cells there are; a lattice computed in several orderings gives as many."""
    return sum(count_variants(parent.lattice, parent.orderings or options.orderings) for parent in options.parents)


def _labels_per_geometry(options: StructureOptions, parent: ParentOptions) -> int:
    """Labels of one item of a deformation, over all cells of the parent."""
    orderings = parent.orderings or options.orderings
    return len(orderings) * (count_variants(parent.lattice, orderings) if options.paired else 1)


def _stream(
    options: StructureOptions, campaign: str, generation: int, *, stream: int, count: int | None
) -> Iterator[SpinConfig]:
    parents = [(p, cell) for p, parent in enumerate(options.parents) for cell in _prepare(options, parent)]
    fields = {"campaign": campaign, "generation": generation}
    return itertools.chain.from_iterable(
        _family(parent, deformation, [options.seed, stream, p, d], options.paired, count, fields)
        for p, parent in parents
        for d, deformation in enumerate(options.deformations)
        if not (stream and deformation.kind == "none")
    )


def _family(
    parent: _Parent,
    deformation: DeformationOptions,
    branch: list[int],
    paired: bool,
    count: int | None,
    fields: dict[str, Any],
) -> Iterator[SpinConfig]:
    """All configurations of one parent in one deformation."""
    # An undeformed geometry is the same for every ordering, whatever the options say.
    share = paired or deformation.kind == "none"
    for item in range(count or deformation.count):
        shared = _geometry(parent, deformation, [*branch, item, parent.first]) if share else None
        for number, (ordering, moments) in enumerate(parent.moments.items(), parent.first):
            geometry = shared or _geometry(parent, deformation, [*branch, item, number])
            yield SpinConfig(
                species=parent.species,
                magmoms_in=moments,
                ordering=ordering,
                cell=parent.cell,
                parent=parent.id,
                parent_lattice=parent.geometry.lattice,
                deformation=deformation.kind,
                **geometry,
                **fields,
            )


def _geometry(parent: _Parent, deformation: DeformationOptions, seed: list[int]) -> dict[str, Any]:
    """Fields lattice, positions, deformation_parameters, pair_id of one deformed geometry."""
    recipe = _draw_recipe(deformation, seed)
    lattice, positions, parameters = deform_arrays(parent.geometry, recipe, seed)
    if parent.how:
        parameters = {**parameters, "parent": parent.how}
    return {
        "lattice": lattice,
        "positions": positions,
        "deformation_parameters": parameters,
        "pair_id": content_hash(canonical(parent.species, lattice, positions), 16),
    }


def _draw_recipe(deformation: DeformationOptions, seed: list[int]) -> Recipe:
    if deformation.amplitude is None:
        return Recipe(deformation.kind)
    rng = choice_rng(seed)
    # The direction first: deform() with the recorded seed then draws the same one.
    direction = draw_direction(deformation.kind, rng)
    return Recipe(deformation.kind, float(rng.uniform(*deformation.amplitude)), direction, deformation.displacement)


def _prepare(options: StructureOptions, parent: ParentOptions) -> list[_Parent]:
    """The cells of one parent: one, or one per ordering that its lattice was computed in."""
    structure, moments = parent_cell(options, parent)
    species = [site.specie.symbol for site in structure]
    return [
        _Parent(
            parent_id(cell.structure),
            cell.structure.properties["cell"],
            species,
            Geometry.of(cell.structure),
            {name: moments[name] for name in cell.orderings},
            cell.first,
            cell.how,
        )
        for cell in variants(parent.lattice, structure, list(moments), options.paired)
    ]


def parent_cell(options: StructureOptions, parent: ParentOptions) -> tuple[Structure, dict[str, FloatArray]]:
    """The given cell of a parent, and the moments (N,) of its orderings; StructureError where one does not fit."""
    structure = rocksalt(parent.species, parent.lattice_constant, parent.cell, parent.seed)
    species = {site.specie.symbol for site in structure}
    magmoms = {symbol: moment for symbol, moment in options.magmoms.items() if symbol in species}
    names = parent.orderings or options.orderings
    return structure, {name: _moments(structure, name, magmoms, options.signs) for name in names}


def _moments(structure: Structure, ordering: str, magmoms: dict[str, float], signs: dict[str, list[int]]) -> FloatArray:
    ordered = apply_ordering(
        structure, CUSTOM if ordering in signs else ordering, magmoms=magmoms, signs=signs.get(ordering)
    )
    return np.array(ordered.site_properties["magmom"])
