"""Structures with neighbour lists on disk: flat arrays that are mapped into memory, not read.

A folder per set: one .npy file per field of `Graph`, all structures end to end. Its name is a hash of the content, so
changed data or another cutoff are another folder. It is built beside and renamed when complete: readers and other
writers see all of it or nothing. Deleting it loses nothing but time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from .data import Graph
from .errors import SpinMultiNetError

FORMAT = "spinmultinet-graphs"
VERSION = 2
HEADER = "header.json"
_PAIRS = ("receiver", "sender", "shift", "reverse")
_STRUCTURES = ("n_atoms", "volume", "energy", "stress")
_ATOMS = ("species", "positions", "moments", "forces", "moments_out", "magnetic_forces")
_STALE_SECONDS = 86_400.0


class GraphCache(Sequence[Graph]):
    """The structures of a folder that `cached` has built; they are read when asked for, and share the page cache.

    Raises SpinMultiNetError if the folder is incomplete, damaged or of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            header = json.loads((self.folder / HEADER).read_text())
            if (header.get("format"), header.get("version")) != (FORMAT, VERSION):
                raise ValueError("another format or version")
            self._arrays = {name: _mapped(self.folder, name) for name in (*_ATOMS, *_PAIRS, *_STRUCTURES)}
            sizes = {name: list(a.shape) for name, a in self._arrays.items()}
            if sizes != header["shapes"]:
                raise ValueError("sizes differ from the header")
        except (OSError, EOFError, ValueError, KeyError, AttributeError) as error:
            raise SpinMultiNetError(
                f"neighbour lists in '{self.folder}' are damaged or absent ({error}); delete the folder, and the next "
                "training builds it again"
            ) from None
        self._atoms = _offsets(self._arrays["n_atoms"])
        self._pairs = _offsets(torch.tensor(header["pairs"]))

    def __len__(self) -> int:
        return len(self._atoms) - 1

    def n_pairs(self, k: int) -> int:
        """Number of directed neighbour pairs of structure k, without reading them."""
        return self._pairs[k + 1] - self._pairs[k]

    @overload
    def __getitem__(self, k: int) -> Graph: ...
    @overload
    def __getitem__(self, k: slice) -> list[Graph]: ...
    def __getitem__(self, k: int | slice) -> Graph | list[Graph]:
        if isinstance(k, slice):
            return [self[i] for i in range(*k.indices(len(self)))]
        if not -len(self) <= k < len(self):
            raise IndexError(k)
        k %= len(self)
        first, last = self._atoms[k], self._atoms[k + 1]
        start, end = self._pairs[k], self._pairs[k + 1]
        a = self._arrays
        found = {name: a[name][first:last] for name in _ATOMS} | {name: a[name][start:end] for name in _PAIRS}
        found |= {name: a[name][k : k + 1] for name in _STRUCTURES}
        return Graph(structure=torch.zeros(last - first, dtype=torch.long), **found)


def _mapped(folder: Path, name: str) -> Tensor:
    # Mode c: writable for torch, private to this process, never written back.
    array = np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
    return torch.from_numpy(np.asarray(array))


def _offsets(sizes: Tensor) -> list[int]:
    return [0, *torch.cumsum(sizes, 0).tolist()]


def cache_key(content: str, choices: dict[str, Any]) -> str:
    """Name of a folder: hash of the data's own hash, the choices that enter (cutoff, species, ...) and the format.

    The precision is part of the format: what is stored is what `to_graph` gives, to the bit.
    """
    kinds = {f.name: str(f.type) for f in fields(Graph)}
    text = json.dumps([FORMAT, VERSION, kinds, content, choices], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cached(folder: str | Path, key: str, build: Callable[[], Iterable[Graph]]) -> GraphCache:
    """The structures of `folder/key`; what is missing or damaged is built from `build()`, one structure at a time.

    Two processes may build the same at once: the first to finish is kept. Raises SpinMultiNetError if the folder cannot
    be written.
    """
    place = Path(folder) / key
    if place.is_dir():
        try:
            return GraphCache(place)
        except SpinMultiNetError:
            shutil.rmtree(place, ignore_errors=True)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(place.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f".{key}.", suffix=".tmp", dir=place.parent))
        try:
            write(temporary, build())
            _rename(temporary, place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise SpinMultiNetError(
            f"cannot write neighbour lists to '{place}': {error.strerror}; free some space, set cache_folder to "
            "another folder, or cache_from: null to keep them in memory"
        ) from error
    return GraphCache(place)


def _rename(temporary: Path, place: Path) -> None:
    try:
        os.rename(temporary, place)
    except OSError:
        if not place.is_dir():  # else another process was faster, with the same content
            raise


def _remove_stale(folder: Path) -> None:
    """Remnants of writers that were killed; younger ones may be at work."""
    for path in folder.glob(".*.tmp"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def write(folder: Path, graphs: Iterable[Graph]) -> None:
    """Write structures into an existing folder; the header comes last, when all else is on disk."""
    names = (*_ATOMS, *_PAIRS, *_STRUCTURES)
    columns: dict[str, _Column] = {}
    pairs: list[int] = []
    try:
        for graph in graphs:
            for name in names:
                value = getattr(graph, name).numpy()
                if name not in columns:
                    columns[name] = _Column(folder / f"{name}.npy", value)
                columns[name].append(value)
            pairs.append(len(graph.receiver))
        shapes = {name: columns[name].finish() for name in columns}
    finally:
        for column in columns.values():
            column.file.close()
    if not pairs:
        raise SpinMultiNetError("there are no structures to keep on disk; check the list")
    header = {"format": FORMAT, "version": VERSION, "shapes": shapes, "pairs": pairs}
    with open(folder / HEADER, "w") as file:
        json.dump(header, file)
        file.flush()
        os.fsync(file.fileno())


class _Column:
    """A .npy file that grows along its first axis; numpy leaves room in the header for the final length."""

    def __init__(self, path: Path, like: np.ndarray) -> None:
        self.file = open(path, "wb")  # noqa: SIM115 - closed by `write`
        self.dtype, self.rest, self.length = like.dtype, like.shape[1:], 0
        self._header()
        self.begin = self.file.tell()

    def _header(self) -> None:
        shape = (self.length, *self.rest)
        described = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, described)

    def append(self, values: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(values, dtype=self.dtype).tobytes())
        self.length += len(values)

    def finish(self) -> list[int]:
        self.file.seek(0)
        self._header()
        if self.file.tell() != self.begin:
            raise SpinMultiNetError("the header of a .npy file changed its size; please report this")
        self.file.flush()
        os.fsync(self.file.fileno())
        return [self.length, *self.rest]
