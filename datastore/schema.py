"""The documents everything else exchanges: SpinConfig, SpinPoint, SpinFailure, Decision, ModelRecord.

One configuration (what to compute) and one label (what came out) are *flat* documents of numbers: no nested
pymatgen objects, no class paths, about 20 kB for 64 atoms. Units everywhere: eV, Angstrom, muB. Stress has ASE's
sign (dE/d(strain) / V, tension positive) and unit eV/Angstrom^3.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator
from pymatgen.core import Composition, Lattice, Structure

SCHEMA_VERSION = 1
HASHED_VERSION = 1
"""The version that ids of content are made with for good, so that an upgrade changes no id."""

SEARCH = "search"
"""Key of what labels are searched by (:mod:`datastore.search`); it follows from the rest and is no part of a label."""

MomentRole = Literal["guess", "constraint"]
Verdict = Literal["accepted", "rejected"]
DecisionAction = Literal["accept", "reject", "retract", "restore"]
FailureKind = Literal["not-converged", "crashed", "branch-lost", "refused"]
FloatArray = NDArray[np.float64]


def _to_array(value: Any) -> FloatArray:
    """Read-only float64 copy; refuses NaN and infinity, which no label and no input may contain."""
    array = np.array(value, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError("contains NaN or infinity")
    array.setflags(write=False)
    return array


Array = Annotated[
    FloatArray,
    BeforeValidator(_to_array),
    PlainSerializer(lambda a: a.tolist(), return_type=list),
]
"""A read-only float64 numpy array in Python, nested lists in documents."""


def content_hash(content: Any, length: int = 24) -> str:
    """SHA-256 (first ``length`` hex digits) of the canonical JSON of ``content``."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _rounded(array: FloatArray, digits: int = 8) -> list[Any]:
    """Round for hashing (1e-8 Angstrom or muB) and turn -0.0 into 0.0, so equal content has equal text."""
    return list((np.round(array, digits) + 0.0).tolist())


@lru_cache(maxsize=4096)
def _reduced_formula(counts: tuple[tuple[str, int], ...]) -> str:
    """Campaigns have thousands of configurations of a few compositions."""
    return str(Composition(dict(counts)).reduced_formula)


class _Document(BaseModel):
    """Frozen document: unknown keys are errors, equality compares the stored content."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    schema_version: int = SCHEMA_VERSION

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.to_document() == other.to_document()

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def to_document(self) -> dict[str, Any]:
        """Plain JSON-able dict, as stored. Inverse of :meth:`from_document`."""
        return self.model_dump()

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Parse a stored dict; bookkeeping of stores (``_id``, ``last_updated``, ``checksum``, ``search``, ``@...``) is
        ignored.
        """
        extra = {key for key in document if key.startswith(("_", "@")) or key in ("last_updated", "checksum", SEARCH)}
        extra |= {key for key in cls.derived_keys() if key in document}
        return cls(**{key: value for key, value in document.items() if key not in extra})

    @classmethod
    def derived_keys(cls) -> tuple[str, ...]:
        """Keys that documents carry for queries but that are computed from the other fields."""
        return ()


