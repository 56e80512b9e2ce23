"""The input files of a run as VASP will read them, apart from the code that wrote them."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymatgen.io.vasp import Incar, Kpoints, Poscar

from datastore.schema import FloatArray
from workflows.engines.vasp import potcars

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?"
_TOKEN = re.compile(rf"(?:(\d+)\*)?(?:(\d+)\*)?({_NUMBER})")
_END = re.compile(r"^.*End of Dataset.*$", re.MULTILINE)


@dataclass(frozen=True)
class Sites:
    """POSCAR: lattice (3, 3) and positions (N, 3) in Angstrom; symbol and count of every block as they stand.

    ``selective``: some of the sites may be held where they are.
    """

    lattice: FloatArray
    positions: FloatArray
    fractional: FloatArray
    symbols: list[str]
    counts: list[int]
    selective: bool = False

    @property
    def species(self) -> list[str]:
        """Symbol of every site."""
        return [symbol for symbol, n in zip(self.symbols, self.counts, strict=True) for _ in range(n)]


@dataclass(frozen=True)
class Tags:
    """INCAR: values as pymatgen types them, the text behind each, and tags that stand there more than once."""

    values: dict[str, Any]
    texts: dict[str, str]
    repeated: list[str]


def read_poscar(folder: Path) -> Sites:
    """Raises ValueError where POSCAR is missing, cannot be read, or does not name its species."""
    text = _text(folder, "POSCAR")
    lines = text.splitlines()
    try:
        symbols, counts = lines[5].split(), [int(word) for word in lines[6].split()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = Poscar.from_str(text).structure
        if len(symbols) != len(counts) or sum(counts) != len(structure):
            raise ValueError("line 6 must name a species for each count in line 7")
    except (IndexError, ValueError) as error:
        raise ValueError(f"POSCAR cannot be read ({' '.join(str(error).split())})") from None
    selective = lines[7].strip()[:1].upper() == "S"
    return Sites(structure.lattice.matrix, structure.cart_coords, structure.frac_coords, symbols, counts, selective)


def read_incar(folder: Path) -> Tags:
    """Raises ValueError where INCAR is missing or cannot be read."""
    text = _text(folder, "INCAR")
    statements = _statements(text)
    names = Counter(tag for tag, _ in statements)
    try:
        values = dict(Incar.from_str(text))
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"INCAR cannot be read ({' '.join(str(error).split())})") from None
    texts = dict(reversed(statements))  # VASP takes the first
    return Tags(values, texts, sorted(tag for tag, n in names.items() if n > 1))


def read_kpoints(folder: Path) -> Kpoints:
    """Raises ValueError where KPOINTS is missing or cannot be read."""
    lines = _text(folder, "KPOINTS").splitlines()
    told = [line for line in lines[1:] if line.strip()]  # VASP goes on to the next line for a shift, pymatgen does not
    try:
        return Kpoints.from_str("\n".join([*lines[:1], *told]))
    except Exception as error:  # pymatgen raises whatever its parsing runs into
        raise ValueError(f"KPOINTS cannot be read ({type(error).__name__})") from None


def read_potcar(folder: Path) -> list[potcars.PotcarFile]:
    """One entry per part of POTCAR. Raises ValueError where it is missing or cannot be read."""
    text = _text(folder, "POTCAR")
    try:
        return [potcars.parse(part) for part in _parts(text)]
    except ValueError as error:
        raise ValueError(f"POTCAR {error}") from None


def read_spec(folder: Path) -> list[str]:
    """Symbols in POTCAR.spec. Raises ValueError where it is missing."""
    return _text(folder, "POTCAR.spec").split()


def numbers(text: str) -> list[float]:
    """``2*5 1*-5 0`` -> [5, 5, -5, 0], as VASP reads a list. Raises ValueError naming what is no number."""
    found: list[float] = []
    for word in text.strip().strip('"').split():
        match = _TOKEN.fullmatch(word)
        if match is None:
            raise ValueError(f"{word!r} is no number")
        repeat = int(match[1] or 1) * int(match[2] or 1)
        found += [float(match[3].lower().replace("d", "e"))] * repeat
    return found


def _statements(text: str) -> list[tuple[str, str]]:
    """(TAG, text) per statement of an INCAR."""
    whole = re.sub(r"\\\s*\n", " ", text)
    bare = [re.split("[#!]", line)[0] for line in whole.splitlines()]
    parts = [part.partition("=") for line in bare for part in line.split(";")]
    return [(tag.strip().upper(), value.strip()) for tag, equals, value in parts if equals]


def _parts(text: str) -> list[str]:
    ends = [match.end() for match in _END.finditer(text)]
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(errors="replace")
    except FileNotFoundError:
        raise ValueError(f"{name} is not there") from None
