"""Structure files as parents: CIF, magnetic CIF, POSCAR, and what the Materials Project hands out as JSON."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pymatgen.core import Lattice, Structure

from workflows.structures.deformations import Geometry
from workflows.structures.errors import StructureError
from workflows.structures.identity import parent_id
from workflows.structures.orderings import FILE
from workflows.structures.recognise import index_rocksalt
from workflows.structures.rocksalt import MIN_DISTANCE
from workflows.trusted import UntrustedError, check

FloatArray = NDArray[np.float64]

FORMATS = "a CIF, mcif, POSCAR or CONTCAR file, or JSON of the Materials Project"
MOST = 300
"""Structures of all files of candidates: about 1 kB each in the document of every job of a campaign."""

PARALLEL = 1e-3
"""muB. Vectors that leave their common axis by less are collinear."""


class FileStructure(BaseModel):
    """One structure as a file holds it: plain numbers that JSON gives back to the bit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(description="name of the file, and the number in it where it holds several; for messages")
    species: list[str] = Field(description="element symbols, N")
    lattice: list[list[float]] = Field(description="(3, 3) Angstrom, rows")
    fractional: list[list[float]] = Field(description="(N, 3)")
    magmoms: list[float] | list[list[float]] | None = Field(
        default=None, description="muB, (N,) signed or (N, 3) Cartesian; none where the file has none"
    )


def read_parents(
    path: Path, index: int | None = None, supercell: Sequence[int] | Sequence[Sequence[int]] | None = None
) -> list[Structure]:
    """Structures of a file, ready to be parents.

    Args:
        path: CIF, mcif (with moments), POSCAR/CONTCAR, any other file that ASE reads, or JSON: a pymatgen Structure, a
            Materials Project document with ``structure``, or a list of either.
        index: one structure of the file, from 0; default all.
        supercell: 3 integers or a 3x3 matrix; rows of ``supercell @ lattice`` are the new lattice vectors.

    Returns:
        Ordered structures without oxidation states. Site property ``magmom`` (muB) where the file has moments: signed
        numbers, or Cartesian vectors where they are not collinear. ``grid_index`` and ``grid_vectors`` where they are
        rocksalt oxides. ``properties``: ``cell`` (custom), ``file``, ``supercell``, ``parent`` and ``parent_lattice``.

    Raises:
        StructureError: no such file, unreadable, empty, partially occupied, atoms too close, no such index.
    """
    return [file_parent(content, supercell) for content in read_structures(path, index)]


def read_structures(path: Path, index: int | None = None) -> list[FileStructure]:
    """What the file at ``path`` holds, of all its structures or of the one at ``index``. Raises StructureError."""
    if not path.is_file():
        raise StructureError(f"{path}: no such file; check the path")
    found = _read(path)
    if not found:
        raise StructureError(f"{path} holds no structure; it is empty or cut off, write it again")
    if index is not None and index >= len(found):
        raise StructureError(f"{path} holds {len(found)} structures; index {index} is too large, it counts from 0")
    chosen = enumerate(found) if index is None else [(index, found[index])]
    return [_plain(s, f"{path}" if len(found) == 1 else f"{path} ({n})") for n, s in chosen]


def read_candidates(paths: Sequence[Path], elements: Collection[str]) -> list[FileStructure]:
    """What files of candidates hold, all structures of each.

    StructureError where one cannot be used, has other than ``elements``, or where there are more than MOST.
    """
    found = [content for path in paths for content in read_structures(path)]
    if len(found) > MOST:
        raise StructureError(
            f"{', '.join(map(str, paths))}: {len(found)} structures are more than {MOST}, which every job would carry; "
            "choose among them"
        )
    for content in found:
        file_parent(content)  # looks at distances
        foreign = sorted(set(content.species) - set(elements))
        if foreign:
            raise StructureError(
                f"{content.label} contains {', '.join(foreign)}, which no parent does ({', '.join(sorted(elements))}); "
                "remove it, or add a parent with it, or the model knows nothing of it"
            )
    return found


def _plain(structure: Structure, label: str) -> FileStructure:
    """Without oxidation states, and with moments as numbers."""
    if not structure.is_ordered:
        raise StructureError(f"{label} has partially occupied sites; give an ordered structure")
    if not len(structure) or not np.all(np.isfinite(structure.cart_coords)) or structure.volume < 1e-3:
        raise StructureError(f"{label} has no atoms, no volume, or numbers that are not finite; write it again")
    moments = _moments(structure)
    return FileStructure(
        label=label,
        species=[site.specie.symbol for site in structure],
        lattice=structure.lattice.matrix.tolist(),
        fractional=structure.frac_coords.tolist(),
        magmoms=None if moments is None else moments.tolist(),
    )


def file_parent(content: FileStructure, supercell: Any = None) -> Structure:
    """The structure as a parent: repeated, and indexed where it is a rocksalt oxide. Raises StructureError."""
    label, matrix = content.label, supercell_matrix(supercell)
    # A left-handed cell, which VASP refuses, becomes that of the opposite vectors: the same crystal.
    hand = -1.0 if np.linalg.det(content.lattice) < 0 else 1.0
    clean = Structure(
        Lattice(hand * np.array(content.lattice)),
        content.species,
        hand * np.array(content.fractional),
        site_properties=None if content.magmoms is None else {"magmom": content.magmoms},
    )
    clean.make_supercell(matrix, to_unit_cell=False)
    if Geometry.of(clean).closest(clean.lattice.matrix, clean.cart_coords) < MIN_DISTANCE:
        raise StructureError(f"{label} has atoms closer than {MIN_DISTANCE} Angstrom; look at its positions and units")
    with contextlib.suppress(StructureError):  # any other crystal: orderings by propagation vector will say so
        clean = index_rocksalt(clean)
    clean.properties |= {"cell": "custom", FILE: label, "supercell": matrix.tolist()}
    clean.properties |= {"parent": parent_id(clean), "parent_lattice": clean.lattice.matrix.tolist()}
    return clean


