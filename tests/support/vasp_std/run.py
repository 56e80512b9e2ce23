"""One run: electronic steps within ionic steps, written as they come."""

from pathlib import Path

import numpy as np

from tests.support.vasp_std.bands import bands, cell_moment
from tests.support.vasp_std.failing import Failing
from tests.support.vasp_std.inputs import Inputs
from tests.support.vasp_std.messages import NOT_CONVERGED
from tests.support.vasp_std.occupations import FOUND, held_moments
from tests.support.vasp_std.oszicar import Oszicar
from tests.support.vasp_std.outcar import Outcar
from tests.support.vasp_std.outcar_head import ibrion
from tests.support.vasp_std.physics import Setting, State, ground_state, held
from tests.support.vasp_std.relax import Optimiser
from tests.support.vasp_std.restart import starting_moments, write_contcar, write_ibzkpt, write_state
from tests.support.vasp_std.steps import Electronic, Ionic, electronic_steps
from tests.support.vasp_std.style import Style
from tests.support.vasp_std.vasprun import Vasprun

_READ = """\
 found WAVECAR, reading the header
 reading WAVECAR
 the WAVECAR file was read successfully
 initial charge from wavefunction"""


class Run:
    """The state of a run between ionic steps, and its open files."""

    def __init__(self, inputs: Inputs, style: Style, failing: Failing):
        self.inputs, self.failing = inputs, failing
        self.setting = Setting.of(inputs)
        self.outcar, self.vasprun, self.oszicar = Outcar(inputs, style), Vasprun(inputs, style), Oszicar()
        start, self.restarted = starting_moments(inputs)
        self.moments = failing.start(start)
        self.held = held_moments(inputs, self.moments)
        if self.held is not None:
            self.outcar.add(FOUND)
        self.optimiser = Optimiser(inputs.integer("ISIF", 2) >= 3)
        self.first: float | None = None
        self.before: float | None = None

    def go(self) -> None:
        """All ionic steps, then the end of every file."""
        inputs = self.inputs
        print(_READ if self.restarted else " WAVECAR not read", "entering main loop", sep="\n ")
        write_ibzkpt(inputs)
        lattice, positions = inputs.lattice, inputs.positions
        most = max(inputs.integer("NSW", 0), 1)
        for number in range(1, most + 1):
            step = self._electrons(number, lattice, positions)
            reached = self._reached(step)
            if stop := self._stop_file("LSTOP"):
                self.outcar.stopped(hard=False)
            last = number == most or reached or stop or self._stop_file("LABORT")
            self._report(step, last, reached)
            if last:
                break
            lattice, positions = self.optimiser.move(lattice, positions, step.state)
        write_contcar(inputs, lattice, positions)
        print(" writing wavefunctions" if inputs.logical("LWAVE", True) else "", end="\n")
        write_state(inputs, self.moments)
        self.outcar.tables(step)
        self.outcar.end()
        self.vasprun.end(lattice, positions @ np.linalg.inv(lattice))

    def _electrons(self, number: int, lattice: np.ndarray, positions: np.ndarray) -> Ionic:
        """Self-consistency for one geometry."""
        inputs = self.inputs
        cell = self.setting, lattice, positions
        found = ground_state(*cell, self.moments) if self.held is None else held(*cell, self.held)
        state = self.failing.electrons(found, self.setting, lattice, positions)
        total = cell_moment(inputs, state.moments)
        limits = inputs.integer("NELMIN", 2), inputs.integer("NELM", 60), inputs.real("EDIFF", 1e-4)
        for electronic in electronic_steps(number, state, self.setting.entropy, limits):
            self.failing.before(electronic)
            self._report_electronic(electronic, state, total)
            if self._stop_file("LABORT"):
                self.outcar.stopped(hard=True)
                break
        self.moments = state.moments
        self.first = electronic.free if self.first is None else self.first
        change = electronic.free - (self.first if number > 1 else 0.0)
        return Ionic(number, lattice, positions, state, electronic, change, total)

    def _report_electronic(self, electronic: Electronic, state: State, total: np.ndarray) -> None:
        self.outcar.electronic(electronic, total)
        self.vasprun.electronic(electronic)
        self.oszicar.electronic(electronic)
        if self.setting.mode:
            vectors = state.moments.reshape(self.inputs.n, -1)
            wide = [np.pad(m, ((0, 0), (3 - m.shape[1], 0))) for m in (state.away, vectors)]
            self.oszicar.penalty(state.penalty, self.setting.weight, *wide)

    def _report(self, step: Ionic, last: bool, reached: bool) -> None:
        if not step.last.converged:
            print(NOT_CONVERGED, end="")
        levels = bands(self.inputs, float(step.total_moment[-1]))
        self.outcar.bands(levels)
        self.outcar.loop_ends(step.last.converged)
        self.outcar.tables(step)
        self.outcar.ionic(step)
        self.outcar.moved(last, reached)
        self.vasprun.ionic(step, levels if last else None)
        self.oszicar.ionic(step, self.inputs.spin > 1)
        if reached:
            print(" reached required accuracy - stopping structural energy minimisation")

    def _reached(self, step: Ionic) -> bool:
        """EDIFFG: positive for the change of the energy, negative for the largest force."""
        if ibrion(self.inputs) < 1:
            return False
        limit = self.inputs.real("EDIFFG", 10 * self.inputs.real("EDIFF", 1e-4))
        before, self.before = self.before, step.last.free
        if limit < 0:
            slope = self.optimiser.slope(step.lattice, step.state)
            return bool(np.linalg.norm(slope, axis=1).max() < -limit)
        return before is not None and abs(step.last.free - before) < limit

    @staticmethod
    def _stop_file(tag: str) -> bool:
        """Whether a STOPCAR asks for ``tag``: LSTOP after the ionic, LABORT after the electronic step."""
        try:
            text = Path("STOPCAR").read_text().upper()
        except FileNotFoundError:
            return False
        return any(line.partition("=")[0].strip() == tag and ".T" in line for line in text.splitlines())
