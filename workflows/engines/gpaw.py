"""PBE+U single points with GPAW: plane waves, PAW setups from ``gpaw-data``, no licence to buy.

Errors measured on one displaced 4-atom NiO cell (``python benchmarks/gpaw_convergence.py``), for the energy, for
E(FM) - E(AFM-II), and for the worst force component: 700 eV against 900 eV 6.5 and 0.01 meV/atom, 0.5 meV/Angstrom; the
pinned mesh 4x4x2 against 6x6x3 3.6 and 0.6 meV/atom, 6 meV/Angstrom. GPAW is GPL-3: it is called, not bundled.
"""

from __future__ import annotations

import math
import os
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from datastore.schema import SpinConfig
from workflows.engines.fields import KMesh, check_amounts, check_meshes
from workflows.engines.gpaw_setups import elements_with_setups, setups_of_level
from workflows.engines.interface import Engine, LabelError, RawLabel, full_disk
from workflows.engines.subprocess_label import label_in_child, single_threaded

VERSION_WANTED = "26.7.0"
REMEDY = (
    "install it with `make gpaw`, which runs: apt-get install -y --no-install-recommends gcc libc6-dev libxc-dev "
    f"libopenblas-dev libfftw3-dev; pip install gpaw=={VERSION_WANTED}. Or use --engine spin-lattice, "
    "a model Hamiltonian that needs neither"
)
_SMALL_CELL = 8
"""From this many atoms on GPAW's default eigensolver is faster than ppcg with one step (measured)."""


