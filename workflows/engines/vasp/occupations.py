"""A start from occupation matrices: the file that the patch reads, and what must hold after each of the two runs.

The patch is that of Allen and Watson (Phys. Chem. Chem. Phys. 16, 21016 (2014);
https://github.com/WatsonGroupTCD/Occupation-matrix-control-in-VASP). While OCCEXT is 1 the matrices in OCCMATRIX stand
in for the calculated ones in the +U potential, which shifts the energy. So they are held in one run, whose energies
belong to no state, and released in a second one, as its authors advise: that begins from the WAVECAR of the first and
is a single point like any other. Only collinear matrices are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.io.vasp import Incar

from datastore.quality import COLLAPSED
from datastore.schema import FloatArray, SpinConfig
from workflows.engines.interface import LabelError
from workflows.engines.vasp.readback import numbers
from workflows.engines.vasp.restart import flipped_sites
from workflows.engines.vasp.settings import VaspSettings

FILE = "OCCMATRIX"
FOLDER = "held"
"""Of the first run, within that of the second."""

HELD: dict[str, Any] = {"OCCEXT": 1, "LWAVE": True}
"""Tags of the first run, over those of a single point."""

RELEASED: dict[str, Any] = {"ISTART": 1, "ICHARG": 0}
"""Tags of the second: orbitals of the WAVECAR, and the density of these. MAGMOM then has no effect without symmetry."""

ASYMMETRY = 0.01
"""VASP prints four digits of a matrix that is symmetric."""

_TAKEN = "OCCEXT found"
"""The patch says so in OUTCAR; an unpatched VASP passes over the tag."""

_READ = "the WAVECAR file was read successfully"
"""VASP's standard output. A WAVECAR that does not fit is passed over otherwise, and MAGMOM begins anew."""

_Lines = Iterator[tuple[int, str]]


@dataclass(frozen=True)
class Matrices:
    """Occupations of the shell ``l`` of one site: (2, 2l+1, 2l+1), spin up and spin down."""

    l: int  # noqa: E741 - the quantum number has no other name
    values: FloatArray

    @property
    def moment(self) -> float:
        """Up minus down, muB."""
        up, down = np.trace(self.values, axis1=1, axis2=2)
        return float(up - down)

    def same(self, other: Matrices | None, within: float) -> bool:
        """Whether the ``other`` is of the same shell and says the same."""
        return other is not None and self.l == other.l and bool(np.abs(self.values - other.values).max() <= within)


def read(text: str) -> dict[int, Matrices]:
    """Number of the site, from 1, -> matrices of an OCCMATRIX.

    Its first line has the number of sites. Each has a line with its number, l and 2 (for two spins), and per spin a
    line of comment and 2l+1 rows; a line, whatever is on it, parts it from the next. Raises ValueError naming the line.
    """
    lines = enumerate(text.splitlines(), 1)
    found: dict[int, Matrices] = {}
    for _ in range(_integers(lines, 1, "the number of sites")[0]):
        site, shell, spins = _integers(lines, 3, "number of the site, l and number of spins")
        if not 0 <= shell <= 3 or spins != 2 or site in found:
            said = f"site {site} l {shell} spins {spins}"
            raise ValueError(f"{FILE}, {said}: each site stands there once, l is 0 to 3, and spins 2 (collinear)")
        found[site] = Matrices(shell, np.array([_matrix(lines, 2 * shell + 1, site) for _ in range(2)]))
        next(lines, None)
    if rest := [number for number, line in lines if line.strip()]:
        raise ValueError(f"{FILE}, line {rest[0]}: more follows than the first line says")
    if not found:
        raise ValueError(f"{FILE} has no site")
    return found


