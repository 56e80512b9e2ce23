"""DeePMD-kit's npy systems with spin, as its PyTorch backend reads them (``deepspin``).

One folder per order of elements, ``FOLDER/NAME/{type.raw, type_map.raw, set.000, set.001...}``; in a set, float64:

===================  ==============  ==========================================================================
``coord.npy``        (F, 3 N)        Angstrom
``box.npy``          (F, 9)          Angstrom, rows are vectors
``energy.npy``       (F,)            eV, the free energy
``force.npy``        (F, 3 N)        eV/Angstrom
``virial.npy``       (F, 9)          eV, minus stress times volume; only where all labels of the set have stress
``spin.npy``         (F, 3 N)        muB, the *converged* moments, signed, collinear ones along z
``force_mag.npy``    (F, 3 N)        eV/muB, only where all labels of the set have magnetic forces
===================  ==============  ==========================================================================

What DeePMD-kit does not read: ``magmom_in.npy`` (F, 3 N), and ``labels.jsonl``, all other fields of each label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datastore.errors import DataError
from datastore.exports.labels import Labelled, as_stored, as_vectors, rest, whole
from datastore.schema import SpinPoint

IN_MEMORY = 1000
"""Labels that are kept in memory before the fullest system is written as a set."""

TYPES, TYPE_MAP, OTHERS = "type.raw", "type_map.raw", "labels.jsonl"
_ARRAYS = {"coord": "positions", "box": "lattice", "force": "forces", "spin": "magmoms_out", "magmom_in": "magmoms_in"}
_IN_ARRAYS = ("species", *_ARRAYS.values(), "free_energy")

Species = tuple[str, ...]


def write(path: Path, labels: Iterable[Labelled]) -> int:
    """Write labels into the folder ``path``, which must not exist; returns how many."""
    path.mkdir(parents=True)
    systems = _Systems(path)
    count = 0
    for labelled in labels:
        systems.add(labelled)
        count += 1
    systems.finish()
    return count


def is_system(path: Path) -> bool:
    """Whether a folder is a system, or holds some."""
    return path.is_dir() and next(path.glob(f"**/{TYPES}"), None) is not None


def read(path: Path) -> Iterator[tuple[dict[str, Any], float]]:
    """Values of each frame in a folder of systems, and the share read so far.

    Of a system that was written here they are the document of the label, under the names of the schema; of others
    what there is under the names of the files. Raises DataError where a system is damaged.
    """
    sets = sorted(path.glob("**/set.*"))
    for number, folder in enumerate(sets):
        try:
            frames = list(_set(folder))
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise DataError(f"{folder} is damaged ({type(error).__name__}: {error}); export it again") from error
        for values in frames:
            yield values, (number + 1) / len(sets)


class _Systems:
    """Labels that wait to be written, by the order of their elements."""

    def __init__(self, path: Path):
        self.path = path
        self.elements: list[str] = []
        self.folders: dict[Species, Path] = {}
        self.sets: dict[Species, int] = defaultdict(int)
        self.waiting: dict[Species, list[Labelled]] = defaultdict(list)
        self.in_memory = 0

    def add(self, labelled: Labelled) -> None:
        """Take in a label; writes the fullest system where enough are waiting."""
        species = tuple(labelled.point.species)
        self.elements += sorted(set(species) - set(self.elements))
        self.waiting[species].append(labelled)
        self.in_memory += 1
        if self.in_memory >= IN_MEMORY:
            self.flush(max(self.waiting, key=lambda key: len(self.waiting[key])))

    def flush(self, species: Species) -> None:
        """Write the waiting labels of a system as one set."""
        labels = self.waiting.pop(species)
        folder = self._folder(species, labels[0].point.formula) / f"set.{self.sets[species]:03d}"
        folder.mkdir()
        arrays = _arrays([labelled.point for labelled in labels])
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        written = (*_IN_ARRAYS, *(["magnetic_forces"] if "force_mag" in arrays else []))
        lines = [rest(labelled, written, collinear=labelled.point.magmoms_in.ndim == 1) for labelled in labels]
        (folder / OTHERS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self.sets[species] += 1
        self.in_memory -= len(labels)

    def finish(self) -> None:
        """Write what is left; all systems have one list of elements, so that types mean the same in each."""
        for species in list(self.waiting):
            self.flush(species)
        for species, folder in self.folders.items():
            numbers = [self.elements.index(symbol) for symbol in species]
            (folder / TYPE_MAP).write_text("".join(f"{symbol}\n" for symbol in self.elements))
            (folder / TYPES).write_text("".join(f"{number}\n" for number in numbers))

    def _folder(self, species: Species, formula: str) -> Path:
        if species not in self.folders:
            name = f"{formula}-{len(species)}"
            same = sum(folder.name.split("_")[0] == name for folder in self.folders.values())
            self.folders[species] = self.path / (f"{name}_{same}" if same else name)
            self.folders[species].mkdir()
        return self.folders[species]


def _arrays(points: list[SpinPoint]) -> dict[str, Any]:
    rows = len(points)
    arrays: dict[str, Any] = {
        name: np.array([_vectors(getattr(point, field)) for point in points]).reshape(rows, -1)
        for name, field in _ARRAYS.items()
    }
    arrays["energy"] = np.array([point.free_energy for point in points])
    stresses = [point.stress for point in points if point.stress is not None]
    if len(stresses) == rows:
        volumes = [abs(float(np.linalg.det(point.lattice))) for point in points]
        virials = [stress * -volume for stress, volume in zip(stresses, volumes, strict=True)]
        arrays["virial"] = np.array(virials).reshape(rows, 9)
    magnetic = [as_vectors(point.magnetic_forces) for point in points if point.magnetic_forces is not None]
    if len(magnetic) == rows:
        arrays["force_mag"] = np.array(magnetic).reshape(rows, -1)
    return arrays


def _vectors(values: Any) -> Any:
    return as_vectors(values) if values.ndim == 1 else values


def _set(folder: Path) -> Iterator[dict[str, Any]]:
    """Values of each frame of one set."""
    system = folder.parent
    names = (system / TYPE_MAP).read_text().split()
    species = [names[int(number)] for number in (system / TYPES).read_text().split()]
    arrays = {path.stem: np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
    lines = (folder / OTHERS).read_text(encoding="utf-8").splitlines() if (folder / OTHERS).exists() else None
    for k in range(len(arrays["coord"])):
        frame = {name: values[k] for name, values in arrays.items()}
        per_atom = {name: value.reshape(-1, 3) for name, value in frame.items() if value.size == 3 * len(species)}
        values = {**frame, **per_atom, "species": species}
        if lines is None:
            yield {**values, "lattice": values["box"].reshape(3, 3), "positions": values["coord"], "pbc": True}
        else:
            yield _label(values, lines[k], f"{folder}, frame {k}")


def _label(values: dict[str, Any], text: str, where: str) -> dict[str, Any]:
    """The document of a label that was written here."""
    document = whole(text, {"species": values["species"], "free_energy": float(values["energy"])}, where)
    collinear = bool(document.pop("collinear"))
    own: dict[str, Any] = {
        name: as_stored(values[name], collinear) for name in ("spin", "magmom_in", "force_mag") if name in values
    }
    document |= {field: own.get(name, values.get(name)) for name, field in _ARRAYS.items()}
    document["lattice"] = values["box"].reshape(3, 3)
    return {"magnetic_forces": own.get("force_mag"), **document}
