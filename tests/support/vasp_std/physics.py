"""What the program calculates: the spin-lattice model, with the U of each species block, penalties and k mesh.

With the paper's U the free energy, forces, stress and moments are those of the spin-lattice engine, but for a constant
of the k mesh. Another U, on another species or left out, gives another energy and other moments.
"""

from dataclasses import dataclass

import numpy as np

from tests.support.vasp_std.inputs import Inputs
from workflows.engines.interface import LabelError
from workflows.engines.spin_lattice.hamiltonian import Hamiltonian
from workflows.engines.spin_lattice.moments import relax_moments
from workflows.engines.spin_lattice.table import TABLE

PAPER_U = {"Mn": 3.9, "Co": 3.32, "Ni": 6.2}
"""eV, what the model stands for; zero elsewhere."""
STAND_INS = {"Mn": "Mn", "Co": "Co", "Ni": "Ni", "O": "O", "Fe": "Co"}
"""The model's element for each species. Others are Mn without a moment."""
LENGTH_BY_U = -0.01
"""eV / muB^2 per eV of U: localised moments are larger."""
ENERGY_BY_U = 0.3
"""eV per atom and eV of U."""
KB = 1602.1766208
"""kB in one eV/Angstrom^3."""


@dataclass(frozen=True)
class Setting:
    """What decides the energy besides the geometry. Arrays have one entry per site."""

    species: list[str]
    hubbard: np.ndarray
    polarised: bool
    mode: int
    """Of I_CONSTRAINED_M; 0 for none."""
    weight: float
    """LAMBDA, eV / muB^2."""
    wanted: np.ndarray
    """M_CONSTR (N, 3)."""
    offset: float
    """eV, of the k mesh."""
    entropy: float
    """eV, T*S of the smearing."""

    @classmethod
    def of(cls, inputs: Inputs) -> "Setting":
        u = [block[0] for block in inputs.hubbard()] or [0.0] * len(inputs.counts)
        mode = inputs.integer("I_CONSTRAINED_M", 0)
        smearing = inputs.real("SIGMA", 0.2) if inputs.integer("ISMEAR", 1) >= -1 else 0.0
        return cls(
            species=inputs.species,
            hubbard=np.array([u[block] for block in inputs.blocks]),
            polarised=inputs.spin > 1,
            mode=mode,
            weight=inputs.real("LAMBDA", 0.0),
            wanted=np.array(inputs.reals("M_CONSTR", 3 * inputs.n, [0.0] * 3 * inputs.n)).reshape(-1, 3),
            offset=mesh_offset(inputs),
            entropy=0.01 * smearing * inputs.n,
        )


def mesh_offset(inputs: Inputs) -> float:
    """eV per cell that a coarse mesh and one without Gamma add, the same for every geometry."""
    density = inputs.n * (int(np.prod(inputs.mesh.divisions)) or len(inputs.mesh.points))
    gamma = bool(np.any(np.all(np.abs(inputs.mesh.points) < 1e-9, axis=1)))
    return inputs.n * (3.0 / density + (0.0 if gamma else 0.01))


class Model(Hamiltonian):
    """The spin-lattice model with terms of single sites: U, and the penalty that holds moments."""

    def __init__(self, setting: Setting, lattice: np.ndarray, positions: np.ndarray):
        self.setting = setting
        change = setting.hubbard - np.array([PAPER_U.get(s, 0.0) for s in setting.species])
        bare = np.array([s not in STAND_INS for s in setting.species])
        self.extra = {"landau2": LENGTH_BY_U * change + bare, "offset": ENERGY_BY_U * change}
        super().__init__(TABLE, [STAND_INS.get(s, "Mn") for s in setting.species], lattice, positions)

    def _site(self, name: str) -> np.ndarray:
        return super()._site(name) + self.extra.get(name, 0.0)

    def energy(self, m: np.ndarray) -> float:
        return super().energy(m) + self.setting.offset + self.penalty(m)

    def moment_gradient(self, m: np.ndarray) -> np.ndarray:
        return super().moment_gradient(m) + 2 * self.setting.weight * self.away(m).reshape(np.shape(m))

    def moment_hessian(self, m: np.ndarray) -> np.ndarray:
        hessian, k = super().moment_hessian(m), self._columns(m).shape[1]
        for site, block in enumerate(self._held(k)):
            part = slice(site * k, (site + 1) * k)
            hessian[part, part] += 2 * self.setting.weight * block
        return hessian

    def penalty(self, m: np.ndarray) -> float:
        """E_p in eV, part of the energy as in VASP."""
        return self.setting.weight * float(np.sum(self.away(m) ** 2))

    def away(self, m: np.ndarray) -> np.ndarray:
        """What of the moments the penalty acts on (N, k): across the wanted direction, or the whole difference."""
        columns = self._columns(m)
        k = columns.shape[1]
        target = self._target(k) if self.setting.mode == 2 else 0.0
        return np.einsum("nab,nb->na", self._held(k), columns - target)

    def _target(self, k: int) -> np.ndarray:
        return self.setting.wanted if k == 3 else self.setting.wanted[:, 2:]

    def _held(self, k: int) -> np.ndarray:
        """Projectors (N, k, k); zero for sites whose M_CONSTR is zero."""
        target = self._target(k)
        length = np.linalg.norm(target, axis=1)
        held = (length > 0) & (self.setting.mode > 0)
        unit = target / np.where(length > 0, length, 1.0)[:, None]
        along = np.einsum("na,nb->nab", unit, unit) if self.setting.mode in (1, 4) else 0.0
        return held[:, None, None] * (np.eye(k) - along)


@dataclass(frozen=True)
class State:
    """Electrons at rest for one geometry. ``free``: eV; ``stress``: eV/Angstrom^3 with ASE's sign."""

    moments: np.ndarray
    free: float
    forces: np.ndarray
    stress: np.ndarray
    penalty: float
    away: np.ndarray
    stuck: bool
    """No minimum was found: the electrons do not converge."""


def ground_state(setting: Setting, lattice: np.ndarray, positions: np.ndarray, start: np.ndarray) -> State:
    """Electrons that started from the moments ``start`` (N,) or (N, 3)."""
    model = Model(setting, lattice, positions)
    moments, stuck = _settle(model, start) if setting.polarised else (np.zeros(len(start)), False)
    return _state(model, moments, stuck)


def held(setting: Setting, lattice: np.ndarray, positions: np.ndarray, moments: np.ndarray) -> State:
    """Electrons that have these moments, at rest or not."""
    return _state(Model(setting, lattice, positions), moments, stuck=False)


def _state(model: Model, m: np.ndarray, stuck: bool) -> State:
    forces, stress = model.forces_and_stress(m)
    return State(m, model.energy(m), forces, stress, model.penalty(m), model.away(m), stuck)


def _settle(model: Model, start: np.ndarray) -> tuple[np.ndarray, bool]:
    """From ``start``, or where no minimum is near from large moments of the same directions."""
    if not np.any(np.abs(start) > 1e-6):
        return start, False  # nothing breaks the symmetry of spin
    for guess in (start, _enlarged(start)):
        try:
            return relax_moments(model, guess)[0], False
        except LabelError:
            continue
    return start, True


def _enlarged(start: np.ndarray) -> np.ndarray:
    vectors = start.reshape(len(start), -1)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0) * np.where(length > 0.1, 4.0, 0.0)).reshape(start.shape)
