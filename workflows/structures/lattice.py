"""Where the undeformed cell of a parent comes from: given, from a scan of volumes, or relaxed.

A lattice that has to be computed first is *prepared* in one ordering or in several; each preparation gives a cell of
its own, a variant of the parent. A campaign computes them (workflows.jobs.parents) and fills in ``prepared``; with
that, the options are complete, and everything downstream is as pure as for a given lattice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pymatgen.core import Lattice, Structure

from datastore.schema import MomentRole
from workflows.names import short_name
from workflows.structures.errors import StructureError
from workflows.structures.identity import parent_id

FloatArray = NDArray[np.float64]

ENGINE = "engine"
Moves = Literal["volume", "cell", "all"]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Preparation(_Options):
    """What a scan and a relaxation have in common."""

    orderings: list[str] | None = Field(
        default=None,
        description="prepare a cell in each of these; default: in each collinear ordering of the parent, or in each "
        "where moments are held",
    )
    using: str = Field(
        default=ENGINE, min_length=1, description="engine, or a model: checkpoint, folder or YAML of a campaign"
    )

    @model_validator(mode="after")
    def _some_orderings(self) -> _Preparation:
        if self.orderings is not None and (not self.orderings or len(set(self.orderings)) < len(self.orderings)):
            raise StructureError(f"lattice: orderings {self.orderings} must name at least one ordering, none twice")
        return self


class ScanOptions(_Preparation):
    """Energies at evenly spaced volumes, fitted by an equation of state; fractional coordinates stay."""

    ratios: tuple[float, float] = Field(default=(0.94, 1.14), description="[low, high] of V/V0, V0 the start's volume")
    points: int = Field(default=9, ge=5, le=101, description="volumes; the equation of state has 4 parameters")

    @model_validator(mode="after")
    def _possible(self) -> ScanOptions:
        low, high = self.ratios
        if not 0.5 <= low < high <= 2.0:
            raise StructureError(f"scan: ratios [{low:g}, {high:g}] must rise within 0.5 to 2 (V/V0); try [0.94, 1.14]")
        return self


class RelaxOptions(_Preparation):
    """Forces and stress brought to zero."""

    moves: Moves = Field(default="all", description="volume, cell (shape and volume), or all (and the atoms in it)")
    fmax: float = Field(
        default=0.001, gt=0, le=1, description="eV/Angstrom; also of stress times volume per atom. 0.01 misses angles"
    )
    steps: int = Field(default=200, ge=1, description="give up after so many")


class PreparedLattice(_Options):
    """A computed cell; filled in by the campaign."""

    start: str = Field(description="id of the parent it was computed from")
    ordering: str = Field(description="ordering it was computed in")
    lattice: list[list[float]] = Field(description="(3, 3) Angstrom, rows")
    fractional: list[list[float]] = Field(description="(N, 3) in the parent's site order")
    how: dict[str, Any] = Field(default_factory=dict, description="provenance, kept on every configuration")


class LatticeOptions(_Options):
    """One of ``scan`` and ``relax``."""

    scan: ScanOptions | None = None
    relax: RelaxOptions | None = None
    prepared: list[PreparedLattice] = Field(default_factory=list, description="the results; filled in by the campaign")

    @model_validator(mode="after")
    def _one(self) -> LatticeOptions:
        if (self.scan is None) == (self.relax is None):
            raise StructureError("lattice: give either scan or relax, such as 'relax: {}', or leave lattice out")
        return self

    @property
    def method(self) -> ScanOptions | RelaxOptions:
        """The one that was chosen."""
        method = self.scan or self.relax
        assert method is not None
        return method


def parse_lattice(value: Any) -> Any:
    """What may stand under ``lattice``: given, scan or relax (all defaults), or a mapping of their options."""
    if value == "given":
        return None
    if isinstance(value, str):
        if value not in ("scan", "relax"):
            raise StructureError(f"lattice: {value!r} is unknown; use given, scan or relax")
        return {value: {}}
    if isinstance(value, dict):
        named = [key for key in ("scan", "relax") if key in value]
        if len(named) == 1 and value[named[0]] is None:  # YAML's `relax:` with nothing after it
            return {**value, named[0]: {}}
    return value


def prepared_orderings(
    lattice: LatticeOptions, arrangements: Mapping[str, FloatArray], role: MomentRole = "guess"
) -> list[str]:
    """Orderings that ``lattice`` is computed in, of ``arrangements``: name -> moments, (N,) or (N, 3) muB.

    Unless they are named: those whose moments stay while the cell is computed. Most orderings that are not collinear
    turn back into one that is, unless ``role`` says that moments are held.
    Raises StructureError where the parent does not have one that is named, or has none that stays.
    """
    chosen = lattice.method.orderings
    if chosen is None:
        chosen = [name for name, moments in arrangements.items() if role == "constraint" or np.ndim(moments) == 1]
    absent = [name for name in chosen if name not in arrangements]
    known = ", ".join(map(short_name, arrangements))
    if absent:
        raise StructureError(f"lattice: the parent has no ordering {absent[0]} ({known}); add it to them or remove it")
    if not chosen:
        raise StructureError(
            f"lattice: no ordering is collinear ({known}), and others seldom stay while a cell is computed; add one "
            "that is, or name those that stay under orderings of scan or relax, or set moment_role: constraint"
        )
    return list(chosen)


@dataclass(frozen=True)
class Variant:
    """An undeformed cell of a parent and the orderings its geometries are labelled in.

    ``streams``: number of the random stream of each ordering; variants never share one, or the same displacements on
    nearly the same cell would put near-copies into training and test. ``how``: where its lattice came from; empty
    where given.
    """

    structure: Structure
    orderings: list[str]
    streams: list[int]
    how: dict[str, Any] = field(default_factory=dict)


def variants(
    lattice: LatticeOptions,
    structure: Structure,
    arrangements: Mapping[str, FloatArray],
    paired: bool,
    role: MomentRole = "guess",
) -> list[Variant]:
    """Cells of a parent that starts as ``structure``; ``arrangements`` and ``role`` as in prepared_orderings().

    Paired: each cell takes every ordering. Else each takes its own ordering, and the first those without a cell.
    Raises StructureError where the lattice was not computed yet or does not belong to ``structure``.
    """
    wanted, orderings = prepared_orderings(lattice, arrangements, role), list(arrangements)
    start = parent_id(structure)
    known = {item.ordering: item for item in lattice.prepared if item.start == start}
    if any(name not in known for name in wanted):
        raise StructureError(f"the lattice of {start} is not computed yet; `spinmultinet run CAMPAIGN` does that first")
    found: list[Variant] = []
    for number, name in enumerate(wanted):
        own = orderings if paired else [o for o in orderings if o == name or (number == 0 and o not in wanted)]
        # By its place in the list, so that orderings added at the end change no geometry of the others.
        streams = [number if paired else orderings.index(o) for o in own]
        found.append(Variant(with_lattice(structure, known[name]), own, streams, known[name].how))
    return found


def with_lattice(structure: Structure, prepared: PreparedLattice) -> Structure:
    """``structure`` with the computed cell and sites; its ``lattice_constant`` is that of a cube of the same volume."""
    if len(prepared.fractional) != len(structure):
        raise StructureError(
            f"the prepared lattice ({prepared.ordering}) has {len(prepared.fractional)} sites and "
            f"{parent_id(structure)} {len(structure)}; remove `prepared`, the campaign fills it in"
        )
    result = Structure(
        Lattice(prepared.lattice),
        structure.species,
        prepared.fractional,
        site_properties=structure.site_properties,
        properties=dict(structure.properties),
    )
    if "lattice_constant" in result.properties:
        result.properties["lattice_constant"] = float(np.cbrt(8 * result.volume / len(result)))
    lattice = result.lattice.matrix.tolist()
    result.properties |= {"parent": parent_id(result), "parent_lattice": lattice}
    return result
