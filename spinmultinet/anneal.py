"""The lowest collinear ordering of one geometry, by simulated annealing over the signs of the moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from ase import units
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .errors import SpinMultiNetError

EnergyOf = Callable[[np.ndarray], np.ndarray]
"""Energies [B] (eV) of moments [B, N] (muB); infinite or NaN for a state that does not exist."""

Tell = Callable[[float, str], None]
Save = Callable[[dict[str, Any]], None]
SAME_ENERGY = 1e-5
"""eV/atom. Restarts that end closer than this found the same state, up to symmetry; float32 models need that much."""


class AnnealOptions(BaseModel):
    """`steps` proposals per restart while the temperature falls geometrically from `start` to `end` (K).

    A proposal flips one moment or, with probability `swaps`, exchanges the signs of an up and a down moment;
    `conserve` does only the latter, from random orders of the given signs. Then single flips (exchanges) go downhill.
    Restart k has its own random numbers from (`seed`, k): more restarts never change those before.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=1000, ge=1, description="proposals per restart")
    start: float = Field(default=2000.0, gt=0, allow_inf_nan=False, description="first temperature, K")
    end: float = Field(default=50.0, gt=0, description="last temperature, K")
    restarts: int = Field(default=4, ge=1, description="independent runs, side by side")
    seed: int = Field(default=0, ge=0)
    swaps: float = Field(default=0.3, ge=0, le=1, description="share of exchanges among the proposals")
    conserve: bool = Field(default=False, description="keep the numbers of up and down moments")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.end > self.start:
            raise ValueError(
                f"the last temperature, {self.end:g} K, is above the first, {self.start:g} K; exchange them"
            )
        return self

    def temperature(self, step: int) -> float:
        """In K, at a step counted from 0."""
        share = step / max(1, self.steps - 1)
        return float(self.start * (self.end / self.start) ** share)


@dataclass(frozen=True)
class AnnealResult:
    """Lowest moments [N] (muB, signed) and energy (eV), and those that every restart ended with, [R, N] and [R].

    `found` counts the restarts that ended within SAME_ENERGY of the lowest; 1 of several is a reason to doubt.
    """

    moments: np.ndarray
    energy: float
    restart_moments: np.ndarray
    restart_energies: np.ndarray
    found: int
    calculations: int
    accepted: float


@dataclass
class _Chains:
    """All restarts side by side: current and best signs [R, n] with energies [R], and a generator each."""

    signs: np.ndarray
    energies: np.ndarray
    best: np.ndarray
    best_energies: np.ndarray
    generators: list[np.random.Generator]
    step: int = 0
    accepted: int = 0
    calculations: int = 0

    def document(self) -> dict[str, Any]:
        """JSON-able state."""
        arrays = {k: getattr(self, k).tolist() for k in ("signs", "energies", "best", "best_energies")}
        counts = {k: getattr(self, k) for k in ("step", "accepted", "calculations")}
        return {**arrays, **counts, "generators": [g.bit_generator.state for g in self.generators]}

    @classmethod
    def of(cls, document: dict[str, Any]) -> _Chains:
        """The chains of a `document`. Raises SpinMultiNetError where it is none."""
        try:
            signs, energies, best, best_energies = (
                np.array(document[k], dtype=float) for k in ("signs", "energies", "best", "best_energies")
            )
            step, accepted, calculations = (int(document[k]) for k in ("step", "accepted", "calculations"))
            generators = []
            for state in document["generators"]:
                generators.append(np.random.default_rng())
                generators[-1].bit_generator.state = state
        except (KeyError, TypeError, ValueError) as error:
            raise SpinMultiNetError(
                f"the saved state of an annealing cannot be read ({error}); delete its file"
            ) from None
        return cls(signs, energies, best, best_energies, generators, step, accepted, calculations)


