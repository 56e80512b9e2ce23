"""Which files of a folder are the outputs of its newest run, and how they are opened."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

_NAME = re.compile(
    r"(?P<kind>vasprun|OUTCAR)(?:\.xml)?(?:\.(?P<step>relax\d|static|standard|precondition))?(?:\.xml)?"
    r"(?P<suffix>\.(?:gz|GZ|bz2|xz|lzma|Z))?"
)
_RANKS = {None: 100, "standard": 100, "static": 50, "precondition": -1}
"""Steps in the order they run: relax1, relax2, ..., static, and what has no suffix."""

_OPENERS: dict[bytes, tuple[Callable[..., Any], tuple[str, ...]]] = {
    b"\x1f\x8b": (gzip.open, (".gz", ".GZ")),
    b"BZh": (bz2.open, (".bz2",)),
    b"\xfd7zXZ": (lzma.open, (".xz", ".lzma")),
}
_PACKED = (".gz", ".GZ", ".bz2", ".xz", ".lzma", ".Z")

Read = TypeVar("Read")

CUT_SHORT = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)
"""What reading a compressed file raises that lacks its end or is damaged."""


class OutputError(Exception):
    """A folder that holds no label; the message is one line: which file, what is wrong, what to do.

    ``reason``: ``missing file``, ``truncated``, ``unreadable``, ``foreign``, ``inconsistent``, ``not converged``,
    ``not self-consistent``, ``overflow``, ``no moments`` or ``no stress``.
    """

    def __init__(self, reason: str, where: Path | str, message: str):
        super().__init__(f"{where}: {' '.join(message.split())}")
        self.reason = reason


def newest_outputs(folder: Path) -> tuple[Path | None, Path | None]:
    """``vasprun.xml`` and ``OUTCAR`` of the newest step in ``folder``, plain or compressed; None for one that lacks.

    Names of custodian's chains count (``OUTCAR.relax2.gz``, ``vasprun.xml.relax1``), with a file without a step as the
    newest; copies (``OUTCAR.orig``) and folders do not. A plain file goes before its compressed twin.
    Raises OutputError where the folder cannot be listed.
    """
    found: dict[int, dict[str, Path]] = {}
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.startswith(("vasprun", "OUTCAR")))
    except OSError as error:
        raise OutputError("missing file", folder, f"cannot be listed ({error.strerror}); name a folder") from error
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match and path.is_file():
            step = match["step"]
            rank = _RANKS[step] if step in _RANKS else int(step[-1])
            found.setdefault(rank, {}).setdefault(match["kind"], path)
    newest = found[max(found)] if found else {}
    return newest.get("vasprun"), newest.get("OUTCAR")


def whole(read: Callable[[Path], Read], path: Path) -> tuple[Read, Path]:
    """What ``read`` makes of a file, and the file; of its packed twin where the file itself is cut.

    A disk that was full when a run was unpacked leaves such a pair. Raises OutputError.
    """
    try:
        return read(path), path
    except OutputError as error:
        twins = [twin for end in _PACKED if (twin := path.with_name(f"{path.name}{end}")).is_file()]
        if error.reason != "truncated" or not twins:
            raise
        return read(twins[0]), twins[0]


def read_bytes(path: Path, size: int = -1) -> bytes:
    """The first ``size`` bytes of a file (-1: all), decompressed by what it is and not by its name.

    Raises OutputError: ``truncated`` for a compressed file that is cut, ``unreadable`` for one that cannot be opened.
    """
    try:
        with _opener(path)(path, "rb") as stream:
            return stream.read(size)
    except CUT_SHORT as error:
        raise OutputError("truncated", path, f"compressed file is cut or damaged ({error}); copy it again") from error
    except OSError as error:
        raise OutputError("unreadable", path, f"cannot be read ({error.strerror or error})") from error


@contextmanager
def truly_named(path: Path) -> Iterator[Path]:
    """A path whose suffix tells its compression: ``path``, or an unpacked copy where its name does not tell."""
    suffix = path.suffix if path.suffix in _PACKED else ""
    true = next((suffixes for magic, (_, suffixes) in _OPENERS.items() if _magic(path).startswith(magic)), ("",))
    if suffix in true:
        yield path
        return
    content = read_bytes(path)
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "vasprun.xml"
        copy.write_bytes(content)
        yield copy


def _opener(path: Path) -> Callable[..., Any]:
    magic = _magic(path)
    if magic.startswith(b"\x1f\x9d"):
        raise OutputError("unreadable", path, "packed by `compress`; run uncompress on it")
    return next((opener for known, (opener, _) in _OPENERS.items() if magic.startswith(known)), open)


def _magic(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(6)
