"""Further starts of a configuration: the same geometry and signs, other magnitudes of the initial moments.

With +U the self-consistent cycle may end in a metastable state, and which one it finds depends on where it began. So
the same state is asked for from several initial moments, and the lowest is kept (:mod:`datastore.metastable`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from datastore.quality import ASKED, UNPAIRED, magnetic_sites
from datastore.schema import FloatArray, SpinConfig
from workflows.structures.errors import StructureError

LOW_SPIN = {"Mn": 1, "Co": 1}
"""Unpaired electrons of divalent low-spin ions on an octahedral site, where they have some (Fe has none) and they are
fewer than in high spin (not so for V, Cr in a distorted site, Ni and Cu)."""

_Change = Callable[[str, float], float]

STARTS: dict[str, _Change] = {
    "high-spin": lambda symbol, length: float(UNPAIRED.get(symbol, length)),
    "low-spin": lambda symbol, length: float(LOW_SPIN.get(symbol, length)),
    "1.5x": lambda symbol, length: 1.5 * length,
    "0.5x": lambda symbol, length: 0.5 * length,
}
"""Name -> magnitude (muB) of a magnetic site's initial moment, from its element and the usual guess; in the order in
which they are tried. High spin is Hund's rule, as in the rule of the verdict."""


def starts(config: SpinConfig, count: int | None = None) -> list[SpinConfig]:
    """The first ``count`` (all where None) further starts of ``config``, each with its name in ``start``.

    Signs and directions stay, and so does everything but the magnitudes on magnetic sites that were given a moment.
    Starts that equal the configuration or an earlier start are left out. Where the configuration is a start itself,
    they are further starts of that one. Empty for moments held as a constraint, which have nowhere to go.
    """
    if config.moment_role != "guess":
        return []
    found = {config.config_id: config}
    for new in _all(config):
        found.setdefault(new.config_id, new)
    return list(found.values())[1:][:count]


def from_occupations(config: SpinConfig, text: str) -> SpinConfig:
    """A start of ``config`` from occupation matrices; ``text``: the file that the engine reads, sites as in ``config``.

    Raises StructureError where there is no text. Engines that take none refuse the configuration.
    """
    if not text.strip():
        raise StructureError("the occupation matrices are empty; give the text of the file, not its name")
    return config.model_copy(update={"occupations": text, "start": "occupations"})


def _all(config: SpinConfig) -> Iterator[SpinConfig]:
    for name, change in STARTS.items():
        moments = _with_magnitudes(config, change)
        yield config.model_copy(update={"magmoms_in": moments, "start": name, "occupations": ""})


def _with_magnitudes(config: SpinConfig, change: _Change) -> FloatArray:
    moments = np.array(config.magmoms_in)
    for site in magnetic_sites(config):
        length = float(np.linalg.norm(moments[site]))
        if length >= ASKED:
            moments[site] *= change(config.species[site], length) / length
    moments.setflags(write=False)
    return moments
