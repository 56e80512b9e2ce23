"""The OUTCAR, written step by step, so that a run that is killed leaves what VASP would have left."""

import time
from pathlib import Path

import numpy as np

from tests.support.vasp_std.bands import Bands
from tests.support.vasp_std.inputs import Inputs
from tests.support.vasp_std.outcar_head import RULE, SECTION, cell, head
from tests.support.vasp_std.physics import KB
from tests.support.vasp_std.steps import Electronic, Ionic, projections
from tests.support.vasp_std.style import Style, fortran

AXES = "xyz"


class Outcar:
    """Opened with the head of the file; each method adds what VASP writes at that point."""

    def __init__(self, inputs: Inputs, style: Style):
        self.inputs, self.style = inputs, style
        self.file = Path("OUTCAR").open("w")  # noqa: SIM115 - open as long as the program runs
        self.began = time.perf_counter()
        self.add(head(inputs, style))

    def add(self, text: str) -> None:
        self.file.write(text)
        self.file.flush()

    def timer(self, name: str) -> str:
        seconds = (time.perf_counter() - self.began) / 100
        return f"{name:>10}:  cpu time{seconds:12.4f}: real time{seconds:12.4f}\n"

    def electronic(self, step: Electronic, total: np.ndarray) -> None:
        """One electronic step; ``total``: moment of the cell."""
        first = f"\n\n{'-' * 39} Ionic step {step.ionic:8d}  {'-' * 43}\n\n\n" if self.style.major == 6 else ""
        title = f"{'-' * 39} Iteration {step.ionic:6d}({step.number:4d})  {'-' * 39}\n\n\n"
        timers = [self.timer(name) for name in ("POTLOK", "SETDIJ", "EDDAV", "DOS", "CHARGE", "MIXING")]
        loop = "    --------------------------------------------\n" + self.timer("LOOP") + "\n"
        energies = self._free_energy(step)
        self.add(
            (first if step.number == 1 else "")
            + title
            + "".join(timers)
            + loop
            + f" eigenvalue-minimisations  :{100:6d}\n"
            + f" total energy-change (2. order) :{fortran(step.change, 7, 14)}  ({fortran(step.change, 7, 14)})\n"
            + self._electrons(total)
            + energies
            + ("" if step.last else f"{RULE}\n\n\n\n\n")
        )

    def _electrons(self, total: np.ndarray) -> str:
        moments = "".join(f"{x:15.7f}" for x in total) if self.inputs.spin > 1 else ""
        inner = "".join(f"{x / 2:15.7f}" for x in total) if self.inputs.spin > 1 else ""
        n = self.inputs.electrons
        return (
            f" number of electron {n:15.7f} magnetization {moments}\n"
            f" augmentation part  {n / 2:15.7f} magnetization {inner}\n\n"
        )

    def _free_energy(self, step: Electronic) -> str:
        rest = step.free + step.entropy
        return (
            " Free energy of the ion-electron system (eV)\n  ---------------------------------------------------\n"
            f"  entropy T*S    EENTRO = {-step.entropy:18.8f}\n"
            f"  eigenvalues    EBANDS = {rest:18.8f}\n"
            "  atomic energy  EATOM  =         0.00000000\n"
            "  Solvation  Ediel_sol  =         0.00000000\n"
            "  ---------------------------------------------------\n"
            f"  free energy    TOTEN  = {step.free:18.8f} eV\n\n"
            f"  energy without entropy = {step.without_entropy:17.8f}  energy(sigma->0) = {step.sigma_zero:17.8f}\n\n\n"
            f"{RULE}\n\n\n"
        )

    def bands(self, bands: Bands) -> None:
        """Fermi energy and eigenvalues, after the last electronic step."""
        text = f"\n \n \n E-fermi :{bands.fermi:9.4f}     XC(G=0):  -9.0000     alpha+bet : -9.0000\n\n"
        text += f" Fermi energy:{bands.fermi:23.10f}\n\n" if self.style.major == 6 else ""
        full = 2.0 if self.inputs.spin == 1 else 1.0
        for spin, (energies, occupied) in enumerate(zip(bands.energies, bands.occupations, strict=True), 1):
            text += f" spin component {spin}\n\n" if self.inputs.spin == 2 else ""
            for k, (x, y, z) in enumerate(self.inputs.mesh.points):
                text += f" k-point{k + 1:6d} :{x:13.4f}{y:10.4f}{z:10.4f}\n  band No.  band energies     occupation \n"
                pairs = enumerate(zip(energies[k], occupied[k], strict=True), 1)
                text += "".join(f"{i:7d}{e:13.4f}{full * o:13.5f}\n" for i, (e, o) in pairs) + "\n"
        self.add(text + f"\n{RULE}\n\n\n")

    def loop_ends(self, converged: bool) -> None:
        """VASP 5 writes the same line for a loop that NELM ended."""
        if converged or self.style.major == 5:
            self.add(f"\n{'-' * 24} aborting loop because EDIFF is reached {'-' * 40}\n\n\n")
        else:
            self.add(f"\n{'-' * 24} aborting loop EDIFF was not reached (unconverged)  {'-' * 28}\n\n\n")

    def tables(self, step: Ionic) -> None:
        """Charge and moments within the spheres; none without LORBIT."""
        if self.inputs.integer("LORBIT", 0) < 10:
            return
        valences = np.array([self.inputs.potcars[b].valence for b in self.inputs.blocks])
        charges, moments = projections(valences, self.inputs.species, step.state.moments)
        text = self._table("total charge", charges)
        if self.inputs.spin == 2:
            text += self._table("magnetization (x)", moments)
        if self.inputs.spin == 4:
            text += "".join(self._table(f"magnetization ({axis})", moments[:, :, i]) for i, axis in enumerate(AXES))
        self.add(text)

    def _table(self, title: str, parts: np.ndarray) -> str:
        lines = [f"{i:5d}     " + _cells(row) for i, row in enumerate(parts, 1)]
        return (
            f"\n\n\n {title}\n\n# of ion       s       p       d       tot\n{'-' * 42}\n"
            + "\n".join(lines)
            + f"\n{'-' * 50}\ntot       {_cells(parts.sum(axis=0))}\n \n"
        )

    def ionic(self, step: Ionic) -> None:
        """Stress, cell, forces and energies of one ionic step."""
        names = ("CHARGE", "FORLOC", "FORNL ", "STRESS", "FORCOR", "FORHAR", "MIXING", "OFIELD")
        self.add("".join(self.timer(name) for name in names) + _stress(step))
        self.add(f"\n\n VOLUME and BASIS-vectors are now :\n {'-' * 77}\n{cell(step.lattice, self.inputs.cutoff)}")
        self.add(_forces(step))
        last = step.last
        self.add(
            f"{RULE}\n\n\n\n  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  {'-' * 51}\n"
            f"  free  energy   TOTEN  = {last.free:18.8f} eV\n\n"
            f"  energy  without entropy={last.without_entropy:18.8f}  energy(sigma->0) ={last.sigma_zero:18.8f}\n"
            f" \n\n\n{RULE}\n\n\n{self.timer('POTLOK')}{SECTION}"
        )

    def moved(self, last: bool, reached: bool) -> None:
        """End of an ionic step."""
        done = "  \n reached required accuracy - stopping structural energy minimisation\n" if reached else ""
        waves = " writing wavefunctions\n" if last and self.inputs.logical("LWAVE", True) else ""
        self.add(done + waves + self.timer("LOOP+") + ("" if last else SECTION))

    def stopped(self, hard: bool) -> None:
        """Reaction to a STOPCAR."""
        self.add(f"\n{'hard' if hard else 'soft'} stop encountered!  aborting job ...\n\n")

    def end(self) -> None:
        """Memory and times, the last block of a complete file."""
        elapsed, cpu = time.perf_counter() - self.began, time.process_time()
        total = f"{elapsed:13.3f}"
        self.add(
            f"{self.timer('4ORBIT')}\n total amount of memory used by VASP MPI-rank0    30000. kBytes\n{'=' * 71}\n\n"
            "   base      :      30000. kBytes\n \n  \n  \n General timing and accounting informations for this job:\n"
            f" {'=' * 56}\n  \n                  Total CPU time used (sec):{cpu:13.3f}\n"
            f"                            User time (sec):{cpu:13.3f}\n"
            f"                          System time (sec):{0:13.3f}\n"
            f"                         Elapsed time (sec):{total}\n  \n"
            "                   Maximum memory used (kb):       30000.\n"
            f"                   Average memory used (kb):{'0.' if self.style.major == 5 else 'N/A':>13}\n  \n"
            "                          Minor page faults:        10000\n"
            "                          Major page faults:            0\n"
            "                 Voluntary context switches:            0\n"
        )
        self.file.close()


