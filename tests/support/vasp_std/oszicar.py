"""OSZICAR and the lines of it that VASP writes to stdout too."""

from pathlib import Path

import numpy as np

from tests.support.vasp_std.steps import Electronic, Ionic
from tests.support.vasp_std.style import fortran

TITLE = "       N       E                     dE             d eps       ncg     rms          rms(c)"


class Oszicar:
    def __init__(self) -> None:
        self.file = Path("OSZICAR").open("w")  # noqa: SIM115 - open as long as the program runs

    def add(self, line: str) -> None:
        print(line, flush=True)
        self.file.write(line + "\n")
        self.file.flush()

    def electronic(self, step: Electronic) -> None:
        if step.number == 1:
            self.add(TITLE)
        rms = abs(step.change) / 10
        density = fortran(rms / 10, 3, 13) if step.number > 4 and not step.last else ""
        self.add(
            f"DAV: {step.number:3d}  {fortran(step.free, 12, 20)}  {fortran(step.change, 5, 13)}"
            f"  {fortran(-abs(step.change), 5, 13)}{100:6d} {fortran(rms, 3, 11)}{density}"
        )

    def penalty(self, energy: float, weight: float, away: np.ndarray, moments: np.ndarray) -> None:
        """What a constraint of moments (N, 3) adds: E_p in eV, the moments held, and the field that holds them."""
        potential = 2 * weight * float(np.sum(away * moments))
        self.add(f" E_p = {fortran(energy, 5, 12)}  lambda = {fortran(weight, 3, 10)}")
        self.add(f"<lVp>= {fortran(potential, 5, 12)}")
        self.add(f" DBL = {fortran(-potential, 5, 12)}")
        self.add(" ion             MW_int                 M_int")
        for i, moment in enumerate(moments, 1):
            both = (*moment, *moment)
            self.add(f"{i:4d}" + "".join(f"{x:7.3f}" + ("  " if k == 2 else "") for k, x in enumerate(both)))
        self.add(" ion        lambda*MW_perp")
        for i, field in enumerate(weight * away, 1):
            self.add(f"{i:4d} " + "".join(fortran(x, 5, 13) for x in field))

    def ionic(self, step: Ionic, polarised: bool) -> None:
        last = step.last
        energies = f"F= {fortran(last.free, 8, 14)} E0= {fortran(last.sigma_zero, 8, 14)}"
        line = f"{step.number:4d} {energies}  d E ={fortran(step.change, 6, 12)}"
        moment = "".join(f"{x:11.4f}" for x in step.total_moment)
        self.add(line + (f"  mag={moment}" if polarised else ""))
