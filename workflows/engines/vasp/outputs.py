"""A finished VASP folder -> :class:`VaspResult`: cross-checked numbers, in the caller's site order, or a refusal.

emmet's TaskDoc gives the same numbers for collinear runs (tests compare them field by field). It is not called here:
its geometry is that of CONTCAR, which need not be the one the energy belongs to; it reduces vector moments to numbers;
it takes an OUTCAR without its end; and most of its time goes into parts of OUTCAR that no label needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pymatgen.electronic_structure.core import Magmom
from pymatgen.io.vasp.outputs import Vasprun

from datastore.schema import FloatArray
from workflows.engines.vasp.cross_check import same_numbers, same_run
from workflows.engines.vasp.outcar import Outcar, read_outcar
from workflows.engines.vasp.output_files import OutputError, newest_outputs, whole
from workflows.engines.vasp.vasprun import band_gap, incar_of, mesh_of, moments_in, read_vasprun, started

KB_PER_EV_A3 = 1602.1766208
"""1 eV/Angstrom^3 = 160.21766208 GPa = 1602.1766208 kB (CODATA 2014, as in ASE and pymatgen)."""

FIXED_DENSITY = 10
"""ICHARG above this keeps the charge density as read: the energy is not self-consistent."""

LDAUU_ROUNDING = 0.051
"""eV; OUTCAR prints one decimal."""

Sites: TypeAlias = npt.NDArray[np.intp]

__all__ = ["OutputError", "VaspResult", "read_run"]


@dataclass(frozen=True)
class VaspResult:
    """Numbers of the last ionic step of a run. Units: eV, Angstrom, muB, seconds. Arrays per site are in the order
    asked for; values per species block (``blocks`` and what follows) in that of the POSCAR.

    ``free_energy`` is TOTEN, of which ``forces`` (N, 3) and ``stress`` (3, 3; eV/Angstrom^3, ASE sign, None where VASP
    printed none) are derivatives; ``energy`` is E(sigma -> 0). ``lattice`` and ``positions`` (Cartesian, of the image
    of each site that VASP wrote) are those the energy belongs to. ``magmoms_in``: MAGMOM of the INCAR, None where it
    has none. ``magmoms_out``: (N,) signed, or (N, 3) Cartesian (VASP prints them in the frame of SAXIS), within the
    projection spheres, None for a run without. ``total_moment``: of the cell, from the electron count, scalar or (3,).
    ``charges``: (N,) electrons in the spheres. ``kpoints``: divisions of a regular mesh. ``hubbard_u``: eV, 0 without
    +U. ``potcars``: TITEL of each block. ``n_electronic``: steps of each ionic step. ``converged``: electronically, in
    the last ionic step; read_run refuses others. ``ionic_converged``: None for a static run or molecular dynamics.
    ``incar``: tags as VASP understood them; ``parameters``: those and VASP's defaults (the cutoff is ENMAX there).
    ``from_atoms``: its first density was that of atoms with MAGMOM.
    ``timings``: ``wall``, ``cpu`` (of the first rank) and ``cores`` as VASP states them.
    """

    species: tuple[str, ...]
    lattice: FloatArray
    positions: FloatArray
    magmoms_in: FloatArray | None
    energy: float
    free_energy: float
    forces: FloatArray
    stress: FloatArray | None
    magmoms_out: FloatArray | None
    total_moment: float | FloatArray | None
    charges: FloatArray | None
    band_gap: float | None
    kpoints: list[int] | None
    centring: str
    incar: dict[str, Any]
    parameters: dict[str, Any] = field(repr=False)
    blocks: tuple[str, ...]
    ions_per_block: tuple[int, ...]
    hubbard_u: tuple[float, ...]
    potcars: tuple[str, ...]
    nelect: float
    version: str
    timings: dict[str, float]
    n_ionic: int
    n_electronic: tuple[int, ...]
    converged: bool
    ionic_converged: bool | None
    files: tuple[Path, Path]
    from_atoms: bool


def read_run(folder: Path, order: Sequence[int] | None = None, moments: bool = True) -> VaspResult:
    """Numbers of the newest finished run in ``folder``, where ``vasprun.xml`` and ``OUTCAR`` agree.

    Of a relaxation or of molecular dynamics it is the last ionic step. ``order[k]`` is the caller's site of VASP's site
    ``k``; None keeps the order of the files. ``moments=False`` takes runs without a table of moments, too (not
    spin-polarised, or no LORBIT).

    Raises OutputError, whose ``reason`` says which check failed.
    """
    vasprun_path, outcar_path = newest_outputs(folder)
    if outcar_path is None or vasprun_path is None:
        lacking = "OUTCAR" if vasprun_path else "vasprun.xml" if outcar_path else "vasprun.xml and OUTCAR"
        raise OutputError("missing file", folder, f"has no {lacking}; moments and energies need both files")
    outcar, outcar_path = whole(read_outcar, outcar_path)
    vasprun, vasprun_path = whole(read_vasprun, vasprun_path)
    same_run(vasprun, outcar, started(vasprun_path), vasprun_path)
    _check_label(vasprun, outcar)
    same_numbers(vasprun, outcar, vasprun_path)
    if moments:
        _check_moments(outcar)
    return _result(vasprun, outcar, (vasprun_path, outcar_path), _site_order(order, vasprun, folder))


def _check_label(vasprun: Vasprun, outcar: Outcar) -> None:
    """Refuse what is no self-consistent energy. VASP 5 says that EDIFF is reached even where NELM was."""
    if vasprun.incar.get("ML_LMLFF"):
        raise OutputError(
            "foreign", outcar.path, "is of a machine-learned force field (ML_LMLFF), not of a calculation"
        )
    if vasprun.parameters.get("ICHARG", 2) > FIXED_DENSITY:
        raise OutputError("not self-consistent", outcar.path, "ICHARG above 10 keeps the charge density; run with less")
    steps, limit = outcar.n_electronic[-1], vasprun.parameters.get("NELM", 60)
    if not _converged(vasprun, outcar):
        how = f"{steps} electronic steps of NELM = {limit} in its last ionic step"
        raise OutputError(
            "not converged", outcar.path, f"EDIFF was not reached ({how}); run with a larger NELM or ALGO"
        )


def _check_moments(outcar: Outcar) -> None:
    if not outcar.spin_polarised and not outcar.noncollinear:
        raise OutputError("no moments", outcar.path, "is not spin-polarised; run with ISPIN = 2 and MAGMOM")
    if outcar.magnetization is None:
        problem = f"has no table of moments after its last step (LORBIT = {outcar.lorbit}); run with LORBIT = 11"
        raise OutputError("no moments", outcar.path, problem)


def _site_order(order: Sequence[int] | None, vasprun: Vasprun, folder: Path) -> Sites:
    """VASP's site of each of the caller's sites: the inverse of ``order``."""
    n = len(vasprun.atomic_symbols)
    if order is None:
        return np.arange(n)
    if sorted(order) != list(range(n)):
        raise OutputError("foreign", folder, f"has {n} sites, which the order of {len(order)} sites does not permute")
    return np.argsort(order)


def _converged(vasprun: Vasprun, outcar: Outcar) -> bool:
    return outcar.scf_reached and outcar.n_electronic[-1] < vasprun.parameters.get("NELM", 60)


def _ionic_converged(vasprun: Vasprun, outcar: Outcar) -> bool | None:
    relaxes = vasprun.parameters.get("NSW", 0) > 1 and vasprun.parameters.get("IBRION", -1) in (1, 2, 3)
    return outcar.accuracy_reached if relaxes else None


def _result(vasprun: Vasprun, outcar: Outcar, files: tuple[Path, Path], at: Sites) -> VaspResult:
    last = vasprun.ionic_steps[-1]
    structure = last["structure"]
    mesh, centring = mesh_of(vasprun)
    incar = incar_of(vasprun, outcar.lorbit)
    stressed = outcar.stress is not None and "stress" in last
    return VaspResult(
        **_moments(vasprun, outcar, files[0], at),
        species=tuple(vasprun.atomic_symbols[site] for site in at),
        lattice=structure.lattice.matrix.copy(),
        positions=structure.cart_coords[at],
        energy=float(vasprun.final_energy),
        free_energy=float(last["e_fr_energy"]),
        forces=np.asarray(last["forces"])[at],
        stress=_ase_stress(last["stress"]) if stressed else None,
        charges=None if outcar.charges is None else outcar.charges[at],
        band_gap=band_gap(vasprun, outcar.fermi),
        kpoints=mesh,
        centring=centring,
        incar=incar,
        parameters=dict(vasprun.parameters),
        blocks=_blocks(vasprun, outcar),
        ions_per_block=outcar.ions_per_type,
        hubbard_u=_hubbard_u(incar, outcar),
        potcars=outcar.titels[: len(outcar.ions_per_type)],
        nelect=outcar.nelect,
        version=outcar.version,
        timings=outcar.timings,
        n_ionic=len(outcar.n_electronic),
        n_electronic=outcar.n_electronic,
        converged=_converged(vasprun, outcar),
        ionic_converged=_ionic_converged(vasprun, outcar),
        files=files,
        from_atoms=outcar.from_atoms,
    )


def _ase_stress(kilobar: FloatArray) -> FloatArray:
    """VASP's stress in eV/Angstrom^3 with ASE's sign (positive under tension), symmetric to the last digit."""
    stress = -np.asarray(kilobar) / KB_PER_EV_A3
    return (stress + stress.T) / 2


def _moments(vasprun: Vasprun, outcar: Outcar, path: Path, at: Sites) -> dict[str, Any]:
    """Moments in and out of the sites ``at`` and of the cell, vectors turned from the frame of SAXIS."""
    saxis = vasprun.parameters.get("SAXIS") or [0.0, 0.0, 1.0]
    stated = moments_in(vasprun, path)
    found: dict[str, Any] = {
        "magmoms_in": None if stated is None else stated[at],
        "magmoms_out": None if outcar.magnetization is None else outcar.magnetization[at],
        "total_moment": outcar.total_moment,
    }
    if not outcar.noncollinear:
        return found
    return {name: None if value is None else _cartesian(value, saxis) for name, value in found.items()}


def _cartesian(vectors: FloatArray, saxis: Sequence[float]) -> FloatArray:
    """Vectors (..., 3) in the frame whose z is SAXIS (VASP wiki, SAXIS) as Cartesian ones."""
    turned = [Magmom(vector, saxis).global_moment for vector in np.reshape(vectors, (-1, 3))]
    return np.reshape(turned, np.shape(vectors))


def _blocks(vasprun: Vasprun, outcar: Outcar) -> tuple[str, ...]:
    """Element of each species block; an element may have several."""
    ends = np.cumsum(outcar.ions_per_type)
    parts = np.split(np.array(vasprun.atomic_symbols), ends[:-1])
    if any(len(set(part)) != 1 for part in parts):
        raise OutputError("foreign", outcar.path, "counts ions per type that do not fit the elements of vasprun.xml")
    return tuple(str(part[0]) for part in parts)


def _hubbard_u(incar: dict[str, Any], outcar: Outcar) -> tuple[float, ...]:
    """LDAUU of each block from the INCAR, checked against what OUTCAR prints with one decimal.

    ``parameters`` of vasprun.xml holds one element only, and pymatgen's ``hubbards`` one value per element.
    """
    n = len(outcar.ions_per_type)
    if not incar.get("LDAU") and not outcar.ldauu:
        return (0.0,) * n
    stated = np.ravel(incar.get("LDAUU", outcar.ldauu)).astype(float)[:n]
    differs = len(outcar.ldauu) == n and len(stated) == n and np.abs(stated - outcar.ldauu).max() > LDAUU_ROUNDING
    if not incar.get("LDAU") or len(stated) != n or differs:
        told = f"LDAU = {incar.get('LDAU')}, LDAUU = {list(stated)} in vasprun.xml"
        raise OutputError("inconsistent", outcar.path, f"has LDAUU = {list(outcar.ldauu)} for {n} blocks; {told}")
    return tuple(float(value) for value in stated)
