"""Random displacement, shear, tensile strain and volume change of a structure, reproducible from a seed.

Conventions (those of the four deformations of the SpinMultiNet dataset):

| kind | amplitude | deformation gradient F | parameters recorded |
| --- | --- | --- | --- |
| displacement | rms length of the displacement vectors, Angstrom | 1 | ``displacement`` (Angstrom) |
| shear | strain e, dimensionless | F_ij = F_ji = e in one plane | ``plane`` xy, xz or yz; ``strain`` |
| tensile | strain e, dimensionless | F_ii = 1 + e along one axis | ``axis`` x, y or z; ``strain`` |
| volume | ratio V/V0 | ratio^(1/3) | ``volume_ratio`` |

Strains keep the fractional coordinates; ``displacement`` (Angstrom rms) may be added on top. Displacements are
Gaussian, each component with standard deviation rms / sqrt(3), so the rms length is reached on average over atoms.
They are drawn by ourselves because pymatgen's ``perturb`` gives every atom the same length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from datastore.schema import provenance
from workflows.structures.errors import StructureError
from workflows.structures.identity import parent_id
from workflows.structures.rocksalt import MIN_DISTANCE

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
DeformationKind = Literal["displacement", "shear", "tensile", "volume", "none"]
Seed = int | Sequence[int]

KINDS: tuple[str, ...] = get_args(DeformationKind)
PLANES = {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2)}
AXES = {"x": 0, "y": 1, "z": 2}
DIRECTIONS: dict[str, tuple[str, ...]] = {"shear": tuple(PLANES), "tensile": tuple(AXES)}
LIMITS: dict[str, tuple[float, float]] = {
    "displacement": (0.0, 0.5),
    "shear": (-0.3, 0.3),
    "tensile": (-0.3, 0.3),
    "volume": (0.5, 2.0),
    "none": (0.0, 0.0),
}
"""Sane amplitudes per kind, in the units of the table above; beyond them a number is more likely a mistake."""

PAIR_CUTOFF = 4.0
"""Angstrom; no pair farther apart than this can come closer than MIN_DISTANCE within LIMITS."""

MAX_DRAWS = 20


@dataclass(frozen=True)
class Recipe:
    """One deformation: kind, amplitude and direction as in the table of this module, and rms displacement on top."""

    kind: str
    amplitude: float = 0.0
    direction: str | None = None
    displacement: float = 0.0


@dataclass(frozen=True)
class Geometry:
    """A parent cell as plain arrays, with the pairs of atoms whose distance has to be watched.

    ``lattice`` (3, 3) Angstrom rows, ``fractional`` (N, 3), ``first``/``second`` (P,) atom indices, ``images`` (P, 3)
    lattice translations of the second atom of a pair.
    """

    lattice: FloatArray
    fractional: FloatArray
    first: IntArray = field(repr=False)
    second: IntArray = field(repr=False)
    images: FloatArray = field(repr=False)

    @classmethod
    def of(cls, structure: Structure) -> Geometry:
        """Arrays of a pymatgen structure; each pair within PAIR_CUTOFF once."""
        first, second, images, _ = structure.get_neighbor_list(PAIR_CUTOFF)
        # Keep one of (i, j, T) and (j, i, -T); a pair of an atom with its own image is decided by the image.
        code = (images @ np.array([1_000_000, 1_000, 1])).astype(np.int64)
        once = (first < second) | ((first == second) & (code > 0))
        return cls(
            lattice=np.array(structure.lattice.matrix),
            fractional=np.array(structure.frac_coords),
            first=first[once],
            second=second[once],
            images=np.array(images[once], dtype=np.float64),
        )

    def closest(self, lattice: FloatArray, positions: FloatArray) -> float:
        """Smallest distance in Angstrom among the watched pairs at ``positions`` (N, 3) in ``lattice``."""
        if not len(self.first):
            return math.inf
        vectors = positions[self.second] - positions[self.first] + self.images @ lattice
        return math.sqrt(float(np.einsum("ij,ij->i", vectors, vectors).min()))


def deform(
    structure: Structure,
    kind: str,
    amplitude: float = 0.0,
    *,
    seed: Seed = 0,
    direction: str | None = None,
    displacement: float = 0.0,
) -> tuple[Structure, dict[str, Any]]:
    """Deformed copy of ``structure`` (all site properties kept) and the parameters that reproduce it.

    ``properties`` of the copy say where it came from (``parent``, ``parent_lattice``, ``deformation``,
    ``deformation_parameters``), for SpinConfig.from_structure. The parent of a structure deformed twice is the
    undeformed one, and its first deformation is kept in the parameters under ``before``.

    Args:
        structure: any ordered structure.
        kind: displacement, shear, tensile, volume or none.
        amplitude: see the table of this module.
        seed: an integer, or a list (first the seed, then the branch) as recorded in the parameters.
        direction: plane or axis; drawn from ``seed`` where it is not given.
        displacement: rms random displacement on top of a strain, Angstrom.

    Raises:
        StructureError: unknown kind or direction, no volume, amplitude beyond LIMITS, atoms too close.
    """
    if direction is None:
        direction = draw_direction(kind, choice_rng(seed))
    recipe = Recipe(kind, float(amplitude), direction, float(displacement))
    check_recipe(recipe)
    lattice, positions, parameters = deform_arrays(Geometry.of(structure), recipe, seed)
    deformed = Structure(
        Lattice(lattice),
        structure.species,
        positions,
        coords_are_cartesian=True,
        site_properties=structure.site_properties,
        properties={**structure.properties, **_provenance(structure, kind, parameters)},
    )
    return deformed, parameters


def _provenance(structure: Structure, kind: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The PROVENANCE properties of ``structure`` after one more deformation."""
    known = provenance(structure)
    if known.get("parent_lattice") is None:  # not from here, or a supercell: it is its own parent
        lattice = structure.lattice.matrix.tolist()
        known = {"cell": "custom", "parent": parent_id(structure), "parent_lattice": lattice, **known}
    earlier = known.get("deformation", "none")
    if earlier != "none":
        if kind == "none":
            return known
        parameters = {**parameters, "before": {"deformation": earlier, **known.get("deformation_parameters", {})}}
    return {**known, "deformation": kind, "deformation_parameters": parameters}