def supercell_matrix(supercell: Any) -> NDArray[np.int64]:
    """(3, 3) integers from 3 integers, a matrix, or None (identity); left-handed ones are refused."""
    matrix = np.array([1, 1, 1] if supercell is None else supercell)
    matrix = np.diag(matrix) if matrix.shape == (3,) else matrix
    if matrix.shape != (3, 3) or np.linalg.det(matrix) < 0.5:
        raise StructureError(
            f"supercell {supercell} cannot be used; write [2, 2, 2] or a 3x3 matrix of positive volume"
        )
    return matrix


def _moments(structure: Structure) -> FloatArray | None:
    """(N,) signed or (N, 3) Cartesian moments in muB, None where the file has none; a missing one is 0."""
    given = structure.site_properties.get("magmom")
    if given is None:
        spins = [getattr(site.specie, "spin", None) for site in structure]
        given = spins if any(spin is not None for spin in spins) else None
    if given is None:
        return None
    # float() of a vector moment keeps its length and loses its direction.
    rows = [getattr(moment, "global_moment", 0.0 if moment is None else moment) for moment in given]
    if all(np.ndim(row) == 0 for row in rows):
        return np.array(rows, dtype=np.float64)
    vectors = np.array([row if np.ndim(row) else [0.0, 0.0, row] for row in rows], dtype=np.float64)
    return _signed(vectors)


def _signed(vectors: FloatArray) -> FloatArray:
    """(N,) along the first moment where all (N, 3) are collinear."""
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.any(lengths > PARALLEL):
        return np.zeros(len(vectors))
    first = int(np.flatnonzero(lengths > PARALLEL)[0])
    axis = vectors[first] / lengths[first]
    along = vectors @ axis
    return np.asarray(along if np.abs(vectors - np.outer(along, axis)).max() < PARALLEL else vectors)


def _read(path: Path) -> list[Structure]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rounding of coordinates, missing symmetry: what matters is checked
            return _READERS.get(_format(path), _with_ase)(path)
    except StructureError:
        raise
    except Exception as error:  # parsers let any error through, some of them as OSError without a number
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise StructureError(
            f"{path} cannot be read as a structure ({type(error).__name__}: {' '.join(str(error).split())}); "
            f"give {FORMATS}"
        ) from None


def _format(path: Path) -> str:
    if path.name.upper().startswith(("POSCAR", "CONTCAR")) or path.suffix.lower() in (".vasp", ".poscar"):
        return "poscar"
    return path.suffix.lower().lstrip(".")


def _from_cif(path: Path) -> list[Structure]:
    from pymatgen.io.cif import CifParser

    return list(CifParser(path).parse_structures(primitive=False, on_error="raise"))


def _from_poscar(path: Path) -> list[Structure]:
    from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar

    # pymatgen would call unnamed elements H, He, Li.
    warnings.filterwarnings("error", message="Elements in POSCAR cannot", category=BadPoscarWarning)
    try:
        return [Poscar.from_file(str(path), check_for_potcar=False).structure]
    except BadPoscarWarning:
        raise StructureError(
            f"{path} does not name its elements; write their symbols into the line above the numbers of atoms"
        ) from None


def _from_json(path: Path) -> list[Structure]:
    content = json.loads(path.read_text())
    documents = content if isinstance(content, list) else [content]
    return [_from_document(document, path) for document in documents]


def _from_document(document: Any, path: Path) -> Structure:
    content = document.get("structure", document) if isinstance(document, dict) else None
    if not isinstance(content, dict) or "lattice" not in content:
        raise StructureError(
            f"{path}: expected a pymatgen Structure, a document with 'structure', or a list of them; "
            "ask the Materials Project for the field 'structure'"
        )
    try:
        check(content, str(path))
    except UntrustedError as error:
        raise StructureError(str(error)) from None
    return Structure.from_dict(content)


def _with_ase(path: Path) -> list[Structure]:
    import ase.io
    from pymatgen.io.ase import AseAtomsAdaptor

    frames = list(ase.io.iread(str(path), index=":"))
    if not all(all(atoms.pbc) for atoms in frames):
        raise StructureError(f"{path}: a structure is not periodic in three directions; give it a cell and pbc")
    return [AseAtomsAdaptor.get_structure(_with_initial_moments(atoms)) for atoms in frames]


def _with_initial_moments(atoms: Any) -> Any:
    """ASE atoms without results; initial moments are the input ones of the file, or else the converged ones."""
    from datastore.atoms import MAGMOM_IN  # loads ase.io, which takes its time and may warn

    results = atoms.calc.results if atoms.calc is not None else {}
    given = atoms.arrays.get(MAGMOM_IN, atoms.arrays.get("initial_magmoms", results.get("magmoms")))
    bare = type(atoms)(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    if given is not None:
        bare.set_initial_magnetic_moments(given)
    return bare


_READERS = {"cif": _from_cif, "mcif": _from_cif, "poscar": _from_poscar, "json": _from_json}
