"""Relaxation of atoms and cell with moments carried from step to step."""

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes

from spinmultinet import SpinMultiNetError
from spinmultinet.relax import relax


class Springs(Calculator):
    """Harmonic cell and atoms around a known minimum; the predicted moment of atom 0 follows a given rule."""

    implemented_properties = ("energy", "free_energy", "forces", "stress", "magmoms")

    def __init__(self, target, rule=lambda m: 0.7 * m):
        super().__init__()
        self.target, self.rule, self.inputs = target, rule, []

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        m = atoms.get_initial_magnetic_moments()
        self.inputs.append(m.tolist())
        d = atoms.get_scaled_positions(wrap=False) - self.target.get_scaled_positions(wrap=False)
        d = (d - d.mean(0)) @ atoms.cell.array
        strain = np.linalg.solve(self.target.cell.array, atoms.cell.array) - np.eye(3)
        v = atoms.cell.volume
        energy = 0.5 * 2.0 * (d**2).sum() + 0.5 * 100.0 * (strain**2).sum()
        s = 100.0 * strain / v
        s = 0.5 * (s + s.T)
        self.results = {
            "energy": energy, "free_energy": energy, "forces": -2.0 * d,
            "stress": s[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], "magmoms": self.rule(m),
        }  # fmt: skip


@pytest.fixture
def start(nio):
    atoms = next(a for a in nio if a.info["ordering"] == "AFM-II").copy()
    atoms.rattle(0.05, seed=2)
    return atoms


def test_atoms_and_cell_reach_the_minimum_and_the_input_is_untouched(start, nio):
    target = start.copy()
    target.set_cell(start.cell.array * 1.02, scale_atoms=True)
    before = start.positions.copy()
    result = relax(start, Springs(target), fmax=1e-3)
    assert result.converged
    np.testing.assert_allclose(result.atoms.cell.array, target.cell.array, atol=2e-3)
    np.testing.assert_array_equal(start.positions, before)
    assert result.fmax < 1e-3
    assert len(result.moments_history) == result.steps + 1
    assert result.flipped == []


def test_fixed_cell(start):
    result = relax(start, Springs(start), relax_cell=False, steps=5)
    np.testing.assert_array_equal(result.atoms.cell.array, start.cell.array)


@pytest.mark.parametrize(
    ("carry", "second"), [("fixed", [2.5, -2.5]), ("signs", [-2.5, -2.5]), ("values", [-1.75, -1.75])]
)
def test_moments_are_carried_as_asked(start, carry, second):
    target = start.copy()
    target.rattle(0.05, seed=3)
    start.arrays["magmom_in"] = np.array([2.5, -2.5, 0.0, 0.0])
    calculator = Springs(target, rule=lambda m: np.array([-1.75, -1.75, 0, 0]))
    result = relax(start, calculator, relax_cell=False, carry=carry, steps=2, fmax=1e-9)
    assert calculator.inputs[0][:2] == [2.5, -2.5]
    assert calculator.inputs[-1][:2] == second
    assert result.flipped in ([0], [1])


def test_bad_requests(start):
    with pytest.raises(SpinMultiNetError, match="unknown optimiser"):
        relax(start, Springs(start), optimizer="Newton")
    start.pbc = [True, True, False]
    with pytest.raises(SpinMultiNetError, match="periodic"):
        relax(start, Springs(start))
    del start.arrays["magmom_in"]
    with pytest.raises(SpinMultiNetError, match="no input moments"):
        relax(start, Springs(start), relax_cell=False)


def test_volume_only_keeps_the_shape_and_fixed_atoms_their_fractional_coordinates(start):
    from ase.constraints import FixAtoms

    target = start.copy()
    target.set_cell(start.cell.array * [[1.03], [1.01], [1.02]], scale_atoms=True)
    start.set_constraint(FixAtoms(range(len(start))))
    volumes = []
    result = relax(
        start,
        Springs(target),
        relax_cell="volume",
        fmax=1e-3,
        watch=lambda atoms: volumes.append(atoms.get_volume()),
    )
    assert result.converged
    assert result.steps > 0
    ratio = np.linalg.solve(start.cell.array, result.atoms.cell.array)
    np.testing.assert_allclose(ratio, np.eye(3) * ratio[0, 0], atol=1e-9)
    assert ratio[0, 0] > 1.01
    before, after = (a.get_scaled_positions(wrap=False) for a in (start, result.atoms))
    np.testing.assert_allclose(after, before, atol=1e-12)
    assert volumes[-1] == pytest.approx(result.atoms.get_volume())
    assert len(volumes) == result.steps + 1


def test_moments_held_by_constraint_stay_and_moving_them_is_refused(start):
    target = start.copy()
    target.rattle(0.05, seed=3)
    calculator = Springs(target, rule=lambda m: -m)
    calculator.moment_role = "constraint"
    relax(start, calculator, relax_cell=False, steps=2, fmax=1e-9)
    assert calculator.inputs[0] == calculator.inputs[-1]
    with pytest.raises(SpinMultiNetError, match="moves the moments"):
        relax(start, calculator, carry="values")