class SpinConfig(_Document):
    """What to compute: a periodic structure with a signed initial moment per site, and where it came from.

    ``config_id`` hashes the physics only (species, lattice, positions, moments, role, all in site order), so the
    same configuration reached by two campaigns is one configuration.
    """

    species: list[str] = Field(min_length=1, description="element symbol per site, N of them")
    lattice: Array = Field(description="(3, 3) Angstrom, rows are lattice vectors")
    positions: Array = Field(description="(N, 3) Cartesian, Angstrom")
    magmoms_in: Array = Field(description="(N,) collinear or (N, 3) vector moments in muB, signed; see moment_role")
    moment_role: MomentRole = Field(
        default="guess", description="guess: moments relax from magmoms_in; constraint: they are held at it"
    )
    ordering: str = Field(description="name of the ordering asked for, such as FM, AFM-I, AFM-II")
    cell: str = Field(default="custom", description="name of the cell type; engines pin k meshes by it")
    parent: str = Field(default="", description="id of the undeformed structure")
    parent_lattice: Array | None = Field(default=None, description="(3, 3) Angstrom, lattice of the parent")
    deformation: str = Field(default="none", description="none, displacement, shear, tensile or volume")
    deformation_parameters: dict[str, Any] = Field(default_factory=dict, description="amplitudes and seeds")
    pair_id: str = Field(default="", description="shared by configurations of one geometry in several orderings")
    campaign: str = ""
    generation: int = Field(default=0, ge=0, description="active-learning round that asked for it, 0 = initial")
    start: str = Field(default="", description="name of another start of the same state; empty: the usual guess")
    occupations: str = Field(
        default="",
        description="text of a file of occupation matrices to start from (OCCMATRIX of VASP's patch), sites numbered "
        "as here; part of config_id where set. An engine that takes none refuses it",
    )

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        n = len(self.species)
        if self.lattice.shape != (3, 3):
            raise ValueError(f"lattice has shape {self.lattice.shape}, expected (3, 3)")
        if abs(np.linalg.det(self.lattice)) < 1e-3:
            raise ValueError("lattice has no volume: its vectors are linearly dependent")
        if self.positions.shape != (n, 3):
            raise ValueError(f"positions has shape {self.positions.shape}, expected ({n}, 3) for {n} species")
        if self.magmoms_in.shape not in ((n,), (n, 3)):
            raise ValueError(f"magmoms_in has shape {self.magmoms_in.shape}, expected ({n},) or ({n}, 3)")
        return self

    @property
    def config_id(self) -> str:
        """24 hex digits that identify the physics of this configuration, not its provenance."""
        physics = {
            "species": self.species,
            "lattice": _rounded(self.lattice),
            "positions": _rounded(self.positions),
            "magmoms_in": _rounded(self.magmoms_in),
            "moment_role": self.moment_role,
        }
        return content_hash(physics | ({"occupations": self.occupations} if self.occupations else {}))

    @property
    def formula(self) -> str:
        """Reduced formula in alphabetical order of elements, such as ``NiO``; site order does not matter."""
        return _reduced_formula(tuple(sorted(Counter(self.species).items())))

    @classmethod
    def from_structure(cls, structure: Structure, ordering: str, **fields: Any) -> SpinConfig:
        """Configuration from a pymatgen Structure whose ``magmom`` site property holds signed moments (muB).

        ``fields`` are further SpinConfig fields (``cell``, ``parent``, ``pair_id``...); those of PROVENANCE default to
        ``structure.properties``, where workflows.structures keeps them. Raises ValueError where a site has no moment:
        a missing moment would silently become a default in most engines.
        """
        moments = structure.site_properties.get("magmom")
        if moments is None or any(m is None for m in moments):
            raise ValueError(
                "structure has sites without a 'magmom' site property; set it with "
                "workflows.structures.apply_ordering(structure, 'AFM-II')"
            )
        return cls(
            species=[site.specie.symbol for site in structure],
            lattice=structure.lattice.matrix,
            positions=structure.cart_coords,
            magmoms_in=np.array([getattr(m, "moment", m) for m in moments], dtype=np.float64),
            ordering=ordering,
            **{**provenance(structure), **fields},
        )

    def to_structure(self) -> Structure:
        """pymatgen Structure in the same site order with the signed input moments as ``magmom`` site property."""
        return Structure(
            Lattice(self.lattice),
            self.species,
            self.positions,
            coords_are_cartesian=True,
            site_properties={"magmom": self.magmoms_in.tolist()},
        )

    def to_document(self) -> dict[str, Any]:
        """Stored dict with ``config_id`` and ``formula`` added for queries."""
        return {**self.model_dump(), "config_id": self.config_id, "formula": self.formula}

    @classmethod
    def derived_keys(cls) -> tuple[str, ...]:
        """``config_id`` and ``formula`` follow from the other fields."""
        return ("config_id", "formula")


