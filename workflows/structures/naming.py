"""Names for orderings that somebody else set up: the signs are known, the name is not."""

from __future__ import annotations

import re

import numpy as np

from datastore.quality import sign_pattern
from datastore.schema import SpinConfig
from workflows.structures.errors import StructureError
from workflows.structures.orderings import PROPAGATION
from workflows.structures.recognise import index_rocksalt
from workflows.structures.rocksalt import ANION

_SIGNS = re.compile(r"(?:AFM|FiM)\[([+-]+)\]")


def recognised_ordering(config: SpinConfig) -> str:
    """Name of the ordering of a configuration's input moments.

    AFM-I, AFM-II or AFM-III where the signs on the cations of a rocksalt oxide are those of a wave along any arm of its
    star, from any origin; elsewhere the pattern of signs (:func:`datastore.quality.sign_pattern`), such as ``FM``,
    ``NM``, ``NC`` or ``FiM[++-+]``.
    """
    pattern = sign_pattern(config, config.magmoms_in)
    found = _SIGNS.fullmatch(pattern)
    cations = np.array([symbol != ANION for symbol in config.species])
    if found is None or len(found[1]) != int(cations.sum()):
        return pattern
    try:
        indexed = index_rocksalt(config.to_structure())
    except StructureError:
        return pattern
    signs = np.array([1 if sign == "+" else -1 for sign in found[1]])
    index = np.array(indexed.site_properties["grid_index"])[cations]
    vectors = np.array(indexed.properties["grid_vectors"])
    for name, star in PROPAGATION.items():
        for q in star:
            if np.any(vectors @ np.array(q) % 4):
                continue  # no period of the cell
            phases = (index @ np.array(q)) % 4
            # The origin of the grid is any cation, so the wave may start at any of its four phases.
            if any(np.array_equal(signs, np.where((phases + start) % 4 < 2, 1, -1)) for start in range(4)):
                return name
    return pattern
