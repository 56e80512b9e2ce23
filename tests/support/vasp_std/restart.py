"""Files from which other runs start: WAVECAR (here: the moments), CHGCAR, CONTCAR and IBZKPT."""

import json
from pathlib import Path

import numpy as np

from tests.support.vasp_std.inputs import Inputs

WAVECAR = Path("WAVECAR")


def starting_moments(inputs: Inputs) -> tuple[np.ndarray, bool]:
    """Moments that the electrons start from, and whether they come from a WAVECAR.

    As in VASP a wavefunction that is read decides: MAGMOM is then without effect.
    """
    guess = inputs.guess()
    if inputs.integer("ISTART", 1 if WAVECAR.exists() else 0) and WAVECAR.exists():
        try:
            stored = np.array(json.loads(WAVECAR.read_text())["moments"])
        except (ValueError, KeyError, TypeError):
            return guess, False
        if stored.shape == guess.shape:
            return stored, True
    return guess, False


def write_state(inputs: Inputs, moments: np.ndarray) -> None:
    """Small stand-ins for WAVECAR and CHGCAR, where the INCAR asks for them."""
    if inputs.logical("LWAVE", True):
        WAVECAR.write_text(json.dumps({"moments": moments.tolist()}))
    if inputs.logical("LCHARG", True):
        Path("CHGCAR").write_text(f"{inputs.comment}\n stand-in of the test program\n")


def write_ibzkpt(inputs: Inputs) -> None:
    """K points with whole weights, as VASP writes them at the start."""
    mesh = inputs.mesh
    weights = (mesh.weights / mesh.weights.min()).round().astype(int)
    rows = "".join(
        "".join(f"{x:20.14f}" for x in point) + f"{weight:14d}\n"
        for point, weight in zip(mesh.points, weights, strict=True)
    )
    Path("IBZKPT").write_text(f"Automatically generated mesh\n{len(weights):8d}\nReciprocal lattice\n{rows}")


def write_contcar(inputs: Inputs, lattice: np.ndarray, positions: np.ndarray) -> None:
    names = "".join(f"   {p.element:<2}" for p in inputs.potcars)
    counts = "".join(f"{count:6d}" for count in inputs.counts)
    cell = "\n".join("".join(f"{x:22.16f}" for x in row) for row in lattice)
    sites = "\n".join("".join(f"{x:20.16f}" for x in row) for row in positions @ np.linalg.inv(lattice))
    still = "\n".join("".join(f"{0:16.8E}" for _ in range(3)) for _ in positions)
    Path("CONTCAR").write_text(
        f"{inputs.comment:<40}\n   1.00000000000000     \n{cell}\n{names}\n{counts}\nDirect\n{sites}\n \n{still}\n"
    )
