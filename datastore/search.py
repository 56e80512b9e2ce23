"""What labels are searched by and do not say themselves: composition, moments per element, largest force.

These numbers follow from the label. They are stored beside it (key ``search``) when it is written, so that databases
can index them; nothing else reads them, and :class:`~datastore.schema.SpinPoint` leaves them out. Labels that an
earlier version wrote get them by ``spinmultinet data upgrade``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datastore.quality import ANIONS
from datastore.schema import SEARCH

LAYOUT = 1
"""Raised whenever something is added below, which tells what was written before from what was written since."""

PER_ELEMENT = ("x", "moment", "moment_max")
"""Keys of :func:`search_fields` that hold one number per element."""


def search_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a stored SpinPoint is searched by.

    ``layout``: :data:`LAYOUT`; ``atoms``: their number; ``system``: elements in alphabetical order, ``Mn-Ni-O``;
    ``x``: share of each element, cations among the cations and anions among the anions (ANIONS of
    :mod:`datastore.quality`), so that Ni0.75Co0.25O has x(Co) = 0.25; ``moment`` and ``moment_max``: mean and largest
    length of the converged moments per element, muB, without sign; ``fmax``: largest length of a force, eV/Angstrom;
    ``energy_per_atom``: eV; ``flipped``: whether it ended in another ordering than asked for.
    """
    species: list[str] = document["species"]
    forces = np.asarray(document["forces"], dtype=np.float64)
    moments = np.asarray(document["magmoms_out"], dtype=np.float64).reshape(len(species), -1)
    lengths = np.linalg.norm(moments, axis=1)
    sites = {element: np.flatnonzero([symbol == element for symbol in species]) for element in sorted({*species})}
    return {
        "layout": LAYOUT,
        "atoms": len(species),
        "system": "-".join(sites),
        "x": _shares(species),
        "moment": {element: float(lengths[where].mean()) for element, where in sites.items()},
        "moment_max": {element: float(lengths[where].max()) for element, where in sites.items()},
        "fmax": float(np.linalg.norm(forces, axis=1).max()),
        "energy_per_atom": document["energy"] / len(species),
        "flipped": document["ordering_found"] != document["ordering"],
    }


def searchable(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with what it is searched by, where it is one of a label; otherwise as it is."""
    plain = {key: value for key, value in document.items() if key != SEARCH}
    return {**plain, SEARCH: search_fields(plain)} if "magmoms_out" in plain else plain


def _shares(species: Sequence[str]) -> dict[str, float]:
    counts = Counter(species)
    anions = sum(number for element, number in counts.items() if element in ANIONS)
    rest = len(species) - anions
    return {element: counts[element] / (anions if element in ANIONS else rest) for element in sorted(counts)}