def deform_arrays(parent: Geometry, recipe: Recipe, seed: Seed) -> tuple[FloatArray, FloatArray, dict[str, Any]]:
    """Lattice (3, 3) and positions (N, 3) in Angstrom of the deformed parent, and its recorded parameters.

    Displacements that bring atoms closer than MIN_DISTANCE are redrawn from the same stream, so the result still
    depends on ``seed`` only. StructureError where the strain alone is too much, or MAX_DRAWS draws are in vain.
    """
    lattice = parent.lattice @ deformation_gradient(recipe).T
    ideal = parent.fractional @ lattice
    rms = recipe.amplitude if recipe.kind == "displacement" else recipe.displacement
    parameters = {**describe(recipe), "seed": _seed_list(seed)}
    rng = displacement_rng(seed) if rms else None
    for draw in range(MAX_DRAWS if rng else 1):
        positions = ideal + rng.normal(scale=rms / math.sqrt(3), size=ideal.shape) if rng else ideal
        if parent.closest(lattice, positions) >= MIN_DISTANCE:
            return lattice, positions, {**parameters, "redrawn": draw} if draw else parameters
    raise StructureError(
        f"deformation {recipe.kind} with {describe(recipe)} brings atoms closer than {MIN_DISTANCE} Angstrom; "
        "reduce its amplitude or displacement"
    )


def deformation_gradient(recipe: Recipe) -> FloatArray:
    """(3, 3) F; a lattice vector v becomes F v. Dimensionless, see the table of this module."""
    gradient = np.eye(3)
    if recipe.kind == "shear":
        i, j = PLANES[str(recipe.direction)]
        gradient[i, j] = gradient[j, i] = recipe.amplitude
    elif recipe.kind == "tensile":
        axis = AXES[str(recipe.direction)]
        gradient[axis, axis] += recipe.amplitude
    elif recipe.kind == "volume":
        gradient *= recipe.amplitude ** (1 / 3)
    return gradient


