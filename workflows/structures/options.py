"""What a campaign may say about its structures: parents, orderings, deformations. Meaning is given elsewhere."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from datastore.schema import MomentRole
from workflows.structures.decoration import RANDOM, check_decoration
from workflows.structures.deformations import check_amplitude, check_displacement, check_kind
from workflows.structures.errors import StructureError
from workflows.structures.files import FileStructure
from workflows.structures.lattice import LatticeOptions, parse_lattice
from workflows.structures.orderings import FILE, PROPAGATION
from workflows.structures.rocksalt import ANION, check_rocksalt, parse_species
from workflows.structures.symmetry import SYMPREC


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Grown(_Options):
    """Leaves ``later`` fields out of documents while they have their defaults.

    Campaigns that do not use what came later keep the uuids of their jobs.
    """

    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        unused = [name for name in self.later if getattr(self, name) == type(self).model_fields[name].default]
        return {name: value for name, value in content.items() if name not in unused}


def _number(value: Any) -> Any:
    """Fractions may be written as text, such as 1/3, which YAML has no number for."""
    if not isinstance(value, str):
        return value
    try:
        return float(Fraction(value))
    except (ValueError, ZeroDivisionError):
        raise StructureError(f"{value!r} is no number; write 0.25 or 1/4") from None


def _direction(value: tuple[float, float, float]) -> tuple[float, float, float]:
    if not (all(map(math.isfinite, value)) and math.hypot(*value) > 0):
        raise StructureError(f"direction {list(value)} has no length; such as [0, 0, 1]")
    return value


Finite = Annotated[float, Field(allow_inf_nan=False)]
Wave = tuple[Annotated[Finite, BeforeValidator(_number)], ...]
Direction = Annotated[tuple[float, float, float], AfterValidator(_direction)]


class EnumerateOptions(_Options):
    """Every collinear ordering that symmetry and reversal leave distinct in the undeformed cell."""

    kind: Literal["enumerate"]
    max_period: int | None = Field(
        default=None, ge=1, description="most magnetic sites per magnetic cell; default: all up to 16 sites, 4 beyond"
    )
    net_moment: Finite | None = Field(default=None, description="muB per cell, of either sign; default: any")
    max_count: int | None = Field(default=None, ge=1, description="the first so many, small magnetic cells first")


class FerrimagneticOptions(_Options):
    """One sign per element."""

    kind: Literal["ferrimagnetic"]
    signs: dict[str, Literal[1, -1]] = Field(description="sign per magnetic element, such as {Mn: 1, Ni: -1}")


class RandomOptions(_Options):
    """Random signs."""

    kind: Literal["random"]
    count: int = Field(default=1, ge=1, description="orderings that symmetry and reversal leave distinct")
    net_moment: Finite | None = Field(default=None, description="muB per cell, with its sign; default: any")
    seed: int = Field(default=0, ge=0)


class SpiralOptions(_Options):
    """Moments that turn by the angle q.R in the plane normal to ``axis``."""

    kind: Literal["spiral"]
    q: Wave = Field(min_length=3, max_length=3, description="units 2 pi/a; of a file: of its reciprocal lattice")
    axis: Direction = Field(default=(0, 0, 1), description="normal of the plane, Cartesian")


class ConeOptions(SpiralOptions):
    """A spiral with all moments inclined towards its axis."""

    kind: Literal["cone"]  # type: ignore[assignment]
    angle: float = Field(ge=0, le=90, description="between moments and axis, degrees; 90 is the spiral, 0 is FM")


class CantedOptions(_Options):
    """A collinear ordering with all moments tilted to one side."""

    kind: Literal["canted"]
    base: str = Field(description="name of a collinear ordering, such as AFM-II")
    angle: float = Field(ge=0, le=90, description="tilt, degrees; 0 is the collinear ordering as vectors")
    axis: Direction = Field(default=(0, 0, 1), description="of the collinear moments, Cartesian")
    towards: Direction = Field(default=(1, 0, 0), description="side they tilt to, not along the axis")


class RandomDirectionsOptions(_Options):
    """A random direction per magnetic site, evenly over the sphere."""

    kind: Literal["random_directions"]
    count: int = Field(default=1, ge=1, description="orderings")
    seed: int = Field(default=0, ge=0)


def _kind(value: Any) -> Any:
    """Which of the classes an entry under orderings is: a name, or by its kind."""
    if isinstance(value, str):
        return "name"
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)


OrderingOptions = Annotated[
    Annotated[str, Tag("name")]
    | Annotated[EnumerateOptions, Tag("enumerate")]
    | Annotated[FerrimagneticOptions, Tag("ferrimagnetic")]
    | Annotated[RandomOptions, Tag("random")]
    | Annotated[SpiralOptions, Tag("spiral")]
    | Annotated[ConeOptions, Tag("cone")]
    | Annotated[CantedOptions, Tag("canted")]
    | Annotated[RandomDirectionsOptions, Tag("random_directions")],
    Discriminator(
        _kind,
        custom_error_type="ordering_kind",
        custom_error_message="kind is missing or unknown; use enumerate, ferrimagnetic, random, spiral, cone, "
        "canted or random_directions, or give the name of an ordering",
    ),
]
"""The name of an ordering, or one of the classes above, told apart by ``kind``."""


class ParentOptions(_Grown):
    """One undeformed cell: a rocksalt oxide by its species, or the structures of a file."""

    later = ("decoration", "file", "index", "content", "supercell", "lattice")

    species: str | dict[str, float] | None = Field(
        default=None, description="cation, or fractions such as {Ni: 0.5, Mn: 0.5}"
    )
    lattice_constant: float | None = Field(default=None, description="cubic a in Angstrom; default: experiment, Vegard")
    cell: str | list[list[int]] = Field(default="all8", description="name, or 3x3 integers on the primitive fcc cell")
    seed: int = Field(default=0, ge=0, description="of the placement of mixed cations (random, sqs)")
    decoration: str | list[str] = Field(
        default=RANDOM, description="random, sqs, L1_0, L1_1, L1_2, or a symbol per cation"
    )
    file: str | None = Field(default=None, description="CIF, mcif, POSCAR or JSON file instead of species")
    index: int | None = Field(default=None, ge=0, description="one structure of the file, from 0; default: all")
    content: list[FileStructure] = Field(
        default=[], description="what the file holds; filled in when a campaign is loaded, so that later edits wait"
    )
    supercell: list[int] | list[list[int]] | None = Field(
        default=None, description="repeats a structure of a file: 3 integers or a 3x3 matrix"
    )
    orderings: list[OrderingOptions] | None = Field(
        default=None, description="for this parent instead of the common list"
    )
    lattice: Annotated[LatticeOptions | None, BeforeValidator(parse_lattice)] = Field(
        default=None, description="given (default), scan or relax: computed first"
    )

    @model_validator(mode="after")
    def _one_source(self) -> ParentOptions:
        of_file, of_species = {"index", "supercell", "content"}, {"lattice_constant", "cell", "seed", "decoration"}
        if (self.species is None) == (self.file is None):
            raise StructureError("a parent needs either species or file, and not both")
        # Values, not what was set: options that went through a database have every field set.
        foreign = of_file if self.file is None else of_species
        wrong = {name for name in foreign if getattr(self, name) != type(self).model_fields[name].default}
        if wrong:
            source = "species" if self.file is None else "file"
            raise StructureError(f"{', '.join(sorted(wrong))} does not go with {source}; remove it")
        if self.species is not None:
            check_rocksalt(self.species, self.lattice_constant, self.cell)
            check_decoration(self.decoration)
        return self


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

    @property
    def continuous(self) -> bool:
        """Whether amplitudes are drawn, so that no two geometries are the same one."""
        return self.amplitude is not None and self.amplitude[0] < self.amplitude[1]

    @property
    def repeatable(self) -> bool:
        """Whether two geometries may be the same one: a fixed amplitude, and no random displacements."""
        displaced = self.displacement > 0 or (self.kind == "displacement" and self.amplitude != (0, 0))
        return not self.continuous and not displaced


class StructureOptions(_Grown):
    """All configurations of a campaign: every parent, in every deformation, in every ordering."""

    later = ("moment_role", "spin_orbit", "symprec")

    parents: list[ParentOptions]
    orderings: list[OrderingOptions] = Field(
        description="FM, AFM-I, AFM-II, AFM-III, file, a name under signs, or a mapping with kind"
    )
    magmoms: dict[str, float] = Field(default_factory=dict, description="initial moment per element, muB, magnitude")
    moment_role: MomentRole = Field(
        default="guess", description="guess: moments relax from their input; constraint: they are held at it"
    )
    spin_orbit: bool = Field(
        default=False, description="true: turning all spins together gives another configuration, no twin"
    )
    symprec: float = Field(
        default=SYMPREC, gt=0, le=0.3, description="Angstrom that a structure may be off its symmetry"
    )
    deformations: list[DeformationOptions]
    seed: int = Field(default=0, ge=0, description="of all deformations")
    paired: bool = Field(default=True, description="one geometry in every ordering; false: a geometry per ordering")
    signs: dict[str, list[int]] = Field(default_factory=dict, description="own orderings: name -> +1/-1 per cation")

    @model_validator(mode="after")
    def _consistent(self) -> StructureOptions:
        for name in ("parents", "orderings", "deformations"):
            if not getattr(self, name):
                raise StructureError(f"{name} is empty; give at least one, or nothing would be generated")
        for clash in sorted(set(self.signs) & {*PROPAGATION, FILE}):
            raise StructureError(f"signs: {clash} is a built-in ordering; choose another name")
        known = [*PROPAGATION, *self.signs, FILE]
        for entries in [self.orderings, *(p.orderings for p in self.parents if p.orderings is not None)]:
            _check_orderings(entries, known)
        if any(parent.file for parent in self.parents):
            return self  # the elements of a file are known when it is read; generate() checks then
        present = {ANION}.union(*(parse_species(parent.species or "") for parent in self.parents))
        check_magmoms(self.magmoms, present)
        return self


def check_magmoms(magmoms: dict[str, float], present: set[str]) -> None:
    """StructureError where a moment is given to an element that is in no parent."""
    for symbol in sorted(set(magmoms) - present):
        raise StructureError(f"magmoms: {symbol} is in no parent; remove it or add a parent with {symbol}")


def _check_orderings(entries: list[Any], known: list[str]) -> None:
    if not entries:
        raise StructureError(f"orderings is empty; name at least one of {', '.join(known)}")
    for entry in entries:
        name = entry if isinstance(entry, str) else getattr(entry, "base", None)
        if name is not None and name not in known:
            raise StructureError(f"ordering {name!r} is unknown; use {', '.join(known)}, or define it under signs")
        if entries.count(entry) > 1:
            raise StructureError(f"ordering {entry} is listed twice; remove one")
