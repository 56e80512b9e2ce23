"""The spin arrangements of one parent: names and moments of everything listed under ``orderings``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pymatgen.core import Structure

from datastore.quality import sign_pattern
from datastore.schema import SpinConfig
from workflows.names import short_name
from workflows.structures.enumeration import enumerate_signs, sign_images, sign_key
from workflows.structures.errors import StructureError
from workflows.structures.noncollinear import FloatArray, canted, random_directions, spiral
from workflows.structures.options import (
    CantedOptions,
    ConeOptions,
    EnumerateOptions,
    FerrimagneticOptions,
    OrderingOptions,
    RandomDirectionsOptions,
    RandomOptions,
    SpiralOptions,
)
from workflows.structures.orderings import (
    CUSTOM,
    DEFAULT_MOMENTS,
    FILE,
    apply_ordering,
    custom_signs,
    fitting_orderings,
    moment_magnitude,
)
from workflows.structures.recognise import index_rocksalt
from workflows.structures.rocksalt import ANION
from workflows.structures.symmetry import SYMPREC, IntArray, site_symmetry

Arrangement = tuple[str, FloatArray]
"""Name and moments: (N,) signed for collinear ones, (N, 3) vectors otherwise, muB."""

NET_TOLERANCE = 1e-6
"""muB."""

SAME_MOMENT = 1e-9
"""muB. Arrangements of one name that differ more are two: a cone of 30.00001 degrees is not one of 30.00002."""

MAX_DRAWS = 200
"""Random sign patterns tried for one that is new."""


@dataclass(frozen=True)
class SpinSites:
    """A parent with the length of the moment on every site.

    ``magnitudes`` (N,) muB, 0 where a site has none; ``magmoms`` as the user gave them, ``signs`` the own orderings.
    ``symprec``: Angstrom that the parent may be off its symmetry.
    """

    structure: Structure
    magnitudes: FloatArray
    magmoms: dict[str, float]
    signs: Mapping[str, list[int]]
    symprec: float = SYMPREC

    @classmethod
    def of(
        cls,
        structure: Structure,
        magmoms: Mapping[str, float],
        signs: Mapping[str, list[int]],
        symprec: float = SYMPREC,
    ) -> SpinSites:
        """Moments by element: given, or a default. StructureError where an element of an oxide made here has none.

        In the structure of a file the elements without a moment are not magnetic.
        """
        symbols = [site.specie.symbol for site in structure]
        own = {symbol: moment for symbol, moment in magmoms.items() if symbol in symbols}
        if FILE in structure.properties:
            own = {symbol: own.get(symbol, DEFAULT_MOMENTS.get(symbol, 0.0)) for symbol in set(symbols)}
        magnitude = {symbol: moment_magnitude(symbol, own) for symbol in set(symbols)}
        return cls(structure, np.array([magnitude[symbol] for symbol in symbols]), own, signs, symprec)

    @property
    def magnetic(self) -> IntArray:
        """Indices of the sites with a moment. StructureError where there are none, or the anion of an oxide is one."""
        sites = np.flatnonzero(self.magnitudes > 0)
        if not len(sites):
            symbols = ", ".join(sorted({site.specie.symbol for site in self.structure}))
            raise StructureError(f"no element of {self.label} has a moment ({symbols}); give one in magmoms (muB)")
        if FILE not in self.structure.properties and self.magmoms.get(ANION):
            raise StructureError("magmoms: O has no sign in this ordering; set O to 0")
        return sites

    @property
    def label(self) -> str:
        """What errors call this parent."""
        return str(self.structure.properties.get(FILE) or self.structure.composition.reduced_formula)

    def collinear(self, signs: IntArray) -> FloatArray:
        """(N,) moments from a sign per magnetic site."""
        moments = self.magnitudes.copy()
        moments[self.magnetic] *= signs
        return moments

    def pattern(self, moments: FloatArray) -> str:
        """FM where all sites with a moment agree, or a sign pattern such as ``AFM[+--+]``, as labels are named."""
        signs = np.sign(moments)  # however small the moments are
        if abs(signs.sum()) == len(self.magnetic):
            return "FM"
        return sign_pattern(self._any_signs, signs)

    @cached_property
    def _any_signs(self) -> SpinConfig:
        """A configuration with 1 muB where there is a moment; made once, as there may be thousands of patterns."""
        return SpinConfig(
            species=[site.specie.symbol for site in self.structure],
            lattice=self.structure.lattice.matrix,
            positions=self.structure.cart_coords,
            magmoms_in=np.sign(self.magnitudes),
            ordering="",
        )


def arrange(sites: SpinSites, entries: Sequence[Any]) -> Iterator[Arrangement]:
    """Arrangements asked for by ``entries`` (names or options), in their order; twins are still among them.

    Raises StructureError where one does not fit the parent, or two that differ have one name.
    """
    met: dict[str, FloatArray] = {}
    for entry in entries:
        found = [(entry, named(sites, entry))] if isinstance(entry, str) else _ARRANGERS[entry.kind](sites, entry)
        for name, moments in found:
            if not _same_up_to_reversal(met.setdefault(name, moments), moments):
                raise StructureError(
                    f"two different orderings of {sites.label} are called {short_name(name)}; remove one, rename it "
                    "under signs, or write angles and vectors that differ in their first 4 digits"
                )
            yield name, moments


def _same_up_to_reversal(first: FloatArray, second: FloatArray) -> bool:
    if first.shape != second.shape:
        return False
    return bool(min(np.abs(first - second).max(), np.abs(first + second).max()) < SAME_MOMENT)


def ordered_structures(
    structure: Structure,
    orderings: Sequence[Any],
    magmoms: Mapping[str, float] | None = None,
    signs: Mapping[str, list[int]] | None = None,
) -> Iterator[tuple[str, Structure]]:
    """Names and copies of ``structure`` with the site property ``magmom``, one per arrangement.

    ``structure`` is from :func:`rocksalt` or :func:`read_parents`; ``orderings``, ``magmoms`` and ``signs`` are as in a
    campaign, such as ``["AFM-II", {"kind": "enumerate", "net_moment": 0}]``. Raises StructureError.

    >>> from workflows.structures import rocksalt
    >>> [name for name, _ in ordered_structures(rocksalt("Ni"), [{"kind": "enumerate"}])]
    ['FM', 'AFM-I', 'AFM-II', 'FiM[+-++]']
    """
    try:
        entries = TypeAdapter(list[OrderingOptions]).validate_python(list(orderings))
    except ValidationError as error:
        raise StructureError("; ".join(f"orderings: {item['msg']}" for item in error.errors()[:4])) from None
    for name, moments in arrange(SpinSites.of(structure, magmoms or {}, signs or {}), entries):
        result = structure.copy()
        result.add_site_property("magmom", moments.tolist())
        yield name, result


def named(sites: SpinSites, ordering: str) -> FloatArray:
    """(N,) moments of an ordering by propagation vector, by own signs, or of the file (there also (N, 3))."""
    structure, foreign = sites.structure, FILE in sites.structure.properties
    if ordering == FILE:
        return _moments_of_file(sites)
    if foreign and ordering in sites.signs:
        return sites.collinear(custom_signs(ordering, sites.signs[ordering], len(sites.magnetic)))
    if foreign and ordering == "FM":
        return sites.collinear(np.ones(len(sites.magnetic), dtype=np.int64))
    if foreign and "grid_index" not in structure.site_properties:
        structure = _recognised(sites, ordering)
    own = sites.signs.get(ordering)
    ordered = apply_ordering(structure, CUSTOM if own is not None else ordering, magmoms=sites.magmoms, signs=own)
    return np.array(ordered.site_properties["magmom"])


def _recognised(sites: SpinSites, ordering: str) -> Structure:
    try:
        return index_rocksalt(sites.structure)
    except StructureError as error:
        problem = str(error).split("; give the signs")[0]
        raise StructureError(
            f"{sites.label}: {ordering} is an ordering of rocksalt oxides, but {problem}; use {{kind: enumerate}}, "
            "'file', or own signs"
        ) from None


def _moments_of_file(sites: SpinSites) -> FloatArray:
    moments = sites.structure.site_properties.get("magmom")
    if FILE not in sites.structure.properties:
        raise StructureError("ordering 'file' is for parents with a file; give the other parents their own orderings")
    if moments is None or not np.any(np.array(moments)):
        raise StructureError(f"{sites.label} holds no moments; use another ordering than 'file', or an mcif file")
    return np.array(moments, dtype=np.float64)


def _enumerated(sites: SpinSites, options: EnumerateOptions) -> Iterator[Arrangement]:
    magnetic = sites.magnetic
    known = {}
    if "grid_index" in sites.structure.site_properties:
        known = {name: np.sign(named(sites, name)[magnetic]) for name in fitting_orderings(sites.structure)}
    first = np.array(list(known.values())) if known else None
    every = enumerate_signs(sites.structure, magnetic, options.max_period, first, sites.symprec)
    found = _with_net_moment(sites, every, options)
    for signs, moments in itertools.islice(found, options.max_count):
        name = next((name for name, own in known.items() if np.array_equal(own, signs)), None)
        yield name or sites.pattern(moments), moments


def _with_net_moment(
    sites: SpinSites, patterns: Iterator[IntArray], options: EnumerateOptions
) -> Iterator[tuple[IntArray, FloatArray]]:
    for signs in patterns:
        moments = sites.collinear(signs)
        if options.net_moment is None or abs(abs(moments.sum()) - abs(options.net_moment)) < NET_TOLERANCE:
            yield signs, moments


def _ferrimagnetic(sites: SpinSites, options: FerrimagneticOptions) -> Iterator[Arrangement]:
    symbols = [sites.structure[int(site)].specie.symbol for site in sites.magnetic]
    if set(symbols) != set(options.signs):
        raise StructureError(
            f"ferrimagnetic: signs are given for {', '.join(sorted(options.signs))}, but the magnetic elements of "
            f"{sites.label} are {', '.join(sorted(set(symbols)))}; give each one sign"
        )
    moments = sites.collinear(np.array([options.signs[symbol] for symbol in symbols]))
    kind = sites.pattern(moments).split("[")[0]
    signs = ",".join(symbol + ("+" if sign > 0 else "-") for symbol, sign in sorted(options.signs.items()))
    yield f"{kind}[{signs}]", moments


def _random(sites: SpinSites, options: RandomOptions) -> Iterator[Arrangement]:
    draw = _sign_source(sites, options.net_moment)
    permutations = np.arange(len(sites.magnetic))[None]
    if options.count > 1:
        permutations = site_symmetry(sites.structure, sites.symprec).permutations(sites.magnetic)
    seen: set[bytes] = set()
    for item in range(options.count):
        rng = np.random.default_rng([options.seed, item])
        for _ in range(MAX_DRAWS):
            signs = draw(rng)
            if sign_key(signs) not in seen:
                break
        else:
            raise StructureError(
                f"random: {MAX_DRAWS} draws found no more than {item} orderings of {sites.label} that symmetry and "
                f"reversal leave distinct; set count to {item}"
            )
        seen |= sign_images(signs, permutations)
        moments = sites.collinear(signs)
        yield sites.pattern(moments), moments


def _sign_source(sites: SpinSites, net_moment: float | None) -> Callable[[np.random.Generator], IntArray]:
    """Draws (n,) signs, evenly among those with the net moment."""
    magnetic = sites.magnetic
    if net_moment is None:
        return lambda rng: rng.choice(np.array([1, -1]), size=len(magnetic))
    values, group = np.unique(sites.magnitudes[magnetic], return_inverse=True)
    sizes = np.bincount(group)
    tuples = np.array(list(itertools.product(*(range(size + 1) for size in sizes))))
    net = (2 * tuples - sizes) @ values
    fitting = tuples[np.abs(net - net_moment) < NET_TOLERANCE]
    if not len(fitting):
        near = sorted(set(np.round(np.abs(net), 6)), key=lambda value: abs(value - abs(net_moment)))[:3]
        raise StructureError(
            f"random: no signs give {net_moment:g} muB per cell of {sites.label}; near are "
            f"{', '.join(f'{value:g}' for value in sorted(near))}"
        )
    weights = np.array([math.prod(map(math.comb, sizes.tolist(), ups)) for ups in fitting.tolist()], dtype=float)
    return partial(_draw_signs, group=group, fitting=fitting, weights=weights / weights.sum())


def _draw_signs(rng: np.random.Generator, group: IntArray, fitting: IntArray, weights: FloatArray) -> IntArray:
    """(n,) signs with so many up in each group of equal moments as a row of ``fitting`` says."""
    ups = fitting[rng.choice(len(fitting), p=weights)]
    signs = np.full(len(group), -1)
    for number, count in enumerate(ups):
        signs[rng.permutation(np.flatnonzero(group == number))[:count]] = 1
    return signs


def _turning(sites: SpinSites, options: SpiralOptions | ConeOptions) -> Iterator[Arrangement]:
    angle = options.angle if isinstance(options, ConeOptions) else 90.0
    lengths = np.abs(sites.collinear(np.ones(len(sites.magnetic), dtype=np.int64)))
    opening = f" angle={angle:g}" if isinstance(options, ConeOptions) else ""
    name = f"{options.kind}[q={_numbers(options.q)} axis={_numbers(options.axis)}{opening}]"
    yield name, spiral(sites.structure, lengths, options.q, options.axis, angle)


def _canted(sites: SpinSites, options: CantedOptions) -> Iterator[Arrangement]:
    moments = named(sites, options.base)
    if moments.ndim != 1:
        raise StructureError(f"canted: {options.base} of {sites.label} is not collinear already; choose another base")
    sides = f"axis={_numbers(options.axis)} towards={_numbers(options.towards)}"
    name = f"canted[{options.base} {options.angle:g} {sides}]"
    yield name, canted(moments, options.angle, options.axis, options.towards)


def _random_directions(sites: SpinSites, options: RandomDirectionsOptions) -> Iterator[Arrangement]:
    lengths = np.abs(sites.collinear(np.ones(len(sites.magnetic), dtype=np.int64)))
    for item in range(options.count):
        rng = np.random.default_rng([options.seed, item])
        yield f"random_directions[{options.seed}.{item}]", random_directions(lengths, rng)


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:.4g}" for value in values)


_ARRANGERS: dict[str, Callable[..., Iterator[Arrangement]]] = {
    "enumerate": _enumerated,
    "ferrimagnetic": _ferrimagnetic,
    "random": _random,
    "spiral": _turning,
    "cone": _turning,
    "canted": _canted,
    "random_directions": _random_directions,
}
