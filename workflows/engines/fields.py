"""What the settings of several engines have in common: checks of fields, as ValueErrors that say how to mend them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping

from ase.data import chemical_symbols

KMesh = tuple[int, int, int]
"""Divisions along the three reciprocal vectors."""


def check_element(symbol: str) -> None:
    """ValueError with the nearest symbol where ``symbol`` is no chemical element."""
    if symbol not in chemical_symbols[1:]:
        near = difflib.get_close_matches(symbol.capitalize(), chemical_symbols[1:], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "write a symbol such as 'Ni'"
        raise ValueError(f"{symbol!r} is not a chemical element; {hint}")


def check_amounts(values: Mapping[str, float]) -> None:
    """ValueError where a key is no element, or its number is negative or not finite."""
    for symbol, number in values.items():
        check_element(symbol)
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{symbol} is {number}; it must be a finite number, 0 or more")


def check_meshes(values: Mapping[str, KMesh]) -> None:
    """ValueError where the k mesh of a cell type has a division below 1."""
    for cell, mesh in values.items():
        if min(mesh) < 1:
            raise ValueError(f"k mesh of {cell!r} is {list(mesh)}; every division must be at least 1")