def describe(recipe: Recipe) -> dict[str, Any]:
    """JSON-able parameters under the names and units of the table of this module."""
    if recipe.kind == "displacement":
        return {"displacement": recipe.amplitude}
    parameters: dict[str, Any] = {}
    if recipe.kind == "shear":
        parameters = {"plane": recipe.direction, "strain": recipe.amplitude}
    elif recipe.kind == "tensile":
        parameters = {"axis": recipe.direction, "strain": recipe.amplitude}
    elif recipe.kind == "volume":
        parameters = {"volume_ratio": recipe.amplitude}
    return {**parameters, "displacement": recipe.displacement}


def check_recipe(recipe: Recipe) -> None:
    """StructureError where a recipe is unknown, has no volume, or exceeds LIMITS."""
    check_amplitude(recipe.kind, recipe.amplitude)
    check_displacement(recipe.kind, recipe.displacement)
    allowed = DIRECTIONS.get(recipe.kind, ())
    if allowed and recipe.direction not in allowed:
        raise StructureError(f"{recipe.kind}: direction {recipe.direction!r} is unknown; use {', '.join(allowed)}")
    if not allowed and recipe.direction is not None:
        raise StructureError(f"{recipe.kind} has no direction; leave it out")


def check_amplitude(kind: str, amplitude: float) -> None:
    """StructureError where ``amplitude`` of ``kind`` gives no volume or is beyond LIMITS."""
    check_kind(kind)
    if (kind == "volume" and amplitude <= 0) or (kind == "tensile" and amplitude <= -1):
        raise StructureError(
            f"{kind}: amplitude {amplitude:g} gives a negative or zero volume; "
            + ("it is the ratio V/V0, such as 0.95" if kind == "volume" else "it is a strain, such as -0.02")
        )
    low, high = LIMITS[kind]
    if not low <= amplitude <= high:
        unit = {"displacement": "Angstrom rms", "volume": "ratio V/V0"}.get(kind, "strain")
        raise StructureError(f"{kind}: amplitude {amplitude:g} is outside {low:g} to {high:g} ({unit})")


def check_displacement(kind: str, displacement: float) -> None:
    """StructureError where the displacement on top of a strain is impossible or meaningless."""
    low, high = LIMITS["displacement"]
    if not low <= displacement <= high:
        raise StructureError(f"{kind}: displacement {displacement:g} is outside {low:g} to {high:g} (Angstrom rms)")
    if displacement and kind in ("displacement", "none"):
        raise StructureError(f"{kind}: the displacement on top is for strains; use kind displacement with an amplitude")


def check_kind(kind: str) -> None:
    """StructureError where ``kind`` is not one of KINDS."""
    if kind not in KINDS:
        raise StructureError(f"deformation {kind!r} is unknown; use {', '.join(KINDS)}")


def draw_direction(kind: str, rng: np.random.Generator) -> str | None:
    """Random plane of a shear or axis of a tensile strain; None for the other kinds."""
    allowed = DIRECTIONS.get(kind)
    return allowed[int(rng.integers(len(allowed)))] if allowed else None


def choice_rng(seed: Seed) -> np.random.Generator:
    """Stream of the choices (amplitude, direction) of a configuration; apart from that of its displacements."""
    return _rng(seed, 0)


def displacement_rng(seed: Seed) -> np.random.Generator:
    """Stream of the displacements of a configuration."""
    return _rng(seed, 1)


def _rng(seed: Seed, stream: int) -> np.random.Generator:
    root, *branch = _seed_list(seed)
    # spawn_key keeps branches independent however many of them there are (numpy's own way to derive children).
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(root, spawn_key=(*branch, stream))))


def _seed_list(seed: Seed) -> list[int]:
    values = [int(seed)] if isinstance(seed, int) else [int(value) for value in seed]
    if not values or min(values) < 0:
        raise StructureError(f"seed {seed!r} must be an integer of 0 or more")
    return values
