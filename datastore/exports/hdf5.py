"""HDF5: all labels in a few long arrays, which h5py reads alone.

============================================  ==========================  =============================================
``numbers``                                   (atoms of all labels,)      atomic numbers
``positions``, ``forces``                     (atoms, 3)                  Angstrom, eV/Angstrom
``magmoms_in``, ``magmoms_out``               (atoms, 3)                  muB, signed; collinear ones along z
``magnetic_forces``                           (atoms, 3)                  eV/muB; NaN where a label has none
``first_atom``, ``atoms``                     (labels,)                   where the atoms of a label stand
``lattice``, ``stress``                       (labels, 3, 3)              Angstrom, eV/Angstrom^3; NaN without stress
``energy``, ``free_energy``                   (labels,)                   eV per cell
``collinear``                                 (labels,)                   whether the moments are numbers
``split``, ``spinmultinet``                   (labels,)                   text; JSON of all other fields
============================================  ==========================  =============================================

Label k has the atoms ``first_atom[k]`` to ``first_atom[k] + atoms[k]``. Stress is tension positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from datastore.batches import in_batches
from datastore.errors import DataError, MissingRequirementError
from datastore.exports.labels import LABEL, Labelled, as_stored, as_vectors, rest, whole
from datastore.schema import SpinPoint

BATCH = 256
"""Labels that are in memory at once."""

PER_ATOM = ("positions", "forces", "magmoms_in", "magmoms_out", "magnetic_forces")
NOT_IN_TEXT = ("species", "lattice", "energy", "free_energy", "stress", *PER_ATOM)

VERSION = 1
REMEDY = "write it again with 'spinmultinet data export'"


def write(path: Path, labels: Iterable[Labelled]) -> int:
    """Write labels; returns how many. Raises MissingRequirementError without h5py, DataError where the disk is full."""
    h5py = _h5py()
    count = atoms = 0
    try:
        with h5py.File(path, "w") as file:
            file.attrs["format"], file.attrs["version"] = LABEL, VERSION
            for batch in in_batches(labels, BATCH):
                columns = _columns(batch, atoms)
                for name, values in columns.items():
                    _append(file, name, values, h5py)
                count, atoms = count + len(batch), atoms + len(columns["numbers"])
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}; check space and permissions") from error
    return count


def read(path: Path) -> Iterator[tuple[dict[str, Any], float]]:
    """Document of each label, and the share of the file read so far. Raises DataError for any other file."""
    h5py = _h5py()
    foreign = f"{path} is no HDF5 file of this program; of labels of others write JSON lines"
    if not h5py.is_hdf5(path):
        raise DataError(foreign)
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != LABEL or file.attrs.get("version") != VERSION:
                raise DataError(foreign)
            total = len(file["energy"])
            for start in range(0, total, BATCH):
                for document in _documents(file, start, min(total, start + BATCH), str(path)):
                    yield document, min(total, start + BATCH) / total
    except DataError:
        raise
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is damaged ({' '.join(str(error).split())[:200]}); {REMEDY}") from error


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingRequirementError("HDF5 needs h5py: pip install 'spinmultinet-workflows[hdf5]'") from error
    return h5py


def _columns(batch: list[Labelled], atoms: int) -> dict[str, Any]:
    points = [labelled.point for labelled in batch]
    sizes = np.array([len(point.species) for point in points])
    return {
        "numbers": np.concatenate([[atomic_numbers[s] for s in point.species] for point in points]).astype(np.int16),
        **{name: np.concatenate([_per_atom(point, name) for point in points]) for name in PER_ATOM},
        "first_atom": atoms + np.cumsum(sizes) - sizes,
        "atoms": sizes,
        "lattice": np.array([point.lattice for point in points]),
        "stress": np.array([np.full((3, 3), np.nan) if p.stress is None else p.stress for p in points]),
        "energy": np.array([point.energy for point in points]),
        "free_energy": np.array([point.free_energy for point in points]),
        "collinear": np.array([point.magmoms_in.ndim == 1 for point in points]),
        "split": [labelled.split for labelled in batch],
        LABEL: [rest(labelled, NOT_IN_TEXT) for labelled in batch],
    }


def _per_atom(point: SpinPoint, name: str) -> Any:
    values = getattr(point, name)
    if values is None:
        return np.full((len(point.species), 3), np.nan)
    return as_vectors(values) if name.startswith("mag") else values


def _append(file: Any, name: str, values: Any, h5py: Any) -> None:
    text = isinstance(values, list)
    if name not in file:
        shape = () if text else values.shape[1:]
        kind = h5py.string_dtype() if text else values.dtype
        options = {} if text else {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        file.create_dataset(name, (0, *shape), kind, maxshape=(None, *shape), chunks=True, **options)
    dataset = file[name]
    start = len(dataset)
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values


def _documents(file: Any, start: int, stop: int, path: str) -> Iterator[dict[str, Any]]:
    firsts, sizes = file["first_atom"][start:stop], file["atoms"][start:stop]
    begin, end = int(firsts[0]), int(firsts[-1] + sizes[-1])
    columns = {name: file[name][begin:end] for name in ("numbers", *PER_ATOM)}
    scalars = {name: file[name][start:stop] for name in ("lattice", "stress", "energy", "free_energy", "collinear")}
    texts = file[LABEL].asstr()[start:stop]
    for k, (first, size) in enumerate(zip(firsts - begin, sizes, strict=True)):
        own = {name: values[first : first + size] for name, values in columns.items()}
        fields = _fields(own, {name: values[k] for name, values in scalars.items()})
        yield whole(texts[k], fields, f"{path}, label {start + k}")


def _fields(own: dict[str, Any], scalars: dict[str, Any]) -> dict[str, Any]:
    collinear = bool(scalars["collinear"])
    fields: dict[str, Any] = {name: as_stored(own[name], collinear) for name in PER_ATOM if name.startswith("mag")}
    fields["magnetic_forces"] = None if np.isnan(own["magnetic_forces"]).any() else fields["magnetic_forces"]
    stress = scalars["stress"]
    return fields | {
        "species": [chemical_symbols[number] for number in own["numbers"]],
        "positions": own["positions"],
        "forces": own["forces"],
        "lattice": scalars["lattice"],
        "stress": None if np.isnan(stress).any() else stress,
        "energy": float(scalars["energy"]),
        "free_energy": float(scalars["free_energy"]),
    }
