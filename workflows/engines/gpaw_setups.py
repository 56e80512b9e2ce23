"""Which PAW setups GPAW uses: they decide the numbers as much as the cutoff does."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

SETUPS_WANTED = "1.2.1"
"""The gpaw-data that `make gpaw` installs, as in constraints.txt."""


def setups_of_level(xc: str, elements: Iterable[str]) -> dict[str, Any]:
    """What identifies the setups, for a level of theory: version of gpaw-data, and hashes of files put before it.

    ``own_setups`` (element -> SHA-256 of the unpacked file, 16 digits) is there only where a folder in
    GPAW_SETUP_PATH holds a setup of one of ``elements``. Where gpaw-data is not installed, no label can be made, and
    the version that `make gpaw` would install stands in, so that a plan made here speaks of the same labels.
    """
    own = _own_setups(os.environ.get("GPAW_SETUP_PATH", ""), xc, tuple(sorted(set(elements))))
    level: dict[str, Any] = {"setups": f"gpaw-data {_version()} {xc}"}
    return {**level, "own_setups": own} if own else level


@lru_cache
def elements_with_setups(xc: str) -> frozenset[str]:
    """Elements with a PAW setup file for this functional on GPAW's setup path."""
    from gpaw import setup_paths

    files = [file.name for folder in setup_paths for file in Path(folder).glob(f"*.{xc}*")]
    return frozenset(name.split(".")[0] for name in files)


@lru_cache
def _version() -> str:
    try:
        return metadata.version("gpaw-data")
    except metadata.PackageNotFoundError:
        return SETUPS_WANTED


@lru_cache
def _own_setups(path: str, xc: str, elements: tuple[str, ...]) -> dict[str, str]:
    """Element -> hash of the file that GPAW takes from these folders; read once, as GPAW reads the variable once."""
    folders = [Path(folder) for folder in path.split(os.pathsep) if folder]
    found: dict[str, str] = {}
    for element in elements:
        names = (f"{element}.{xc}.gz", f"{element}.{xc}")  # the order in which GPAW prefers them
        files = (folder / name for folder in folders for name in names)
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            found[element] = _hash(file)
    return found


def _hash(file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha256(gzip.decompress(content) if file.suffix == ".gz" else content).hexdigest()[:16]