def _cells(values: np.ndarray) -> str:
    return "".join(f"{x:8.3f}" for x in (*values, values.sum()))


def voigt(stress: np.ndarray) -> list[float]:
    """XX YY ZZ XY YZ ZX of a stress (3, 3) with ASE's sign in VASP's, kB."""
    return [-KB * stress[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))]


def _stress(step: Ionic) -> str:
    kilobar = voigt(step.state.stress)
    total = [x * step.volume / KB for x in kilobar]
    return (
        "\n  FORCE on cell =-STRESS in cart. coord.  units (eV):\n"
        "  Direction    XX          YY          ZZ          XY          YZ          ZX\n"
        f"  {'-' * 86}\n  Kinetic{''.join(f'{x:12.5f}' for x in total)}\n  {'-' * 85}\n"
        f"  Total  {''.join(f'{x:12.5f}' for x in total)}\n  in kB  {''.join(f'{x:12.5f}' for x in kilobar)}\n"
        f"  external pressure = {sum(kilobar[:3]) / 3:12.2f} kB  Pullay stress = {0:11.2f} kB\n"
    )


def _forces(step: Ionic) -> str:
    table = "".join(
        "".join(f"{x:13.5f}" for x in r) + "   " + "".join(f"{x:14.6f}" for x in f) + "\n"
        for r, f in zip(step.positions, step.state.forces, strict=True)
    )
    drift = "".join(f"{x:14.6f}" for x in step.state.forces.sum(axis=0))
    return (
        "\n FORCES acting on ions\n"
        f" POSITION                                       TOTAL-FORCE (eV/Angst)\n {'-' * 83}\n{table} {'-' * 83}\n"
        f"    total drift:                          {drift}\n\n\n"
    )