PROVENANCE = ("cell", "parent", "parent_lattice", "deformation", "deformation_parameters")
"""Fields of a SpinConfig that a structure may carry in its ``properties``."""

MAX_STRAIN = 0.5
"""No component of a deformation gradient departs that far from the identity; a supercell's or a rotation's does."""


def provenance(structure: Structure) -> dict[str, Any]:
    """The PROVENANCE in ``structure.properties``.

    Empty where its lattice is no strained copy of the ``parent_lattice`` there: properties outlive ``make_supercell``,
    and then describe another cell.
    """
    found = {name: structure.properties[name] for name in PROVENANCE if name in structure.properties}
    if found.get("parent_lattice") is None:
        return found
    gradient = np.linalg.solve(np.array(found["parent_lattice"]), structure.lattice.matrix)
    return found if np.abs(gradient - np.eye(3)).max() < MAX_STRAIN else {}


class _Calculated(SpinConfig):
    """What a finished calculation and a failed one share: which engine, at which level of theory, how long."""

    engine: str = Field(description="engine type, such as gpaw or spin-lattice")
    engine_version: str
    level_of_theory: dict[str, Any] = Field(description="readable settings that decide the numbers")
    corrections: list[str] = Field(default_factory=list, description="what was changed on the way to convergence")
    kpoints: list[int] | None = Field(default=None, description="Gamma-centred mesh used, None where there is none")
    timings: dict[str, float] = Field(default_factory=dict, description="seconds: wall, cpu; counts: cores, iterations")
    calculated_by: str = Field(default="", description="campaign that paid for it; empty: the one that asked for it")
    history: list[dict[str, Any]] = Field(
        default_factory=list, description="runs of the program, what was found wrong in each and what was done about it"
    )

    @property
    def level_id(self) -> str:
        """16 hex digits of the level of theory; labels of different levels never share a training set."""
        return content_hash(self.level_of_theory, 16)

    @property
    def point_id(self) -> str:
        """Identity of the calculation: this configuration at this level of theory."""
        return point_id(self.config_id, self.level_id)

    def to_document(self) -> dict[str, Any]:
        """Stored dict with the ids added for queries."""
        document, level = super().to_document(), self.level_id
        return {**document, "level_id": level, "point_id": point_id(document["config_id"], level)}

    @classmethod
    def derived_keys(cls) -> tuple[str, ...]:
        """Ids follow from the other fields."""
        return (*super().derived_keys(), "level_id", "point_id")

    def config(self) -> SpinConfig:
        """The configuration this was calculated for."""
        return SpinConfig(**{name: getattr(self, name) for name in SpinConfig.model_fields})


def point_id(config_id: str, level_id: str) -> str:
    """Id of the label of a configuration at a level of theory; the key that forbids labelling twice."""
    return f"{config_id}-{level_id}"


