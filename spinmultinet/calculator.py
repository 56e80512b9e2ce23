"""ASE calculator: energy, free_energy, forces, stress and magmoms from positions and initial moments."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from . import keys
from .committee import Committee
from .data import input_moments
from .errors import SpinMultiNetError
from .evaluate import Prediction, predict
from .levels import LevelWarning
from .many import States, states_of_model
from .model import SpinMultiNet

Model = SpinMultiNet | str | Path
_MEANS = {
    keys.GUESS: "those of the state that moments reach from the initial ones",
    keys.CONSTRAINT: "those of moments held at the initial ones, forces the derivatives at moments held fixed",
}


class SpinMultiNetCalculator(Calculator):
    """Calculator of one model or of a committee (list).

    Input: the initial magnetic moments of the atoms (muB); the array `magmom_in` where none are set. Output:
    `get_magnetic_moments()` gives the predicted ones. A change of either input triggers a new calculation. With several
    members the results also hold energy_std (eV), forces_std [N] (eV/Angstrom) and magmoms_std [N] (muB), and for a
    calibrated committee the expected errors energy_sigma, forces_sigma and magmoms_sigma. The energy is
    fitted to free energies where labels had them; `energy` and `free_energy` are the same number.

    `moment_role` says how the initial moments are meant: 'guess' (they relax) or 'constraint' (they are held). Another
    role than the model's, or than atoms.info['moment_role'], is a SpinMultiNetError. Where nobody says so, a model of
    constraints warns once (LevelWarning): what people set in ASE is mostly a guess.

    With `iterate` > 0 predicted moments are fed back until they change by less than 0.001 muB, at most so many rounds
    (results `rounds`, `moment_change`). Forces and stress stay derivatives at these moments held fixed: they are those
    of the energy only as far as it does not depend on the input within a branch.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress", "magmoms"]

    def __init__(
        self, model: Model | Sequence[Model], moment_role: str | None = None, iterate: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        members = [model] if isinstance(model, SpinMultiNet | str | Path) else list(model)
        self.committee = Committee(members, iterate)
        self.parameters[keys.MODEL_SHA256] = self.committee.identity  # trajectories and databases of ASE keep it
        self._moments_seen: np.ndarray | None = None
        self._role_is_said = moment_role is not None
        if moment_role not in (None, self.moment_role):
            raise SpinMultiNetError(
                f"{keys.MOMENT_ROLE} '{moment_role}' was asked for, the model's is '{self.moment_role}': its energies "
                f"are {_MEANS[self.moment_role]}; use a model trained on the other kind of labels"
            )

    @property
    def model(self) -> SpinMultiNet:
        """The (first) model."""
        return self.committee.members[0]

    @property
    def moment_role(self) -> str:
        """What the model takes its input moments for: 'guess' or 'constraint'."""
        return str(self.model.metadata.get(keys.MOMENT_ROLE) or keys.GUESS)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation; ASE does not look at `magmom_in` by itself."""
        changes: list[str] = super().check_state(atoms, tol)
        now = self._input(atoms).get_array(keys.MAGMOM_IN)
        seen = self._moments_seen
        if seen is not None and (now.shape != seen.shape or not np.array_equal(now, seen)):
            changes.append(keys.MAGMOM_IN)
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill `results`. Raises SpinMultiNetError for unknown species and missing or unfit moments."""
        super().calculate(atoms, list(properties), list(system_changes))
        work = self._input(self.atoms)
        self.results = self._as_results(self.committee.predict([work])[0])
        self._moments_seen = work.get_array(keys.MAGMOM_IN).copy()
        for name in set(properties) - set(self.results):
            raise PropertyNotImplementedError(f"'{name}' is not available: {self._why_not(name)}")

    def calculate_many(self, frames: Sequence[Atoms]) -> list[dict[str, Any]]:
        """`results` of each structure, evaluated in batches (64 structures or 60,000 neighbour pairs).

        Equal to those of one after the other up to rounding. Raises SpinMultiNetError as `calculate`.
        """
        return [self._as_results(p) for p in self.committee.predict([self._input(a) for a in frames])]

    def states(self, atoms: Atoms, moments: np.ndarray) -> States:
        """Energies and moments of many input moments [B, N] or [B, N, 3] (muB) on one geometry, without forces.

        Neighbours are searched once. Raises SpinMultiNetError as `calculate`.
        """
        first = atoms.copy()
        first.arrays.pop("initial_magmoms", None)  # scalars may become vectors
        first.set_initial_magnetic_moments(moments[0])
        found = [states_of_model(m, self._input(first), moments) for m in self.committee.members]
        magmoms = [m for _, m in found if m is not None]
        return States(np.stack([e for e, _ in found]), np.mean(magmoms, axis=0) if magmoms else None)

    def _as_results(self, p: Prediction) -> dict[str, Any]:
        """A prediction under ASE's names; spreads where there is more than one member, stress where it exists."""
        several = len(self.committee.members) > 1
        out = {k: v for k, v in p.items() if not k.startswith("stress") and (several or not k.endswith("_std"))}
        out["free_energy"] = p["energy"]
        for name in ("stress", "stress_std") if several else ("stress",):
            if np.all(np.isfinite(p["stress"])):
                out[name] = full_3x3_to_voigt_6_stress(p[name])
        return out

    def _why_not(self, name: str) -> str:
        if name == "stress":
            return "stress needs a structure that is periodic in all three directions"
        return (
            "the model was built without moments (option moments: false)" if name == "magmoms" else "unknown property"
        )

    def _input(self, atoms: Atoms) -> Atoms:
        """Bare copy with the moments to use in `magmom_in`: in a running calculation the user sets initial moments."""
        work = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        if atoms.has("initial_magmoms"):
            moments = input_moments(_only_initial(atoms))
        else:
            moments = input_moments(atoms, required=self.model.options.spin)
        work.set_array(keys.MAGMOM_IN, moments)
        if keys.MOMENT_ROLE in atoms.info:
            work.info[keys.MOMENT_ROLE] = atoms.info[keys.MOMENT_ROLE]  # the prediction compares it with the model's
        elif not self._role_is_said and self.moment_role == keys.CONSTRAINT:
            self._role_is_said = True
            warnings.warn(
                f"the model takes initial moments as constraints: its energies are {_MEANS[keys.CONSTRAINT]}. If this "
                f"is meant, say so with {keys.MOMENT_ROLE}='{keys.CONSTRAINT}'",
                LevelWarning,
                stacklevel=2,
            )
        return work

    def get_magnetic_forces(self, atoms: Atoms) -> np.ndarray:
        """-dE/dm [N] or [N, 3] in eV/muB, mean over members.

        Refused (SpinMultiNetError) unless the model was trained on constrained moments: with guess moments the energy
        does not depend on the estimate within a branch, and the derivative means nothing.
        """
        if self.moment_role != keys.CONSTRAINT:
            raise SpinMultiNetError(
                f"-dE/dm is refused: the model's {keys.MOMENT_ROLE} is '{self.moment_role}', its input moments are "
                f"starting estimates and not constraints; train on data with {keys.MOMENT_ROLE} '{keys.CONSTRAINT}'"
            )
        self._role_is_said = True  # who asks for it knows
        found = [predict(m, [self._input(atoms)])[0][keys.MAGNETIC_FORCES] for m in self.committee.members]
        mean: np.ndarray = np.mean(found, axis=0)
        return mean


def _only_initial(atoms: Atoms) -> Atoms:
    bare = Atoms(numbers=atoms.numbers)
    bare.set_initial_magnetic_moments(atoms.get_initial_magnetic_moments())
    return bare