def matched(config: SpinConfig, settings: VaspSettings) -> dict[int, Matrices]:
    """The matrices of a configuration. Raises LabelError (refused) where the text or a site does not suit it."""
    try:
        found = read(config.occupations)
    except ValueError as error:
        raise LabelError(f"occupations: {error}", "refused") from None
    for site, each in found.items():
        if not 1 <= site <= len(config.species):
            raise LabelError(f"occupations: site {site} is none of 1 to {len(config.species)}", "refused")
        symbol, moment = config.species[site - 1], float(config.magmoms_in[site - 1])
        plus_u = settings.hubbard(symbol)
        if not plus_u.u or plus_u.l != each.l:
            raise LabelError(
                f"occupations: there is no +U on l = {each.l} of site {site} ({symbol}), and without it matrices have "
                "no effect; sites are numbered from 1 as in the configuration",
                "refused",
            )
        if abs(each.moment) >= COLLAPSED and moment * each.moment < 0:
            raise LabelError(
                f"occupations: the matrices of site {site} ({symbol}) have a moment of {each.moment:.2f} muB, and "
                f"magmoms_in says {moment:g}; swap spin up and spin down, or check the numbers of the sites",
                "refused",
            )
    return found


def written(found: dict[int, Matrices], order: Sequence[int]) -> str:
    """OCCMATRIX of sites in another order: ``order[k]`` is the site (from 0) of ``found`` that POSCAR has as site k."""
    lines = [str(len(found))]
    for number, site in enumerate(order, 1):
        if each := found.get(site + 1):
            lines.append(f"{number} {each.l} 2")
            for spin, rows in enumerate(each.values, 1):
                lines.append(f"spin component {spin}")
                lines += [" ".join(f"{value:.10f}" for value in row) for row in rows]
            lines.append("")  # the patch reads one after the last site as well
    return "\n".join(lines) + "\n"


def read_file(folder: Path) -> dict[int, Matrices]:
    """The OCCMATRIX in ``folder``, numbered as in POSCAR. Raises ValueError."""
    try:
        return read((folder / FILE).read_text(errors="replace"))
    except FileNotFoundError:
        raise ValueError(f"{FILE} is not there") from None


def check_held(folder: Path) -> Path:
    """The WAVECAR of the first run. Raises LabelError where it is not that of the matrices and the signs asked for."""
    if _TAKEN not in (folder / "OUTCAR").read_text(errors="replace"):
        raise LabelError(
            "this VASP passed over OCCEXT: build it with the occupation-matrix-control patch, or leave out "
            "occupation_control",
            "refused",
        )
    if flipped := flipped_sites(folder):
        raise LabelError(f"moments flipped at POSCAR sites {', '.join(map(str, flipped))}", "branch-lost")
    wavecar = folder / "WAVECAR"
    if not wavecar.is_file() or not wavecar.stat().st_size:
        raise LabelError(f"VASP left no WAVECAR in {folder} to go on from", "crashed")
    return wavecar


def check_released(folder: Path) -> None:
    """Raise LabelError (branch-lost) where the second run, or custodian's restart of it, did not begin from the first.

    Its label would be of MAGMOM alone, and be taken for one of the matrices.
    """
    incar = Incar.from_file(folder / "INCAR")
    changed = [f"{tag} {incar.get(tag)}" for tag, value in RELEASED.items() if incar.get(tag) != value]
    if changed or _READ not in (folder / "vasp.out").read_text(errors="replace"):
        said = f" ({', '.join(changed)} after a correction)" if changed else ""
        raise LabelError(
            f"VASP did not begin from the orbitals that the occupation matrices gave{said}; see vasp.out in {folder}",
            "branch-lost",
        )


def _integers(lines: _Lines, count: int, what: str) -> list[int]:
    """The first numbers of a line; what follows is comment."""
    number, line = next(lines, (0, ""))
    try:
        found = [int(word) for word in line.split()[:count]]
    except ValueError:
        found = []
    if len(found) != count:
        raise ValueError(f"{FILE}, {f'line {number}' if number else 'its end'}: expected {what}, found {line[:60]!r}")
    return found


def _matrix(lines: _Lines, size: int, site: int) -> FloatArray:
    """A line of comment, then rows. Raises ValueError."""
    next(lines, None)
    rows = []
    for _ in range(size):
        number, line = next(lines, (0, ""))
        try:
            row = numbers(line)
        except ValueError as error:
            raise ValueError(f"{FILE}, line {number}: {error}") from None
        if len(row) != size:
            raise ValueError(f"{FILE}, line {number or 'lacking'}: expected {size} numbers of site {site}: {line!r}")
        rows.append(row)
    matrix = np.array(rows)
    if np.abs(matrix - matrix.T).max() > ASYMMETRY:
        raise ValueError(f"{FILE}: a matrix of site {site} is not symmetric; are its rows complete and in order?")
    return matrix
