"""Structures that a user brings: read the file, put an ordering on it, and say how far a cell is from cubic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from workflows.structures import StructureError, apply_ordering, fitting_supercell, index_rocksalt
from workflows.structures.orderings import fitting_orderings

MAGMOM_IN = "magmom_in"
FloatArray = NDArray[np.float64]


def read_structures(path: Path) -> list[Atoms]:
    """All structures in a CIF, POSCAR, extended XYZ or any other file that ASE knows. Raises StructureError."""
    import ase.io

    if not path.is_file():
        raise StructureError(f"{path}: no such file; check the path")
    try:
        frames = list(ase.io.iread(str(path), index=":"))
    except Exception as error:  # ASE lets any error of its parsers through, some of them as OSError without a number
        if isinstance(error, OSError) and error.errno is not None:
            raise
        name = type(error).__name__
        raise StructureError(
            f"{path} cannot be read as a structure ({name}: {error}); give a CIF, POSCAR or extended XYZ file"
        ) from None
    if not frames:
        raise StructureError(f"{path} holds no structure; it is empty or cut off, write it again")
    for atoms in frames:
        _check(atoms, path)
    return frames


def _check(atoms: Atoms, path: Path) -> None:
    if not len(atoms) or not np.all(np.isfinite(atoms.positions)) or not np.all(np.isfinite(atoms.cell.array)):
        raise StructureError(f"{path}: a structure has no atoms, or numbers that are not finite; write it again")
    for site in (atoms.info.get("occupancy") or {}).values():
        if len(site) > 1 or any(abs(share - 1) > 1e-6 for share in site.values()):
            raise StructureError(f"{path} has partially occupied sites; give an ordered structure")


def with_moments(
    atoms: Atoms, ordering: str | None, moments: str | None, supercell: Sequence[int] | None = None
) -> tuple[Atoms, NDArray[np.int64] | None]:
    """Atoms with input moments, and the cell in units of half the cubic lattice constant where that is known.

    ``ordering`` applies to rocksalt oxides; without ``supercell`` (3 or 9 integers) the cell is enlarged as far as the
    ordering needs. ``moments`` is a magnitude per element (``Ni=2.5,O=0``) or a signed value per site (``2.5,-2.5,0,0``
    muB). With neither, the moments in the file are used. Raises StructureError.
    """
    per_element, per_site = parse_moments(moments)
    if ordering is None:
        return _own_moments(repeated(atoms, supercell), per_site, per_element), None
    if per_site:
        raise StructureError("--ordering gives the signs; --magmoms then takes magnitudes such as Ni=2.5")
    indexed = _indexed(_periodic_structure(repeated(atoms, supercell)))
    cell = fitting_supercell(indexed, ordering) if supercell is None else _checked_fit(indexed, ordering)
    result = _to_atoms(apply_ordering(cell, ordering, per_element or None))
    result.info["ordering"] = ordering
    return result, np.array(cell.properties["grid_vectors"], dtype=np.int64)


def _indexed(structure: Structure) -> Structure:
    """Structure with its fcc lattice known; the error speaks of the command line's options."""
    try:
        return index_rocksalt(structure)
    except StructureError as error:
        problem = str(error).split("; give the signs")[0]
        raise StructureError(
            f"{problem}; --ordering is for rocksalt oxides: give one moment per site with --magmoms 2.5,-2.5,0,0"
        ) from None


def _checked_fit(indexed: Structure, ordering: str) -> Structure:
    """The structure as it is; the error names the supercell that would hold the ordering."""
    if ordering not in fitting_orderings(indexed):
        larger = fitting_supercell(indexed, ordering)
        matrix = np.round(larger.lattice.matrix @ np.linalg.inv(indexed.lattice.matrix)).astype(int).ravel()
        raise StructureError(
            f"{ordering} does not fit this supercell of {len(indexed)} atoms; leave out --supercell, or repeat it "
            f"by the matrix {','.join(map(str, matrix))} ({len(larger)} atoms)"
        )
    return indexed


