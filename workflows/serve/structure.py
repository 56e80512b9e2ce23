"""What a picture of a label in space is made of: atoms, bonds, edges of the cell, arrows of moments and forces."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
from pymatgen.core import Structure

from datastore.quality import ANIONS
from datastore.schema import FloatArray, SpinPoint
from workflows.structures.draw import (
    ANION_RADIUS,
    BOND_LIMIT,
    CATION_RADIUS,
    COLOURS,
    OTHER_COLOUR,
    arrow_colours,
    shown_atoms,
)

Vector = tuple[float, float, float]
ARROW = 2.3
"""Angstrom: length of the arrow of the largest moment or force."""

SHORTEST = 0.35
"""Share of ARROW that the smallest arrow drawn still has, so that its direction shows."""

FORCE_COLOUR = "#15803d"
LEAST_FORCE = 0.005
"""eV/Angstrom; smaller forces are not drawn."""

MOST_BONDS = 1500


@dataclass(frozen=True)
class Atom:
    """A ball: element, place and radius in Angstrom, colour."""

    symbol: str
    at: Vector
    radius: float
    colour: str


@dataclass(frozen=True)
class Arrow:
    """An arrow through ``middle``, from tail to tip ``length`` Angstrom along the unit vector ``along``."""

    middle: Vector
    along: Vector
    length: float
    colour: str


@dataclass(frozen=True)
class Scene:
    """A label in space, Angstrom, its middle at the origin. Atoms on a face are on the opposite one, too."""

    atoms: list[Atom]
    bonds: list[tuple[Vector, Vector]]
    edges: list[tuple[Vector, Vector]]
    asked: list[Arrow]
    found: list[Arrow]
    forces: list[Arrow]
    reach: float
    """Radius of the sphere that holds everything."""
    largest: dict[str, float] = field(default_factory=dict)
    """Of ``moments`` (muB) and ``forces`` (eV/Angstrom): what the longest arrow stands for."""


def scene_of(point: SpinPoint) -> Scene:
    """The scene of a label. Moments that are signed numbers point along z."""
    symbols, places, asked = shown_atoms(_structure(point, point.magmoms_in))
    _, _, found = shown_atoms(_structure(point, point.magmoms_out))
    _, _, forces = shown_atoms(_structure(point, point.forces))
    middle = (np.ones(3) / 2) @ point.lattice
    places = places - middle
    corners = np.array(list(itertools.product((0, 1), repeat=3))) @ point.lattice - middle
    lengths = np.linalg.norm(forces, axis=1)
    colours = [FORCE_COLOUR if length > LEAST_FORCE else "" for length in lengths]
    moments = max(float(np.linalg.norm(values, axis=1).max()) for values in (asked, found))
    return Scene(
        atoms=[_atom(symbol, place) for symbol, place in zip(symbols, places, strict=True)],
        bonds=_bonds(symbols, places),
        edges=_edges(corners),
        asked=_arrows(places, asked, arrow_colours(asked), moments),
        found=_arrows(places, found, arrow_colours(found), moments),
        forces=_arrows(places, forces, colours, float(lengths.max())),
        reach=float(np.linalg.norm(np.vstack([places, corners]), axis=1).max()) + ARROW / 2,
        largest={"moments": moments, "forces": float(lengths.max())},
    )


def turn(along: Vector) -> list[list[float]]:
    """Rotation matrix that takes the y axis to the unit vector ``along``: cylinders lie along y before it."""
    x, y, z = along
    if y < -1 + 1e-9:
        return [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]
    # Rodrigues' formula for the axis y x along = (z, 0, -x), whose length is the sine of the angle.
    share = 1 / (1 + y)
    return [[1 - x * x * share, x, -x * z * share], [-x, y, -z], [-x * z * share, z, 1 - z * z * share]]


def _structure(point: SpinPoint, vectors: FloatArray) -> Structure:
    structure = point.to_structure()
    structure.add_site_property("magmom", vectors.tolist())
    return structure


def _atom(symbol: str, place: FloatArray) -> Atom:
    radius = ANION_RADIUS if symbol in ANIONS else CATION_RADIUS
    return Atom(symbol, _vector(place), radius, COLOURS.get(symbol, OTHER_COLOUR))


def _bonds(symbols: list[str], places: FloatArray) -> list[tuple[Vector, Vector]]:
    """Pairs of a cation and an anion that are about as near as the nearest."""
    anion = np.array([symbol in ANIONS for symbol in symbols])
    if anion.all() or not anion.any():
        return []
    distances = np.linalg.norm(places[~anion][:, None] - places[anion][None], axis=-1)
    near = np.argwhere(distances < BOND_LIMIT * distances.min())[:MOST_BONDS]
    return [(_vector(places[~anion][a]), _vector(places[anion][b])) for a, b in near]


def _edges(corners: FloatArray) -> list[tuple[Vector, Vector]]:
    fractions = list(itertools.product((0, 1), repeat=3))
    return [
        (_vector(corners[i]), _vector(corners[j]))
        for i, j in itertools.combinations(range(8), 2)
        if sum(a != b for a, b in zip(fractions[i], fractions[j], strict=True)) == 1
    ]


def _arrows(places: FloatArray, vectors: FloatArray, colours: list[str], largest: float) -> list[Arrow]:
    arrows = []
    for place, vector, colour in zip(places, vectors, colours, strict=True):
        length = math.sqrt(float(vector @ vector))
        if colour and length > 0:
            shown = ARROW * (SHORTEST + (1 - SHORTEST) * length / largest)
            arrows.append(Arrow(_vector(place), _vector(vector / length), shown, colour))
    return arrows


def _vector(values: FloatArray) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
