"""INCAR, POSCAR, KPOINTS and POTCAR of the current folder, read and checked as VASP does.

What VASP accepts silently is accepted silently: too many MAGMOM, unknown tags, species of the POSCAR in another order
than the POTCAR's (which win).
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tests.support.vasp_std.kpoints import Mesh, read_mesh
from tests.support.vasp_std.messages import SICK_JOB, StopError, error


@dataclass(frozen=True)
class Potcar:
    title: str
    element: str
    valence: float
    mass: float
    cutoff: float
    header: list[str]
    """Lines from VRHFIN on, as VASP copies them into the OUTCAR."""


@dataclass(frozen=True)
class Inputs:
    """All that a run starts from. ``lattice`` (3, 3) and ``positions`` (N, 3) in Angstrom."""

    incar: dict[str, str]
    comment: str
    counts: list[int]
    lattice: np.ndarray
    positions: np.ndarray
    potcars: list[Potcar]
    mesh: Mesh

    @property
    def n(self) -> int:
        return len(self.positions)

    @cached_property
    def species(self) -> list[str]:
        """The element of every site, of the POTCAR: VASP goes by it."""
        return [self.potcars[b].element for b in self.blocks]

    @cached_property
    def blocks(self) -> list[int]:
        """Index of the species block of every site."""
        return [block for block, count in enumerate(self.counts) for _ in range(count)]

    def integer(self, tag: str, default: int) -> int:
        return int(self.real(tag, default))

    def real(self, tag: str, default: float) -> float:
        return self.reals(tag, 1, [default])[0]

    def logical(self, tag: str, default: bool = False) -> bool:
        return logical(self.incar, tag, default)

    def text(self, tag: str, default: str) -> str:
        return self.incar.get(tag, default)

    def reals(self, tag: str, count: int, default: list[float]) -> list[float]:
        """``count`` numbers of a tag. Too few stop the program; VASP does not mind too many."""
        return reals(self.incar, tag, count, default)

    @property
    def spin(self) -> int:
        """1, 2, or 4 for non-collinear spins."""
        if self.logical("LNONCOLLINEAR") or self.logical("LSORBIT"):
            return 4
        return self.integer("ISPIN", 1)

    @property
    def electrons(self) -> float:
        neutral = sum(count * potcar.valence for count, potcar in zip(self.counts, self.potcars, strict=True))
        return self.real("NELECT", neutral)

    @property
    def cutoff(self) -> float:
        return self.real("ENCUT", max(p.cutoff for p in self.potcars))

    def guess(self) -> np.ndarray:
        """Initial moments (N,) or (N, 3), muB."""
        width = 3 if self.spin == 4 else 1
        values = np.array(self.reals("MAGMOM", self.n * width, [1.0] * self.n * width))
        if self.spin == 1:
            return np.zeros(self.n)
        return values.reshape(self.n, 3) if width == 3 else values

    def hubbard(self) -> list[tuple[float, int, float, float]]:
        """U - J, l, U and J of each species block; empty without LDAU."""
        if not self.logical("LDAU"):
            return []
        size = len(self.counts)
        momenta = [int(x) for x in self.reals("LDAUL", size, [2.0] * size)]
        u, j = self.reals("LDAUU", size, [0.0] * size), self.reals("LDAUJ", size, [0.0] * size)
        return [(a - b if angular >= 0 else 0.0, angular, a, b) for a, b, angular in zip(u, j, momenta, strict=True)]


def read_inputs() -> Inputs:
    """Of the current folder. Raises StopError with the text that VASP writes."""
    incar = _incar()
    comment, names, counts, lattice, positions = _poscar()
    potcars = _potcars()
    if len(potcars) != len(counts):
        raise StopError(
            " ERROR: number of potentials on File POTCAR incompatible with number of species\n"
            f" INCAR : {len(counts):11d} POTCAR: {len(potcars):12d}\n"
        )
    if any(not p.title.split()[1].startswith(name) for p, name in zip(potcars, names, strict=False)):
        print(
            " Type information on POSCAR and POTCAR are incompatible\n POTCAR overwrites the type information in POSCAR"
        )
    spacing = reals(incar, "KSPACING", 1, [0.5])[0]
    mesh = read_mesh(lattice, spacing, logical(incar, "KGAMMA", True))
    inputs = Inputs(incar, comment, counts, lattice, positions, potcars, mesh)
    inputs.guess(), inputs.hubbard()  # wrong numbers of values end the run here, before anything is written
    return inputs


def reals(incar: dict[str, str], tag: str, count: int, default: list[float]) -> list[float]:
    if tag not in incar:
        return default
    try:
        values = [float(v.lower().replace("d", "e")) for part in incar[tag].split() for v in _repeated(part)]
    except ValueError:
        raise error(f"Error reading item {tag} from file INCAR.\nError code was IERR= 5 ... .") from None
    if len(values) < count:
        raise error(
            f"Error reading item {tag} from file INCAR.\nError code was IERR= 0 ... . Found N= {len(values)} data."
        )
    return values[:count]


def _repeated(part: str) -> list[str]:
    times, star, value = part.partition("*")
    return [value] * int(times) if star else [part]


def logical(incar: dict[str, str], tag: str, default: bool = False) -> bool:
    value = incar.get(tag, "T" if default else "F").strip(". ").upper()
    if value[:1] not in ("T", "F"):
        raise error(f"Error reading item {tag} from file INCAR.\nError code was IERR= 5 ... .")
    return value.startswith("T")


def _read(name: str) -> str:
    try:
        return Path(name).read_text()
    except FileNotFoundError:
        raise StopError(f" ERROR: there must be {name} file\n{SICK_JOB}\n") from None


def _incar() -> dict[str, str]:
    tags: dict[str, str] = {}
    text = re.sub(r"\\\s*\n", " ", _read("INCAR"))
    for line in re.sub(r"[#!].*", "", text).replace(";", "\n").splitlines():
        name, equals, value = line.partition("=")
        if equals:
            tags.setdefault(name.strip().upper(), value.strip())  # VASP takes the first of two
    return tags


def _poscar() -> tuple[str, list[str], list[int], np.ndarray, np.ndarray]:
    lines = _read("POSCAR").splitlines()
    try:
        lattice = np.array([[float(x) for x in line.split()[:3]] for line in lines[2:5]])
        scale = float(lines[1].split()[0])
        lattice = lattice * (scale if scale > 0 else (-scale / abs(np.linalg.det(lattice))) ** (1 / 3))
        names, counts = lines[5].split(), [int(x) for x in lines[6].split()]
        start = 8 if lines[7].strip()[:1] in "sS" else 7
        rows = lines[start + 1 : start + 1 + sum(counts)]
        numbers = np.array([[float(x) for x in row.split()[:3]] for row in rows])
        if len(numbers) != sum(counts):
            raise ValueError(len(numbers))
    except (ValueError, IndexError):
        raise StopError(" ERROR: while reading positions from file POSCAR\n") from None
    direct = lines[start].strip()[:1] in "dD"
    return lines[0].strip(), names, counts, lattice, numbers @ lattice if direct else numbers


def _potcars() -> list[Potcar]:
    return [_potcar(text) for text in _read("POTCAR").split("End of Dataset") if text.strip()]


def _potcar(text: str) -> Potcar:
    lines = text.lstrip("\n").splitlines()
    first = next(i for i, line in enumerate(lines) if "VRHFIN" in line)
    last = next(i for i, line in enumerate(lines) if "Error from kinetic" in line)

    def number(name: str) -> float:
        return float(re.search(rf"{name}\s*=\s*([0-9.]+)", text)[1])  # type: ignore[index]

    element = re.search(r"VRHFIN\s*=\s*(\w+)", text)[1]  # type: ignore[index]
    return Potcar(lines[0].strip(), element, number("ZVAL"), number("POMASS"), number("ENMAX"), lines[first:last])
