"""OCCEXT and OCCMATRIX of the occupation-matrix-control patch, where the program is told to have it.

While matrices are held their sites have the moments of these, whatever that costs.
"""

import os
from pathlib import Path

import numpy as np

from tests.support.vasp_std.inputs import Inputs
from tests.support.vasp_std.messages import StopError

VARIABLE = "VASP_STD_PATCH"
"""Environment variable: ``occupations``, or nothing."""
FOUND = "\n \n OCCEXT found - reading occupation matrix from external file OCCMATRIX\n \n"
"""As the patch writes it to OUTCAR."""


def held_moments(inputs: Inputs, start: np.ndarray) -> np.ndarray | None:
    """Moments (N,) in muB of matrices that are held, those of ``start`` on other sites; None where none are held."""
    if os.environ.get(VARIABLE) != "occupations" or inputs.integer("OCCEXT", 0) != 1:
        return None
    try:
        return _read(Path("OCCMATRIX").read_text().splitlines(), inputs, start.copy())
    except (FileNotFoundError, StopIteration):
        raise StopError("forrtl: severe (24): end-of-file during read, unit 999, file OCCMATRIX") from None
    except (ValueError, IndexError):
        raise StopError("forrtl: severe (59): list-directed I/O syntax error, unit 999, file OCCMATRIX") from None


def _read(text: list[str], inputs: Inputs, moments: np.ndarray) -> np.ndarray:
    """Line by line, as the patch does: also the line after the last matrix has to be there."""
    lines = iter(text)
    for _ in range(int(next(lines).split()[0])):
        site, angular, spins = (int(word) for word in next(lines).split()[:3])
        traces = [0.0, 0.0]
        for spin in range(spins):
            next(lines)
            traces[spin] = sum(float(next(lines).split()[i]) for i in range(2 * angular + 1))
        next(lines)
        if inputs.hubbard()[inputs.blocks[site - 1]][1] == angular:
            moments[site - 1] = traces[0] - traces[1]
    return moments