class SpinPoint(_Calculated):
    """One label: energy, forces, stress and signed moments of a configuration, with a verdict on it."""

    energy: float = Field(description="eV per cell, extrapolated to zero smearing where there is smearing")
    free_energy: float = Field(description="eV per cell; forces and stress are its derivatives, so train on it")
    forces: Array = Field(description="(N, 3) eV/Angstrom, in site order")
    stress: Array | None = Field(description="(3, 3) eV/Angstrom^3, ASE sign; None where an imported label has none")
    magmoms_out: Array = Field(description="(N,) or (N, 3) converged moments in muB, signed")
    total_moment: float = Field(description="muB per cell, signed")
    magnetic_forces: Array | None = Field(
        default=None,
        description="-dE/dm at held moments, eV/muB, as magmoms_out: (N,) or (N, 3); None where the engine has none",
    )
    charges: list[float] | None = Field(
        default=None, description="N electrons within the projection sphere of each site, as the code counts them"
    )
    band_gap: float | None = Field(default=None, description="eV, 0 for a metal, None where the engine has no bands")
    ordering_found: str = Field(description="ordering of magmoms_out: as asked (modulo global reversal) or its name")
    verdict: Verdict
    verdict_reasons: list[str] = Field(default_factory=list, description="why rejected; empty when accepted")
    salvaged_from: str = Field(default="", description="point_id of the flipped label whose numbers these are")
    salvage_reason: str = Field(default="", description="how the moments of that label differed from its input")
    excitation: float | None = Field(
        default=None, description="eV/atom of free energy above the ground label, where this is another state of it"
    )
    ground: str = Field(default="", description="point_id of the label of this geometry and ordering that is kept")
    decision: str = Field(default="", description="manual decision in force: who, when and why; empty without one")
    overruled: list[str] = Field(default_factory=list, description="reasons that a manual acceptance sets aside")
    source: dict[str, Any] = Field(
        default_factory=dict, description="of an imported label: file, sha256, frame, importer, licence, citation"
    )

    @model_validator(mode="after")
    def _check_label_shapes(self) -> Self:
        n = len(self.species)
        expected: dict[str, tuple[int, ...]] = {"forces": (n, 3), "magmoms_out": self.magmoms_in.shape}
        expected |= {} if self.stress is None else {"stress": (3, 3)}
        expected |= {} if self.magnetic_forces is None else {"magnetic_forces": self.magmoms_in.shape}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, expected {shape}")
        if self.charges is not None and len(self.charges) != n:
            raise ValueError(f"charges has {len(self.charges)} numbers, expected {n}")
        if (self.verdict == "accepted") != (not self.verdict_reasons):
            raise ValueError("a rejected point needs reasons and an accepted one has none")
        return self


class SpinFailure(_Calculated):
    """A calculation that gave no label. It is kept, so that nobody pays for it twice, and it is never trained on."""

    error: str = Field(description="what failed, in one line")
    error_type: FailureKind


class Decision(_Document):
    """One entry of the log of manual decisions on labels; the newest of a label is in force. Never changed."""

    point_id: str
    action: DecisionAction
    author: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    created: str = Field(description="ISO 8601 with microseconds, UTC")
    salvaged_from: str = Field(
        default="", description="that of the label decided on; a real label that later gets its id is not concerned"
    )

    @property
    def decision_id(self) -> str:
        """24 hex digits of the content."""
        content = {**self.model_dump(), "schema_version": HASHED_VERSION}
        return content_hash({k: v for k, v in content.items() if k != "salvaged_from" or v})

    def to_document(self) -> dict[str, Any]:
        """Stored dict with ``decision_id``, which identifies it."""
        return {**self.model_dump(), "decision_id": self.decision_id}

    @classmethod
    def derived_keys(cls) -> tuple[str, ...]:
        """``decision_id`` follows from the content."""
        return ("decision_id",)


class ModelFile(_Document):
    """One file of a trained model and the SHA-256 of its content."""

    path: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    uri: str = Field(default="", description="where a copy is kept; empty: nowhere but at path")


class ModelRecord(_Document):
    """One trained committee: what it was trained on, how, how well it does, and whether it is in use."""

    model_id: str
    campaign: str
    generation: int
    created: str = Field(description="ISO 8601, UTC")
    snapshot_id: str
    level_id: str
    level_of_theory: dict[str, Any]
    moment_role: MomentRole
    species: list[str]
    hypers: dict[str, Any] = Field(description="model and training options, as parsed")
    files: list[ModelFile] = Field(description="checkpoints, one per committee member")
    scores: dict[str, Any] = Field(default_factory=dict, description="evaluation on the frozen test split")
    parents: list[str] = Field(default_factory=list, description="model_ids this one was started from")
    status: Literal["candidate", "champion", "retired"] = "candidate"
    code_version: str
    environment: dict[str, str] = Field(default_factory=dict, description="versions of Python, torch... and platform")
    seeds: list[int] = Field(default_factory=list, description="of the members' trainings, in the order of files")
    calibration: dict[str, float] = Field(default_factory=dict, description="task -> expected error over spread")
