"""JSON with pymatgen structures, which pymatgen reads alone; or CHGNet's own dataset.

Plain: a list with one entry per line. ``Structure.from_dict(entry["structure"])`` has the converged moments as site
property ``magmom``, and the initial ones as ``magmom_in``; ``energy`` (eV, free energy), ``forces``, ``stress``
(eV/Angstrom^3, tension positive), ids and split stand beside it. ``entry["spinmultinet"]`` is the whole label, because
fractional coordinates do not give the Cartesian ones back to the bit.

CHGNet: ``{"structure": [...], "energy_per_atom": [...], "force": [...], "stress": [...], "magmom": [...]}``, as
``chgnet.utils.parse_vasp_dir`` writes and its fine-tuning example reads: eV/atom (free energy), eV/Angstrom, kB with
VASP's sign (which CHGNet multiplies by -0.1), muB. CHGNet itself takes the absolute value of moments; here they keep
their signs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase import units
from pymatgen.core import Lattice, Structure

from datastore.errors import DataError
from datastore.exports.labels import LABEL, Labelled
from datastore.schema import SpinPoint

KILOBAR = 0.1 * units.GPa
OPENING = '[\n{"structure":'
"""How a file of this program begins."""

_COMPACT = (",", ":")
_CHGNET: dict[str, Callable[[SpinPoint], Any]] = {
    "structure": lambda point: structure_of(point).as_dict(),
    "energy_per_atom": lambda point: point.free_energy / len(point.species),
    "force": lambda point: point.forces.tolist(),
    "stress": lambda point: None if point.stress is None else (point.stress / -KILOBAR).tolist(),
    "magmom": lambda point: _numbers(point.magmoms_out),
}


def structure_of(point: SpinPoint) -> Structure:
    """pymatgen Structure in site order with ``magmom`` (converged) and ``magmom_in`` (asked for), muB, signed."""
    moments = {"magmom": _plain(point.magmoms_out), "magmom_in": _plain(point.magmoms_in)}
    lattice = Lattice(point.lattice)
    return Structure(lattice, point.species, point.positions, coords_are_cartesian=True, site_properties=moments)


def write(path: Path, labels: Iterable[Labelled]) -> int:
    """Write labels as a list of entries, one per line; returns how many."""
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for labelled in labels:
            file.write("[\n" if count == 0 else ",\n")
            file.write(json.dumps(_entry(labelled), separators=_COMPACT))
            count += 1
        file.write("\n]\n" if count else "[]\n")
    return count


def write_chgnet(path: Path, labels: Iterable[Labelled]) -> int:
    """Write CHGNet's dataset, one list after the other, from one pass over the labels; returns how many.

    Without the list ``stress`` where no label has one; where only some have, the others are null. Raises DataError for
    vector moments, of which CHGNet knows nothing.
    """
    count = stressed = 0
    with TemporaryDirectory(dir=path.parent) as folder:
        parts = {name: Path(folder, name) for name in _CHGNET}
        with ExitStack() as stack:
            files = {name: stack.enter_context(part.open("w")) for name, part in parts.items()}
            for labelled in labels:
                for name, file in files.items():
                    text = json.dumps(_CHGNET[name](labelled.point), separators=_COMPACT)
                    file.write(f"{',' if count else ''}\n{text}")
                count += 1
                stressed += labelled.point.stress is not None
        if not stressed:
            del parts["stress"]
        _join(path, parts)
    return count


def has_structures(path: Path) -> bool:
    """Whether a file is one that :func:`write` wrote."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(len(OPENING)) == OPENING


def read(path: Path) -> Iterator[tuple[dict[str, Any], float]]:
    """Document of each label of such a file, and the share read so far. Raises DataError where it is damaged."""
    size = path.stat().st_size
    with open(path, encoding="utf-8") as file:
        done = 0
        for number, line in enumerate(file):
            done += len(line)
            if line.startswith("{"):
                yield _document(line, f"{path}, line {number + 1}"), min(1.0, done / size)


def _document(line: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(line.rstrip().removesuffix(","))[LABEL]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where} is damaged ({type(error).__name__}: {error}); export it again") from None
    return dict(document)


def _entry(labelled: Labelled) -> dict[str, Any]:
    point = labelled.point
    return {
        "structure": structure_of(point).as_dict(),
        "energy": point.free_energy,
        "forces": point.forces.tolist(),
        "stress": None if point.stress is None else point.stress.tolist(),
        "point_id": point.point_id,
        "level_id": point.level_id,
        "verdict": point.verdict,
        **({"split": labelled.split} if labelled.split else {}),
        LABEL: point.to_document(),
    }


def _plain(moments: Any) -> list[Any]:
    return list(np.asarray(moments).tolist())


def _numbers(moments: Any) -> list[float]:
    if moments.ndim != 1:
        raise DataError("CHGNet has no vector moments; leave out --keys chgnet, or choose collinear labels")
    return _plain(moments)


def _join(path: Path, parts: dict[str, Path]) -> None:
    with open(path, "w", encoding="utf-8") as whole:
        for number, (name, part) in enumerate(parts.items()):
            whole.write(f'{"," if number else "{"}\n"{name}": [')
            with open(part, encoding="utf-8") as file:
                for line in file:
                    whole.write(line)
            whole.write("\n]")
        whole.write("\n}\n")
