"""Find the VASP runs in a tree of folders: nested, packed, several in one folder, each once."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datastore.schema import content_hash

OUTPUTS = ("OUTCAR", "vasprun.xml")
"""A folder with one of these, packed or not, has a run."""

_NAMES = "OUTCAR|vasprun|INCAR|KPOINTS|POSCAR|CONTCAR|POTCAR|OSZICAR|custodian|potcars"
_FILE = re.compile(
    rf"(?P<name>{_NAMES})(?P<kind>\.xml|\.json|\.spec)?(?P<orig>\.orig)?"
    r"(?:\.(?P<suffix>(?:relax|static|precondition|step|run)\d*))?(?P<late>\.xml)?(?P<packed>\.(?:gz|GZ|bz2|xz|lzma|Z))?"
)
"""``OUTCAR``, ``OUTCAR.gz``, ``OUTCAR.relax1.gz``, ``vasprun.xml.relax1``, ``vasprun.relax1.xml``, ``INCAR.orig``."""

_ARCHIVE = re.compile(r"(?!error\.\d+\.).*\.(?:tar|tgz|zip|7z|tar\.(?:gz|bz2|xz|zst))", re.IGNORECASE)
"""Packed folders; those that custodian makes of failed attempts (``error.1.tar.gz``) are not meant to be read."""

_ALIKE = re.compile(r"(?:[^.]+\.)?(?:OUTCAR|vasprun)(?:[^A-Za-z].*)?(?<!\.py)")
PASSED_OVER = "not read: rename it as a run of its folder (OUTCAR, OUTCAR.relax1, vasprun.xml.gz), or move it away"

SHARED = ("POTCAR", "POTCAR.spec", "potcars.json", "custodian.json")
"""Files that all runs of a folder have in common where none carries the run's suffix."""


@dataclass(frozen=True)
class Run:
    """One run: its folder, its ``suffix`` where the folder has several (``relax1``), and its files.

    ``files``: standard name (``OUTCAR.gz``) and name on disk. ``stamp`` follows from their names, sizes and times.
    """

    folder: str
    suffix: str
    files: tuple[tuple[str, str], ...]
    stamp: str

    @property
    def origin(self) -> str:
        """Folder and suffix, as text that any store takes."""
        return printable(self.folder) + (f" ({self.suffix})" if self.suffix else "")


@dataclass(frozen=True)
class Obstacle:
    """A place that could not be looked into, and why."""

    folder: str
    reason: str
    detail: str


def find_runs(root: Path) -> Iterator[Run | Obstacle]:
    """Runs below ``root``, in the order of their paths, lazily.

    Links are followed after all real folders, and each folder is visited once, so that a run has its own name and not
    that of a link to it. Folders whose names begin with a dot are left out. Nothing is opened, and of files only those
    of VASP are asked for size and time.
    """
    waiting, links, visited = [os.path.abspath(root)], deque[str](), set()
    while waiting or links:
        folder = waiting.pop() if waiting else links.popleft()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
            folders = [entry for entry in found if not entry.name.startswith(".") and _is_folder(entry)]
            here = list(_runs(folder, found))
        except OSError as error:
            yield Obstacle(folder, "unreadable folder", f"{error.strerror}; check permissions and links")
            continue
        yield from here
        waiting.extend(entry.path for entry in reversed(folders) if not entry.is_symlink())
        links.extend(entry.path for entry in folders if entry.is_symlink())


def printable(path: str) -> str:
    """A path as text that any store takes: bytes that are no UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a loop
        return False


def _runs(folder: str, entries: list[os.DirEntry[str]]) -> Iterator[Run | Obstacle]:
    """Runs directly in ``folder``, and what may hold some and is not read: archives, outputs under other names."""
    by_suffix: dict[str, dict[str, os.DirEntry[str]]] = {}
    for entry in entries:
        match = _FILE.fullmatch(entry.name)
        if match is not None and entry.is_file():
            name = match["name"] + (match["kind"] or match["late"] or "") + (match["orig"] or "")
            by_suffix.setdefault(match["suffix"] or "", {}).setdefault(name + (match["packed"] or ""), entry)
        elif _ARCHIVE.fullmatch(entry.name) and entry.is_file():
            yield Obstacle(entry.path, "packed folder", "unpack it, and import what is in it")
        elif _ALIKE.fullmatch(entry.name) and entry.is_file():
            yield Obstacle(entry.path, "unknown name", PASSED_OVER)
    common = by_suffix.get("", {})
    for suffix, files in sorted(by_suffix.items()):
        if not set(map(_plain, files)) & set(OUTPUTS):
            continue
        own = {_plain(name) for name in files}
        shared = {n: e for n, e in common.items() if suffix and _plain(n) in SHARED and _plain(n) not in own}
        yield _run(folder, suffix, {**files, **shared})


def _plain(name: str) -> str:
    """Standard name without the ending of a packed file."""
    return re.sub(r"\.(gz|GZ|bz2|xz|lzma|Z)$", "", name)


def _run(folder: str, suffix: str, files: dict[str, os.DirEntry[str]]) -> Run:
    signs = []
    for name, entry in sorted(files.items()):
        status = entry.stat()
        signs.append([name, status.st_size, status.st_mtime_ns])
    names = tuple((name, entry.name) for name, entry in sorted(files.items()))
    return Run(folder, suffix, names, content_hash(signs))
