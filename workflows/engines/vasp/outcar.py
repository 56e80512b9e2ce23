"""OUTCAR: the numbers that vasprun.xml lacks (moments, charges, timings), and those to check it against.

pymatgen's ``Outcar`` reads the whole file some thirty times and takes more than half of the time of emmet's TaskDoc; it
also takes a file without its end. Here the numbers of the last ionic step are searched from the end of the file.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datastore.schema import FloatArray
from workflows.engines.vasp.output_files import OutputError, read_bytes

_HEADER = re.compile(r"^ ?vasp\.(\d\S*)", re.MULTILINE)
_ITERATION = re.compile(r"^-+ Iteration +(\d+)\(", re.MULTILINE)
_TABLE = re.compile(r"^ (total charge|magnetization \([xyz]\))[ \t]*$", re.MULTILINE)
_FORCES = "TOTAL-FORCE (eV/Angst)"
_CELL = re.compile(r"-?\d+\.\d{9}|\*+|NaN")
"""Vectors are printed as F13.9 without blanks between them: numbers may touch."""
_STRESS = re.compile(r"-?\d+\.\d{5}|\*+|NaN")
_REACHED = "aborting loop because EDIFF is reached"
_ROUNDING = 0.0006
"""Moments and charges are printed with three decimals."""


@dataclass(frozen=True)
class Outcar:
    """Numbers of the last run and its last ionic step. eV, Angstrom, muB, seconds; ``stress`` in kB with VASP's sign.

    ``magnetization``: (N,) collinear, (N, 3) non-collinear in the frame of SAXIS, None where no table was printed.
    ``ldauu``: rounded to 0.1 eV, empty without +U. ``n_electronic``: steps of each ionic step.
    ``total_moment``: signed, (3,) non-collinear. ``positions``: Cartesian. ``started``: date and time.
    ``from_atoms``: the first density was that of atoms with MAGMOM, whatever ICHARG asks for: there was no CHGCAR.
    """

    path: Path
    version: str
    started: str
    titels: tuple[str, ...]
    ions_per_type: tuple[int, ...]
    spin_polarised: bool
    noncollinear: bool
    nelect: float
    lorbit: int
    ldauu: tuple[float, ...]
    n_electronic: tuple[int, ...]
    scf_reached: bool
    accuracy_reached: bool
    free_energy: float
    energy: float
    fermi: float | None
    lattice: FloatArray
    positions: FloatArray
    forces: FloatArray
    stress: FloatArray | None
    magnetization: FloatArray | None
    charges: FloatArray | None
    total_moment: float | FloatArray | None
    timings: dict[str, float]
    from_atoms: bool


def read_outcar(path: Path) -> Outcar:
    """Read one OUTCAR, plain or compressed; of several runs in one file, the last.

    Raises OutputError: ``foreign`` (not of VASP), ``truncated`` (lacks its end, or the numbers of its last step),
    ``overflow`` (asterisks or NaN among the numbers), ``unreadable``.
    """
    text = _Text(path, read_bytes(path).decode("latin-1"))
    n = sum(text.counts)
    tables = {title: text.table(start, n) for title, start in text.table_starts().items()}
    positions, forces = np.split(text.force_table(n), 2, axis=1)
    noncollinear = text.first(r"LNONCOLLINEAR =\s+([TF])\s+non collinear") == "T"
    return Outcar(
        path=path,
        version=text.version,
        started=text.started(),
        titels=tuple(re.findall(r"^ +TITEL *= *(.*?) *$", text.head, re.MULTILINE)),
        ions_per_type=text.counts,
        spin_polarised=text.first(r"ISPIN\s*=\s+(\d)\s+spin polarized") == "2",
        noncollinear=noncollinear,
        nelect=text.number(text.first(r"NELECT =\s*(\S+)\s+total number of electrons")),
        lorbit=int(text.first(r"LORBIT\s*=\s+(-?\d+)\s+0 simple")),
        ldauu=text.ldauu(),
        n_electronic=text.electronic_steps(),
        scf_reached=_REACHED in text.tail,
        accuracy_reached="reached required accuracy" in text.tail,
        free_energy=text.number(text.last(r"free  energy   TOTEN\s*=\s*(\S+)\s+eV")),
        energy=text.number(text.last(r"energy  without entropy=\s*\S+\s+energy\(sigma->0\)\s*=\s*(\S+)")),
        fermi=text.fermi(),
        lattice=text.cell(),
        positions=positions,
        forces=forces,
        stress=text.stress(),
        magnetization=_magnetization(tables, noncollinear),
        charges=tables.get("total charge"),
        total_moment=text.total_moment(),
        timings=text.timings(),
        from_atoms="charge density of overlapping atoms calculated" in text.head,
    )


def _magnetization(tables: dict[str, FloatArray], noncollinear: bool) -> FloatArray | None:
    names = [f"magnetization ({axis})" for axis in ("xyz" if noncollinear else "x")]
    if any(name not in tables for name in names):
        return None
    columns = [tables[name] for name in names]
    return np.stack(columns, axis=1) if noncollinear else columns[0]


class _Text:
    """The text of one complete run. ``head``: up to the first electronic step; ``tail``: from the last one on."""

    def __init__(self, path: Path, text: str):
        self.path = path
        if not text.strip():
            raise self.error("truncated", "is empty; copy it again or run the calculation")
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        headers = list(_HEADER.finditer(text))
        if not headers:
            raise self.error("foreign", "is no output of VASP (no line ' vasp.<version>')")
        self.version = headers[-1][1]
        self.text = text[headers[-1].start() :]
        if not re.search(r"Elapsed time \(sec\):\s+\S+\s*\n", self.text[self.text.rfind("General timing") :]):
            raise self.error("truncated", "lacks its end: the run was killed or is still going; run it again")
        self._iterations = list(_ITERATION.finditer(self.text))
        if not self._iterations:
            raise self.error("truncated", "has no electronic step; run the calculation again")
        self.head = self.text[: self._iterations[0].start()]
        self.tail = self.text[self._iterations[-1].start() :]
        if _FORCES not in self.tail:
            raise self.error("truncated", "has no forces of its last ionic step; run the calculation again")
        self.counts = self._ions_per_type()

    def error(self, reason: str, message: str) -> OutputError:
        return OutputError(reason, self.path, message)

    def number(self, token: str) -> float:
        if "*" in token:
            raise self.error("overflow", "has asterisks for a number of its last step; the run diverged")
        try:
            value = float(token)
        except ValueError:
            raise self.error("unreadable", f"has {token[:20]!r} where a number belongs") from None
        if not np.isfinite(value):
            raise self.error("overflow", f"has {token} for a number of its last step; the run diverged")
        return value

    def first(self, pattern: str) -> str:
        match = re.search(pattern, self.head)
        if not match:
            raise self.error("foreign", f"lacks a line that VASP prints among its settings ({pattern})")
        return match[1]

    def last(self, pattern: str) -> str:
        found = re.findall(pattern, self.tail)
        if not found:
            raise self.error("truncated", "has no energy of its last ionic step; run the calculation again")
        return found[-1]

    def started(self) -> str:
        match = re.search(r"date (\d{4}\.\d\d\.\d\d)\s+(\d\d:\d\d:\d\d)", self.head[:2000])
        return f"{match[1]} {match[2]}" if match else ""

    def ldauu(self) -> tuple[float, ...]:
        match = re.search(r"for each species LDAUU =([^\n]*)", self.head)
        return tuple(self.number(token) for token in match[1].split()) if match else ()

    def electronic_steps(self) -> tuple[int, ...]:
        return tuple(Counter(match[1] for match in self._iterations).values())

    def fermi(self) -> float | None:
        match = re.search(r"(?:E-fermi|Fermi energy)\s*:\s*(-?\d+\.\d+)", self.tail)
        return float(match[1]) if match else None

    def cell(self) -> FloatArray:
        """(3, 3) of the last step. A run at fixed cell may state it at the beginning only."""
        start = self.text.rfind("direct lattice vectors", 0, self.text.rfind(_FORCES))
        lines = self.text[start:].split("\n", 4)[1:4]
        rows = [[self.number(token) for token in _CELL.findall(line)[:3]] for line in lines]
        if start < 0 or any(len(row) != 3 for row in rows):
            raise self.error("truncated", "has no lattice vectors")
        return np.array(rows)

    def force_table(self, n: int) -> FloatArray:
        """(N, 6): Cartesian positions and forces of the last step."""
        lines = self.tail[self.tail.rfind(_FORCES) :].split("\n", n + 3)[2 : n + 2]
        rows = [[self.number(token) for token in line.split()] for line in lines]
        if len(rows) != n or any(len(row) != 6 for row in rows):
            raise self.error("unreadable", f"has no table of forces on {n} ions in its last step")
        return np.array(rows)

    def stress(self) -> FloatArray | None:
        start = self.tail.rfind("\n  in kB")
        if start < 0:
            return None
        values = [self.number(token) for token in _STRESS.findall(self.tail[start + 1 :].split("\n", 1)[0])]
        if len(values) != 6:
            raise self.error("unreadable", "has no six components of stress in its last step")
        xx, yy, zz, xy, yz, zx = values
        return np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])

    def total_moment(self) -> float | FloatArray | None:
        found = re.findall(r"number of electron.*?magnetization(.*)", self.tail)
        values = [self.number(token) for token in found[-1].split()] if found else []
        if not values:
            return None
        return np.array(values) if len(values) == 3 else values[0]

    def table_starts(self) -> dict[str, int]:
        """Title -> where its last table begins. VASP prints one per ionic step and one more at the end of the run."""
        return {match[1]: match.end() for match in _TABLE.finditer(self.tail)}

    def table(self, start: int, n: int) -> FloatArray:
        """(N,) last column of a table of ions. A cell of one ion has no row of sums."""
        lines = [line for line in self.tail[start:].split("\n", n + 6)[:-1] if line.strip()]
        if len(lines) < n + 2 or not lines[0].startswith("# of ion"):
            raise self.error("unreadable", f"has no table of moments or charges of {n} ions")
        columns = len(lines[0].split()) - 3
        rows = np.array([self._row(line, columns) for line in lines[2 : n + 2]])
        if np.any(np.abs(rows[:, :-1].sum(axis=1) - rows[:, -1]) > _ROUNDING * columns):
            raise self.error("inconsistent", "has a table of moments whose s, p, d do not add up to its totals")
        return rows[:, -1]

    def timings(self) -> dict[str, float]:
        """``wall`` and ``cpu`` (user and system, of the first rank) in seconds, ``cores``; those that are printed."""
        block = self.text[self.text.rfind("General timing") :]
        seconds = {name: float(value) for name, value in re.findall(r"(\w+) time \(sec\):\s+(\d+(?:\.\d*)?)\s", block)}
        timings = {"wall": seconds["Elapsed"]} if "Elapsed" in seconds else {}
        if {"User", "System"} <= set(seconds):
            timings["cpu"] = seconds["User"] + seconds["System"]
        ranks = re.search(r"^ running(?: on)? +(\d+) (?:total cores|mpi-ranks, with +(\d+) threads)", self.head, re.M)
        if ranks:
            timings["cores"] = float(int(ranks[1]) * int(ranks[2] or 1))
        return timings

    def _row(self, line: str, columns: int) -> list[float]:
        values = [self.number(token) for token in line.split()[1:]]
        if len(values) != columns:
            raise self.error("unreadable", f"has a row of {len(values)} numbers in a table of {columns} columns")
        return values

    def _ions_per_type(self) -> tuple[int, ...]:
        counts = tuple(int(token) for token in self.first(r"ions per type =((?:\s+\d+)+)").split())
        stated = int(self.first(r"NIONS =\s+(\d+)"))
        if sum(counts) != stated:
            raise self.error("inconsistent", f"has {sum(counts)} ions by type and states {stated}")
        return counts