class GpawEngine(Engine):
    """GPAW in plane-wave mode, collinear spins, Gamma-centred k meshes pinned to the undeformed parent cell."""

    type: Literal["gpaw"] = "gpaw"
    xc: Literal["PBE"] = "PBE"
    ecut: float = Field(default=700.0, ge=200, le=2000, description="plane-wave cutoff, eV")
    hubbard_u: dict[str, float] = Field(
        default={"Co": 3.32, "Ni": 6.2, "Mn": 3.9},
        description="U on the d shell per element, eV; GPAW's default scaled projection",
    )
    kpts: dict[str, KMesh] = Field(
        default={"rhombohedral4": (4, 4, 2), "tetragonal4": (4, 4, 3), "all8": (4, 2, 2)},
        description="Gamma-centred mesh per cell type; a mesh that follows strain makes energies jump",
    )
    kpoint_length: float = Field(
        default=9.5,
        gt=0,
        description="Angstrom; other cells get ceil(kpoint_length / height of the parent cell) divisions. 9.5 gives "
        "the same meshes as the table for NiO, CoO and MnO",
    )
    smearing: float = Field(default=0.05, gt=0, description="Fermi-Dirac width, eV")
    bands: str = Field(default="110%", description="number of bands, relative to the occupied ones")
    convergence: dict[str, float] = Field(
        default={"density": 1e-4, "energy": 1e-4, "eigenstates": 4e-6},
        description="as GPAW names and measures them; 1e-5, 1e-5 and 1e-7 move forces by 0.4 meV/Angstrom at 10 % more",
    )
    maxiter: int = Field(default=120, ge=1, description="SCF steps before giving up")
    maxiter_elements: dict[str, int] = Field(
        default={"Co": 250}, description="SCF steps where the element is present; Co needs up to 200"
    )

    @field_validator("hubbard_u", "maxiter_elements")
    @classmethod
    def _known_elements(cls, value: dict[str, float]) -> dict[str, float]:
        check_amounts(value)
        return value

    @field_validator("kpts")
    @classmethod
    def _positive_mesh(cls, value: dict[str, KMesh]) -> dict[str, KMesh]:
        check_meshes(value)
        return value

    def level_of_theory(self) -> dict[str, Any]:
        """Everything that decides the numbers; SCF step limits and thread counts do not.

        Nor does GPAW's own version, which every label records (docs/decisions/009).
        """
        return {
            "code": "GPAW",
            "functional": "PBE+U",
            "xc": self.xc,
            "mode": "pw",
            "ecut": self.ecut,
            "hubbard_u": dict(sorted(self.hubbard_u.items())),
            "hubbard_projection": "d, scaled",
            **setups_of_level(self.xc, [*self.hubbard_u, "O"]),
            "kpts": {cell: list(mesh) for cell, mesh in sorted(self.kpts.items())},
            "kpoint_length": self.kpoint_length,
            "kpts_centre": "gamma",
            "smearing": {"name": "fermi-dirac", "width": self.smearing},
            "bands": self.bands,
            "convergence": dict(sorted(self.convergence.items())),
        }

    def version(self) -> str:
        """Version of the installed GPAW, or ``not installed``."""
        try:
            return metadata.version("gpaw")
        except metadata.PackageNotFoundError:
            return "not installed"

    def missing(self) -> list[str]:
        """Why GPAW cannot run here, with the remedy; empty when it can."""
        problem = import_problem()
        if problem:
            return [f"GPAW cannot be imported ({problem}): {REMEDY}"]
        if not elements_with_setups(self.xc):
            return [f"GPAW has no {self.xc} setups: pip install gpaw-data, or use --engine spin-lattice"]
        return []

    def mesh(self, config: SpinConfig) -> KMesh:
        """Divisions of the k mesh: from the table by cell type, else from the heights of the *parent* cell.

        Raises LabelError (refused) for a deformed configuration that does not say what its parent was.
        """
        if config.cell in self.kpts:
            return self.kpts[config.cell]
        lattice = config.parent_lattice
        if lattice is None:
            if config.deformation != "none":
                raise LabelError(
                    f"no k mesh for cell {config.cell!r}: it is deformed and has no parent_lattice; give it one or "
                    f"add {config.cell!r} to the engine's kpts",
                    "refused",
                )
            lattice = config.lattice
        heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
        n = [max(1, math.ceil(self.kpoint_length / h - 1e-6)) for h in heights]
        return n[0], n[1], n[2]

    def seconds_estimate(self, config: SpinConfig) -> float:
        """Fitted to 4, 8 and 16 atoms on one core (about 19, 43 and 340 s)."""
        n = len(config.species)
        kpoints = math.prod(self.mesh(config)) / 2 + 2
        size = (n / 4) ** 2.1 if n <= _SMALL_CELL else 2**2.1 * (n / 8) ** 3.5
        return 3.0 + 0.9 * kpoints * size * (self.ecut / 700) ** 1.5

    def compute(self, config: SpinConfig, workdir: Path | None) -> RawLabel:
        """Run GPAW here if this process was started single-threaded, else in a child process that is.

        Threads inside BLAS slow these small cells down tenfold, and cannot be switched off after the start.
        """
        self._refuse(config)
        if workdir is not None:
            workdir.mkdir(parents=True, exist_ok=True)
        if single_threaded():
            return self.compute_here(config, workdir)
        return label_in_child(self, config, workdir)

    def compute_here(self, config: SpinConfig, workdir: Path | None) -> RawLabel:
        """Run GPAW in this process, whatever its number of threads. Its text log is ``workdir/gpaw.txt``.

        Raises LabelError, and OSError where the disk is full.
        """
        from gpaw import ConvergenceError

        log = os.devnull if workdir is None else str(workdir / "gpaw.txt")
        try:
            return self._run(config, log)
        except ConvergenceError as error:
            steps = self._steps(config)
            message = f"GPAW did not converge in {steps} SCF steps ({_one_line(error)}); log: {log}"
            raise LabelError(message, "not-converged", {"iterations": float(steps)}) from error
        except Exception as error:
            if full := full_disk(error):
                raise full from error
            raise LabelError(f"GPAW failed: {_one_line(error)}; log: {log}", "crashed") from error

    def _run(self, config: SpinConfig, log: str) -> RawLabel:
        from ase import Atoms
        from gpaw import GPAW

        atoms = Atoms(
            config.species, positions=config.positions, cell=config.lattice, pbc=True, magmoms=config.magmoms_in
        )
        atoms.calc = GPAW(**self.parameters(config), txt=log)
        energy = atoms.get_potential_energy()
        return RawLabel(
            energy=float(energy),
            # GPAW's forces are derivatives of the free energy (gpaw/new/calculation.py: 'free_energy' is
            # energies.total_free, 'energy' adds the extrapolation to zero smearing).
            free_energy=float(atoms.get_potential_energy(force_consistent=True)),
            forces=atoms.get_forces(),
            stress=atoms.get_stress(voigt=False),
            magmoms_out=np.asarray(atoms.get_magnetic_moments(), dtype=float),
            total_moment=float(atoms.get_magnetic_moment()),
            band_gap=gap_of(atoms.calc),
            kpoints=list(self.mesh(config)),
            timings={"iterations": float(atoms.calc.get_number_of_iterations())},
        )

    def parameters(self, config: SpinConfig) -> dict[str, Any]:
        """Keyword arguments of GPAW's calculator for this configuration, without ``txt``."""
        present = set(config.species)
        parameters: dict[str, Any] = {
            "mode": {"name": "pw", "ecut": self.ecut},
            "xc": self.xc,
            "setups": {el: f":d,{u}" for el, u in sorted(self.hubbard_u.items()) if el in present},
            "kpts": {"size": list(self.mesh(config)), "gamma": True},
            "nbands": self.bands,
            "occupations": {"name": "fermi-dirac", "width": self.smearing},
            # 'off' would also drop time reversal of the k mesh and cost twice as much.
            "symmetry": {"point_group": False},
            "convergence": dict(self.convergence),
            "maxiter": self._steps(config),
        }
        if len(config.species) < _SMALL_CELL:
            parameters["eigensolver"] = {"name": "ppcg", "niter": 1}
        return parameters

    def _steps(self, config: SpinConfig) -> int:
        special = [steps for element, steps in self.maxiter_elements.items() if element in config.species]
        return max([self.maxiter, *special])

    def _refuse(self, config: SpinConfig) -> None:
        if config.magmoms_in.ndim != 1:
            raise LabelError("engine 'gpaw' labels collinear moments only; give one signed number per site", "refused")
        problems = self.missing()
        if problems:
            raise LabelError(problems[0], "refused")
        without = sorted(set(config.species) - elements_with_setups(self.xc))
        if without:
            raise LabelError(
                f"GPAW has no {self.xc} setup for {', '.join(without)}: leave the element out, or add its setup file "
                "to a folder named in GPAW_SETUP_PATH",
                "refused",
            )
        self.mesh(config)


def gap_of(calculator: Any) -> float | None:
    """Band gap in eV, 0 for a metal; None where all bands of one spin are occupied, as nothing is above the gap.

    High-spin CoO from a guess of 1 muB is such a case: GPAW takes the number of bands from the guess. Energy and
    forces are not concerned (0.01 meV per cell against 130 % of bands).
    """
    from ase.dft.bandgap import GapInfo

    try:
        return float(GapInfo.fromcalc(calculator).gap()[0])
    except ValueError:
        return None


def import_problem() -> str | None:
    """Why ``import gpaw`` and its compiled part fail, in one line; None when they work."""
    try:
        import_module("gpaw.cgpaw")
    except Exception as error:  # a broken build raises ImportError, OSError or RuntimeError
        return _one_line(error)
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
