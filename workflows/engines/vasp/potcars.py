"""POTCARs: where pymatgen's settings say they lie, which file stands for an element, and what identifies it.

They are licensed. Nothing here copies one anywhere but into the folder of a run, and a finished run keeps its names and
hashes only.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from monty.io import zopen
from monty.os.path import zpath
from pymatgen.core import SETTINGS
from pymatgen.io.vasp.inputs import POTCAR_FUNCTIONAL_MAP, PotcarSingle

FUNCTIONALS = tuple(name for name in POTCAR_FUNCTIONAL_MAP if name.startswith("PBE"))
"""pymatgen's names of the editions of PBE POTCARs."""

DIGITS = 16
"""Hexadecimal digits of a hash that are kept."""

WHERE = (
    "put `PMG_VASP_PSP_DIR: /folder/of/POTCARs` into ~/.config/.pmgrc.yaml or the environment "
    "(`pmg config -p EXTRACTED TARGET` arranges the folder)"
)


@dataclass(frozen=True)
class PotcarFile:
    """What a run needs to know of one POTCAR: valence electrons, Wigner-Seitz radius (Angstrom), cutoff (eV)."""

    symbol: str
    titel: str
    element: str
    functional: str
    sha256: str
    zval: float
    rwigs: float
    enmax: float


def digest(text: str) -> str:
    """Hash of one POTCAR: first 16 digits of the SHA-256 of its lines, without blanks around each and around them all.

    The same for the file of one element and for its part of the POTCAR of a run.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:DIGITS]


def identity(titel: str, sha256: str | None) -> dict[str, str]:
    """A POTCAR in the level of theory: its name and hash, or its TITEL where no hash is known.

    The TITEL of a hashed file follows from the hash; it stays out, because who states a hash need not have the file.
    """
    return {"titel": titel} if sha256 is None else {"symbol": symbol_of(titel), "sha256": sha256[:DIGITS]}


def symbol_of(titel: str) -> str:
    """``Ni_pv`` of ``PAW_PBE Ni_pv 06Sep2000``."""
    words = titel.split()
    return words[1] if len(words) > 1 else titel.strip()


def default_functional() -> str:
    """pymatgen's PMG_DEFAULT_FUNCTIONAL, PBE where it is not set."""
    return str(SETTINGS.get("PMG_DEFAULT_FUNCTIONAL") or "PBE")


def folder_of(functional: str) -> Path | None:
    """The folder with POTCARs of this edition; None where pymatgen's settings name none."""
    root = SETTINGS.get("PMG_VASP_PSP_DIR")
    if not root:
        return None
    own = SETTINGS.get("PMG_VASP_PSP_SUB_DIRS") or {}
    return Path(root).expanduser() / own.get(functional, POTCAR_FUNCTIONAL_MAP[functional])


def find(symbol: str, functional: str) -> Path | None:
    """The file that pymatgen takes for this POTCAR, packed or not; None where there is none."""
    folder = folder_of(functional)
    if folder is None:
        return None
    candidates = (Path(zpath(folder / name)) for name in (f"POTCAR.{symbol}", f"{symbol}/POTCAR"))
    return next((path for path in candidates if path.is_file()), None)


def read(symbol: str, functional: str) -> PotcarFile | None:
    """Header and hash of an installed POTCAR; None where it is not installed.

    Raises ValueError where the file is no POTCAR, naming it.
    """
    path = find(symbol, functional)
    if path is None:
        return None
    stat = path.stat()
    return _read(path, symbol, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _read(path: Path, symbol: str, modified: int, size: int) -> PotcarFile:
    with zopen(path, mode="rt", encoding="utf-8", errors="ignore") as file:  # as pymatgen does, which writes it
        text = str(file.read())
    try:
        return parse(text, symbol)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse(text: str, symbol: str = "") -> PotcarFile:
    """Header and hash of the text of one POTCAR; ValueError where it is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that pymatgen's table lacks: the hash says which file it is
        try:
            single = PotcarSingle(text, symbol=symbol or None)
            return PotcarFile(
                symbol=single.symbol,
                titel=" ".join(single.TITEL.split()),
                element=single.element,
                functional=str(single.functional),
                sha256=digest(text),
                zval=float(single.ZVAL),
                rwigs=float(single.RWIGS),
                enmax=float(single.ENMAX),
            )
        except (AttributeError, KeyError, IndexError, ValueError, TypeError):
            raise ValueError("is no POTCAR that can be read; install it again") from None


def hashes(potcars: dict[str, str], functional: str) -> dict[str, str]:
    """Element -> hash, of those of ``potcars`` (element -> symbol) that are installed and can be read."""
    found = {}
    for element, symbol in potcars.items():
        try:
            file = read(symbol, functional)
        except (ValueError, OSError):
            continue  # problems() says so
        if file is not None:
            found[element] = file.sha256
    return found


def problems(potcars: dict[str, str], functional: str, expected: dict[str, str]) -> list[str]:
    """What lacks, or is another file than ``expected`` (element -> hash), each with its remedy."""
    folder = folder_of(functional)
    if folder is None:
        return [f"the folder of POTCARs is not set: {WHERE}"]
    if not folder.is_dir():
        return [f"there are no {functional} POTCARs at {folder}: {WHERE}, or state another potcar_functional"]
    return [text for element, symbol in potcars.items() if (text := _problem(element, symbol, functional, expected))]


def _problem(element: str, symbol: str, functional: str, expected: dict[str, str]) -> str | None:
    try:
        file = read(symbol, functional)
    except (ValueError, OSError) as error:
        return f"POTCAR of {element}: {error}"
    if file is None:
        return (
            f"there is no POTCAR {symbol} for {element} in {folder_of(functional)}: copy it there, name another one "
            f"under potcars, or leave {element} out of potcars"
        )
    if file.element != element:
        return f"POTCAR {symbol} named for {element} is one of {file.element}; name another one under potcars"
    wanted = expected.get(element, file.sha256)
    if file.sha256 != wanted:
        return (
            f"POTCAR {symbol} ({file.titel}) has hash {file.sha256}, the engine says {wanted}: install the file that "
            "the other labels were made with, or remove potcar_hashes to begin another level of theory"
        )
    return None
