"""ASE calculator: energy, free_energy, forces, stress and magmoms from positions and initial moments."""

from __future__ import annotations

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
from .evaluate import predict
from .model import SpinMultiNet

Model = SpinMultiNet | str | Path


class SpinMultiNetCalculator(Calculator):
    """Calculator of one model or of a committee (list).

    Input: the initial magnetic moments of the atoms (muB); the array `magmom_in` where none are set. Output:
    `get_magnetic_moments()` gives the predicted ones. A change of either input triggers a new calculation. With several
    members the results also hold energy_std (eV), forces_std [N] (eV/Angstrom) and magmoms_std [N] (muB). The energy is
    fitted to free energies where labels had them; `energy` and `free_energy` are the same number.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress", "magmoms"]

    def __init__(self, model: Model | Sequence[Model], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        members = [model] if isinstance(model, SpinMultiNet | str | Path) else list(model)
        self.committee = Committee(members)
        self._moments_seen: np.ndarray | None = None

    @property
    def model(self) -> SpinMultiNet:
        """The (first) model."""
        return self.committee.members[0]

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
        p = self.committee.predict([work])[0]
        self._moments_seen = work.get_array(keys.MAGMOM_IN).copy()
        stress = p.pop("stress")
        stress_std = p.pop("stress_std")
        self.results = p if len(self.committee.members) > 1 else {k: v for k, v in p.items() if not k.endswith("_std")}
        self.results["free_energy"] = p["energy"]
        if np.all(np.isfinite(stress)):
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
            if len(self.committee.members) > 1:
                self.results["stress_std"] = full_3x3_to_voigt_6_stress(stress_std)
        for name in set(properties) - set(self.results):
            raise PropertyNotImplementedError(f"'{name}' is not available: {self._why_not(name)}")

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
        return work

    def get_magnetic_forces(self, atoms: Atoms) -> np.ndarray:
        """-dE/dm [N] or [N, 3] in eV/muB, mean over members.

        Refused (SpinMultiNetError) unless the model was trained on constrained moments: with guess moments the energy
        does not depend on the estimate within a branch, and the derivative means nothing.
        """
        role = self.model.metadata.get(keys.MOMENT_ROLE, keys.GUESS)
        if role != keys.CONSTRAINT:
            raise SpinMultiNetError(
                f"-dE/dm is refused: the model's {keys.MOMENT_ROLE} is '{role}', its input moments are starting "
                f"estimates and not constraints; train on data with {keys.MOMENT_ROLE} '{keys.CONSTRAINT}'"
            )
        found = [predict(m, [self._input(atoms)])[0][keys.MAGNETIC_FORCES] for m in self.committee.members]
        mean: np.ndarray = np.mean(found, axis=0)
        return mean


def _only_initial(atoms: Atoms) -> Atoms:
    bare = Atoms(numbers=atoms.numbers)
    bare.set_initial_magnetic_moments(atoms.get_initial_magnetic_moments())
    return bare