@dataclass
class _Energies:
    """Energies by signs, each computed once; reversal of all moments makes no difference."""

    energy_of: EnergyOf
    moments: np.ndarray
    movable: np.ndarray
    known: dict[bytes, float] = field(default_factory=dict)

    def of(self, signs: np.ndarray) -> np.ndarray:
        """[B] energies of signs [B, n]; what is new is computed in one call."""
        names = [np.packbits(row > 0).tobytes() for row in self.standing_for(signs)]
        new = {name: k for k, name in enumerate(names) if name not in self.known}
        if new:
            found = np.asarray(self.energy_of(self.full(signs[list(new.values())])), dtype=float)
            self.known.update(zip(new, np.where(np.isfinite(found), found, np.inf).tolist(), strict=True))
        return np.array([self.known[name] for name in names])

    def full(self, signs: np.ndarray) -> np.ndarray:
        """[B, N] moments; those that do not move are as given."""
        out = np.repeat(self.moments[None], len(signs), axis=0)
        out[:, self.movable] = np.abs(self.moments[self.movable]) * signs
        return out

    def standing_for(self, signs: np.ndarray) -> np.ndarray:
        """[B, n], first sign up: a pattern and its reverse are one, unless a moment that is held tells them apart."""
        held = self.moments.copy()
        held[self.movable] = 0.0
        return signs if held.any() else signs * signs[:, :1]


def anneal(
    energy_of: EnergyOf,
    moments: np.ndarray,
    movable: Sequence[int],
    options: AnnealOptions,
    *,
    state: dict[str, Any] | None = None,
    save: Save | None = None,
    tell: Tell | None = None,
) -> AnnealResult:
    """Lowest signs of the `movable` moments found; magnitudes (muB) and all other moments [N] stay.

    Every step asks for one energy per restart, in one call. `save` gets the state after every step (JSON-able; write it
    when it suits), and given back as `state` the run goes on to the very same result. Raises SpinMultiNetError for
    moments that cannot be flipped.
    """
    energies = _Energies(energy_of, np.asarray(moments, dtype=float), _movable(moments, movable))
    chains = _started(energies, options) if state is None else _Chains.of(state)
    # What a resumed run has computed before is not known to it; its own count starts from the state's.
    before = chains.calculations
    while chains.step < options.steps:
        _advance(chains, energies, options)
        chains.calculations = before + len(energies.known)
        if save is not None:
            save(chains.document())
        if tell is not None:
            lowest = chains.best_energies.min()
            tell(chains.step / options.steps, f"{options.temperature(chains.step - 1):.0f} K, lowest {lowest:.4f} eV")
    signs, found = _downhill(chains.best, energies, options.conserve)
    return _result(signs, found, energies, before, chains.accepted / (options.steps * options.restarts))


def walk(
    energy_of: EnergyOf, moments: np.ndarray, movable: Sequence[int], options: AnnealOptions
) -> Iterator[tuple[int, np.ndarray, float]]:
    """One Metropolis walk from `moments` [N] (muB): step (0 is the start), moments and energy (eV) after every step.

    Temperatures, proposals and seed as in `options`; `restarts` does not matter. Every step asks for at most one
    energy, and for none of a state that was proposed before. At one temperature and without exchanges states come as
    often as Boltzmann says; exchanges leave the parallel state, which has none, a little too often. Raises
    SpinMultiNetError as `anneal`.
    """
    energies = _Energies(energy_of, np.asarray(moments, dtype=float), _movable(moments, movable))
    signs = np.sign(energies.moments[energies.movable])[None]
    first = energies.of(signs)
    generators = [np.random.default_rng([options.seed, 0])]
    chains = _Chains(signs, first, signs.copy(), first.copy(), generators)
    yield 0, energies.full(chains.signs)[0], float(chains.energies[0])
    while chains.step < options.steps:
        _advance(chains, energies, options)
        yield chains.step, energies.full(chains.signs)[0], float(chains.energies[0])


