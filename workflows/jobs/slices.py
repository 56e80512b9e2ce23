"""The configurations of a generation with more labels than one chunk: written once, read slice by slice.

A folder holds ``0000.jsonl.gz`` and so on, one configuration document per line, and ``index.json``: checksums, ids and
sizes of what the files hold, and what the jobs after the labels need to know. It appears at once or not at all, and is
never changed afterwards.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from datastore.checksums import file_sha256, is_damaged, sealed
from datastore.errors import DataError
from datastore.schema import SpinConfig
from workflows.jobs.files import write_atomically

INDEX = "index.json"

MOST_SITES = 64_000
"""Sites of all configurations of a slice. Their jobs are one document of 6 MB then; MongoDB takes 16 MB."""

FAST = 3
"""Level of compression: ten times smaller already."""

Document = dict[str, Any]


def sliced(configs: Iterable[SpinConfig], chunk: int) -> Iterator[list[SpinConfig]]:
    """``configs`` in slices of at most ``chunk`` and MOST_SITES sites (or a single one that is larger)."""
    current: list[SpinConfig] = []
    sites = 0
    for config in configs:
        if current and (len(current) == chunk or sites + len(config.species) > MOST_SITES):
            yield current
            current, sites = [], 0
        current.append(config)
        sites += len(config.species)
    if current:
        yield current


class Slices:
    """Slices of configurations in ``folder``. Raises DataError where files are missing or damaged."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    @classmethod
    def write(
        cls,
        folder: Path,
        slices: Iterable[list[SpinConfig]],
        follows: Document,
        seconds: Callable[[SpinConfig], float],
        tell: Callable[[int], None] | None = None,
    ) -> Slices:
        """Write ``slices`` one after the other; what is there already is left alone.

        ``follows``: kept for the jobs after the labels. ``seconds``: estimated core seconds of a configuration.
        ``tell`` receives how many configurations were written.
        """
        if (folder / INDEX).exists():
            return cls(folder)
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            files: list[Document] = []
            for number, configs in enumerate(slices):
                files.append(_write(temporary / f"{number:04d}.jsonl.gz", configs, seconds))
                if tell is not None:
                    tell(sum(len(file["config_ids"]) for file in files))
            write_atomically(temporary / INDEX, json.dumps(sealed({"files": files, "follows": follows})))
            shutil.rmtree(folder, ignore_errors=True)  # without its index it is of no use
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls(folder)

    @property
    def exists(self) -> bool:
        """Whether they were written."""
        return (self.folder / INDEX).exists()

    def __len__(self) -> int:
        return len(self._files)

    @property
    def follows(self) -> Document:
        """What the jobs after the labels need to know."""
        return dict(self._index["follows"])

    def config_ids(self, number: int) -> list[str]:
        """Of the configurations of a slice, in their order; none for a number below 0."""
        return list(self._files[number]["config_ids"]) if number >= 0 else []

    def sizes(self, number: int) -> Iterator[tuple[str, int, float]]:
        """Formula, atoms and estimated core seconds of each configuration of a slice."""
        file = self._files[number]
        yield from zip(file["formulas"], file["atoms"], file["seconds"], strict=True)

    def read(self, number: int) -> list[SpinConfig]:
        """The configurations of a slice."""
        file = self._files[number]
        path = self.folder / file["name"]
        try:
            if file_sha256(path) != file["sha256"]:
                raise DataError(f"{path} is damaged: its checksum differs from {INDEX}; {_remedy(self.folder)}")
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                return [SpinConfig.from_document(json.loads(line)) for line in lines]
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}; {_remedy(self.folder)}") from error

    @property
    def _files(self) -> list[Document]:
        files: list[Document] = self._index["files"]
        return files

    @cached_property
    def _index(self) -> Document:
        path = self.folder / INDEX
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}; {_remedy(self.folder)}") from error
        except ValueError as error:
            raise DataError(f"{path} is damaged: {error}; {_remedy(self.folder)}") from error
        if not isinstance(index, dict) or "checksum" not in index or is_damaged(index):
            raise DataError(f"{path} is damaged: its checksum is wrong; {_remedy(self.folder)}")
        return index


def _remedy(folder: Path) -> str:
    return (
        f"restore {folder} from a backup; first configurations are made again with another `chunk` in the campaign file"
    )


def _write(path: Path, configs: list[SpinConfig], seconds: Callable[[SpinConfig], float]) -> Document:
    text = "".join(json.dumps(config.to_document()) + "\n" for config in configs)
    with path.open("wb") as file:
        file.write(gzip.compress(text.encode(), FAST, mtime=0))
        file.flush()
        os.fsync(file.fileno())
    return {
        "name": path.name,
        "sha256": file_sha256(path),
        "config_ids": [config.config_id for config in configs],
        "formulas": [config.formula for config in configs],
        "atoms": [len(config.species) for config in configs],
        "seconds": [seconds(config) for config in configs],
    }