def parse_moments(text: str | None) -> tuple[dict[str, float], list[float]]:
    """Magnitudes per element, or values per site, of the option --magmoms."""
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    try:
        if any("=" in part for part in parts):
            return {symbol.strip(): float(value) for symbol, value in (part.split("=") for part in parts)}, []
        return {}, [float(part) for part in parts]
    except ValueError:
        raise StructureError(f"--magmoms {text!r} cannot be read; write Ni=2.5,O=0 or 2.5,-2.5,0,0") from None


def parse_supercell(text: str | None) -> list[int] | None:
    """Integers of the option --supercell: 3, or 9 for a matrix."""
    if text is None:
        return None
    try:
        values = [int(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        values = []
    determinant = round(float(np.linalg.det(_matrix(values)))) if len(values) in (3, 9) else 0
    if determinant < 1:
        raise StructureError(f"--supercell {text!r} cannot be used; write 2,2,2 or nine integers with a volume above 0")
    return values


def _matrix(values: Sequence[int]) -> NDArray[np.int64]:
    return np.diag(values) if len(values) == 3 else np.reshape(values, (3, 3))


def repeated(atoms: Atoms, supercell: Sequence[int] | None) -> Atoms:
    """Supercell of a structure; moments of the file go with their atoms."""
    from ase.build import make_supercell

    return atoms if supercell is None else make_supercell(atoms, _matrix(supercell))


def _own_moments(atoms: Atoms, per_site: list[float], per_element: dict[str, float]) -> Atoms:
    """Moments given per site, or the same per element (ferromagnetic), or those in the file."""
    result = atoms.copy()
    if per_element:
        symbols = set(atoms.get_chemical_symbols())
        absent = sorted(set(per_element) - symbols)
        silent = sorted(symbols - set(per_element))
        if absent or silent:
            wrong = f"{', '.join(absent)} is not in the structure" if absent else f"no moment for {', '.join(silent)}"
            raise StructureError(f"--magmoms: {wrong}; name {', '.join(sorted(symbols))}, each with a moment in muB")
        per_site = [per_element[symbol] for symbol in atoms.get_chemical_symbols()]
    if not per_site:
        if atoms.has(MAGMOM_IN) or atoms.has("initial_magmoms"):
            return result
        raise StructureError("the structure has no input moments; give --ordering AFM-II, or --magmoms 2.5,-2.5,0,0")
    if len(per_site) != len(atoms):
        raise StructureError(f"--magmoms has {len(per_site)} values for {len(atoms)} atoms; give one per site, in muB")
    _set_moments(result, np.array(per_site))
    return result


def _set_moments(atoms: Atoms, moments: FloatArray) -> None:
    atoms.set_initial_magnetic_moments(moments)
    atoms.set_array(MAGMOM_IN, moments)


def _periodic_structure(atoms: Atoms) -> Structure:
    if not all(atoms.pbc) or atoms.cell.rank < 3:
        raise StructureError("the structure is not periodic in three directions, so it has no ordering; use --magmoms")
    bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    return AseAtomsAdaptor.get_structure(bare)


def _to_atoms(structure: Structure) -> Atoms:
    symbols = [site.specie.symbol for site in structure]
    atoms = Atoms(symbols, positions=structure.cart_coords, cell=structure.lattice.matrix, pbc=True)
    _set_moments(atoms, np.array(structure.site_properties["magmom"], dtype=np.float64))
    return atoms


def pseudo_cubic(cell: FloatArray, grid_vectors: NDArray[np.int64]) -> list[float]:
    """a, b, c (Angstrom) and alpha, beta, gamma (degrees) of the eight-atom cube inside any cell."""
    from ase.cell import Cell

    return [float(x) for x in Cell(2 * np.linalg.inv(grid_vectors) @ cell).cellpar()]