def _movable(moments: np.ndarray, movable: Sequence[int]) -> np.ndarray:
    sites = np.asarray(movable, dtype=int)
    if not len(sites) or not np.all(moments[sites] != 0):
        raise SpinMultiNetError("annealing needs sites with a moment; give those that may flip a magnitude in muB")
    return sites


def _result(signs: np.ndarray, found: np.ndarray, energies: _Energies, before: int, accepted: float) -> AnnealResult:
    lowest = int(np.argmin(found))
    moments = energies.full(energies.standing_for(signs))
    limit = SAME_ENERGY * len(energies.moments)
    return AnnealResult(
        moments=moments[lowest],
        energy=float(found[lowest]),
        restart_moments=moments,
        restart_energies=found,
        found=int((found <= found[lowest] + limit).sum()),
        calculations=before + len(energies.known),
        accepted=accepted,
    )


def _started(energies: _Energies, options: AnnealOptions) -> _Chains:
    given = np.sign(energies.moments[energies.movable])
    generators = [np.random.default_rng([options.seed, k]) for k in range(options.restarts)]
    rows = [g.permutation(given) if options.conserve else g.choice([1.0, -1.0], len(given)) for g in generators]
    signs = np.array(rows)
    found = energies.of(signs)
    return _Chains(signs, found, signs.copy(), found.copy(), generators)


def _advance(chains: _Chains, energies: _Energies, options: AnnealOptions) -> None:
    """One Metropolis step of every restart."""
    proposed = np.array([_proposal(s, g, options) for s, g in zip(chains.signs, chains.generators, strict=True)])
    found = energies.of(proposed)
    scale = units.kB * options.temperature(chains.step)
    for k, generator in enumerate(chains.generators):
        # Out of a state that does not exist any step is welcome.
        rise = found[k] - chains.energies[k] if np.isfinite(chains.energies[k]) else 0.0
        if rise <= 0 or generator.random() < np.exp(-min(rise / scale, 700.0)):
            chains.signs[k], chains.energies[k] = proposed[k], found[k]
            chains.accepted += 1
        if chains.energies[k] < chains.best_energies[k]:
            chains.best[k], chains.best_energies[k] = chains.signs[k], chains.energies[k]
    chains.step += 1


def _proposal(signs: np.ndarray, generator: np.random.Generator, options: AnnealOptions) -> np.ndarray:
    new = signs.copy()
    up, down = np.flatnonzero(signs > 0), np.flatnonzero(signs < 0)
    wanted = options.conserve or generator.random() < options.swaps
    if wanted and len(up) and len(down):
        new[[generator.choice(up), generator.choice(down)]] *= -1
    elif not options.conserve:
        new[generator.integers(len(signs))] *= -1
    return new


def _downhill(signs: np.ndarray, energies: _Energies, conserve: bool) -> tuple[np.ndarray, np.ndarray]:
    """Steepest descent by single flips (exchanges) from each row [R, n]: signs and energies of the minima."""
    ends, lowest = signs.copy(), energies.of(signs)
    for k in range(len(ends)):
        while True:
            near = _neighbours(ends[k], conserve)
            found = energies.of(near) if len(near) else np.array([np.inf])
            best = int(np.argmin(found))
            if not found[best] < lowest[k] - 1e-9:
                break
            ends[k], lowest[k] = near[best], found[best]
    return ends, lowest


def _neighbours(signs: np.ndarray, conserve: bool) -> np.ndarray:
    """[B, n] patterns one flip (exchange of an up and a down moment) away."""
    n = len(signs)
    moves = (
        [(i, j) for i in np.flatnonzero(signs > 0) for j in np.flatnonzero(signs < 0)]
        if conserve
        else [(i,) for i in range(n)]
    )
    out = np.repeat(signs[None], len(moves), axis=0)
    for row, move in zip(out, moves, strict=True):
        row[list(move)] *= -1
    return out
