"""Molecular dynamics with any ASE calculator that takes initial moments: frames, bounds, exact continuation."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from pydantic import BaseModel, ConfigDict, Field

from . import keys
from .data import input_moments
from .errors import SpinMultiNetError
from .relax import flipped_sites

GPA = units.GPa
"""eV/Angstrom^3 per GPa."""

_BAROSTAT_FS, _THERMOSTAT_FS = 1000.0, 100.0
Watch = Callable[[int, Atoms], None]


class MDOptions(BaseModel):
    """How to move: `langevin` (NVT), `nve` (velocity Verlet) or `npt` (Berendsen, the cell scales and keeps its shape).

    A run ends early where a force or, for a committee, its spread passes its bound: there the model knows nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ensemble: Literal["langevin", "nve", "npt"] = "langevin"
    temperature: float = Field(ge=0, allow_inf_nan=False, description="K; of the start, and of the thermostat")
    timestep: float = Field(default=1.0, gt=0, le=20, description="fs")
    steps: int = Field(ge=1)
    interval: int = Field(default=10, ge=1, description="steps between frames")
    friction: float = Field(default=0.01, gt=0, description="1/fs, of langevin")
    pressure: float = Field(default=0.0, allow_inf_nan=False, description="GPa, of npt")
    bulk_modulus: float = Field(default=150.0, gt=0, description="GPa; sets how fast npt answers")
    seed: int = Field(default=0, ge=0, description="of velocities and of the thermostat")
    max_force: float = Field(default=50.0, gt=0, description="eV/Angstrom")
    max_spread: float | None = Field(default=None, gt=0, description="eV/Angstrom, largest forces_std of a committee")


@dataclass(frozen=True)
class MDResult:
    """Last structure (with its calculator), steps done, frames in the file, and why it ended early ('' if it did not).

    `flipped` are the sites whose predicted moment left the ordering asked for.
    """

    atoms: Atoms
    steps: int
    frames: int
    reason: str
    flipped: list[int]


@dataclass
class _Run:
    atoms: Atoms
    options: MDOptions
    trajectory: Path
    key: str
    generator: np.random.Generator
    asked: np.ndarray
    step: int = 0
    frames: int = 0
    written: bool = False
    """Whether the frame of this very step is in the file."""

    @property
    def state(self) -> Path:
        return state_file(self.trajectory)


def state_file(trajectory: Path) -> Path:
    """Where the state of a run lies, beside its frames."""
    return trajectory.with_name(f"{trajectory.name}.state.json")


def run_md(
    atoms: Atoms, calculator: Calculator, options: MDOptions, trajectory: Path, watch: Watch | None = None
) -> MDResult:
    """Run or go on with molecular dynamics of a copy of `atoms`; frames go to `trajectory` (extended XYZ).

    The initial moments (muB) are the input at every step and never change; predicted moments are recorded in every
    frame with energy, forces, stress and momenta, and in its info: step, time_fs, temperature (K), total_energy (eV,
    with the kinetic one), flipped (sites that left the ordering), energy_std and forces_std (largest) of a committee,
    and model_sha256 of the members, where the calculator says it.

    After a stop the same call goes on from the last frame to the very same end (a calculator that remembers, such as
    ASE's with a neighbour list, may round differently); more `steps` prolong a finished run. Velocities in `atoms` are
    kept, else drawn at the temperature. Raises SpinMultiNetError for missing moments, npt without a periodic cell, and
    a file that belongs to another run.
    """
    if options.ensemble == "npt" and not all(atoms.pbc):
        raise SpinMultiNetError("npt needs a structure that is periodic in all three directions; use langevin or nve")
    run = _prepared(atoms, calculator, options, trajectory)
    run.atoms.calc = calculator
    reason = ""
    first = run.step
    for k, _ in enumerate(_dynamics(run).irun(steps=max(0, options.steps - first))):
        run.written = run.written and k == 0
        run.step = first + k
        reason = _bound_passed(run.atoms, options)
        if not run.written and (run.step % options.interval == 0 or reason or run.step == options.steps):
            _record(run)
        if watch is not None:
            watch(run.step, run.atoms)
        if reason:
            break
    flipped = flipped_sites(run.asked, _moments(run.atoms))
    return MDResult(run.atoms, run.step, run.frames, reason, flipped)


def _prepared(atoms: Atoms, calculator: Calculator, options: MDOptions, trajectory: Path) -> _Run:
    """A new run, or the one in the files."""
    needed = not hasattr(calculator, "model") or calculator.model.options.spin
    asked = input_moments(atoms, required=needed)
    work = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, masses=atoms.get_masses())
    work.set_constraint(atoms.constraints)
    work.info = {k: v for k, v in atoms.info.items() if k == keys.MOMENT_ROLE}  # the calculator compares it
    work.set_initial_magnetic_moments(asked)
    generator = np.random.default_rng(options.seed)
    _set_velocities(work, atoms.get_momenta(), options, generator)
    run = _Run(work, options, Path(trajectory), _key(work, options), generator, asked)
    if run.state.exists():
        _restore(run)
    elif run.trajectory.exists():
        raise SpinMultiNetError(f"'{trajectory}' exists and is no run that can go on; delete it or write elsewhere")
    return run


def _set_velocities(atoms: Atoms, given: np.ndarray, options: MDOptions, generator: np.random.Generator) -> None:
    if not given.any():
        scale = np.sqrt(atoms.get_masses() * units.kB * options.temperature)[:, None]
        given = generator.normal(size=(len(atoms), 3)) * scale
        given -= given.sum(0) * atoms.get_masses()[:, None] / atoms.get_masses().sum()
    atoms.set_momenta(given)


def _key(atoms: Atoms, options: MDOptions) -> str:
    """Hash of the start and of all options but those that only say when to stop."""
    digest = hashlib.sha256(options.model_dump_json(exclude={"steps", "max_force", "max_spread"}).encode())
    for part in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.get_momenta()):
        digest.update(np.ascontiguousarray(part).tobytes())
    digest.update(np.ascontiguousarray(atoms.get_initial_magnetic_moments()).tobytes())
    return digest.hexdigest()


def _dynamics(run: _Run) -> MolecularDynamics:
    o, step = run.options, run.options.timestep * units.fs
    if o.ensemble == "nve":
        return VelocityVerlet(run.atoms, step)
    if o.ensemble == "langevin":
        # fixcm of ASE does not sample the right distribution.
        return Langevin(
            run.atoms, step, temperature_K=o.temperature, friction=o.friction / units.fs, fixcm=False, rng=run.generator
        )
    return NPTBerendsen(
        run.atoms,
        step,
        temperature_K=o.temperature,
        pressure_au=o.pressure * GPA,
        taut=_THERMOSTAT_FS * units.fs,
        taup=_BAROSTAT_FS * units.fs,
        compressibility_au=1 / (o.bulk_modulus * GPA),
    )


def _bound_passed(atoms: Atoms, options: MDOptions) -> str:
    """What went too far, or ''."""
    largest = float(np.linalg.norm(atoms.get_forces(apply_constraint=False), axis=1).max())
    if not largest <= options.max_force:
        return f"a force reached {largest:.3g} eV/Angstrom, more than {options.max_force:g}"
    spread = _largest_spread(atoms)
    if options.max_spread is not None and spread is not None and not spread <= options.max_spread:
        return f"the committee's spread of a force reached {spread:.3g} eV/Angstrom, more than {options.max_spread:g}"
    return ""


def _results(atoms: Atoms) -> dict[str, Any]:
    assert atoms.calc is not None
    atoms.get_potential_energy()
    found: dict[str, Any] = atoms.calc.results
    return found


def _largest_spread(atoms: Atoms) -> float | None:
    spread = _results(atoms).get("forces_std")
    return None if spread is None else float(np.max(spread))


def _moments(atoms: Atoms) -> np.ndarray:
    return np.asarray(_results(atoms).get("magmoms", np.zeros(len(atoms))), dtype=float)


def _frame(run: _Run) -> Atoms:
    """What a step looked like, with results; nothing in it passes for a calculated label."""
    frame = run.atoms.copy()
    found = _results(run.atoms)
    names = [k for k in ("energy", "free_energy", "forces", "stress", "magmoms") if k in found]
    frame.calc = SinglePointCalculator(frame, **{k: found[k] for k in names})
    frame.info |= {
        "step": run.step,
        "time_fs": run.step * run.options.timestep,
        "temperature": run.atoms.get_temperature(),
        "total_energy": run.atoms.get_total_energy(),
        "flipped": len(flipped_sites(run.asked, _moments(run.atoms))),
    }
    if (made_by := getattr(run.atoms.calc, "parameters", {}).get(keys.MODEL_SHA256)) is not None:
        frame.info[keys.MODEL_SHA256] = ",".join(made_by)
    spread = _largest_spread(run.atoms)
    if spread is not None:
        frame.info |= {"energy_std": float(found["energy_std"]), "forces_std": spread}
    return frame


def _record(run: _Run) -> None:
    """Append a frame and then write the state, which says how long the file is: a kill leaves a whole frame or none."""
    run.trajectory.parent.mkdir(parents=True, exist_ok=True)
    if run.frames == 0:
        _save(run, 0)  # so that half a first frame is known to be ours
    with open(run.trajectory, "a") as file:
        ase.io.write(file, _frame(run), format="extxyz")
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    run.frames, run.written = run.frames + 1, True
    _save(run, size)


def _save(run: _Run, size: int) -> None:
    content = {
        "format": "spinmultinet-md",
        "version": 1,
        "key": run.key,
        "step": run.step,
        "frames": run.frames,
        "bytes": size,
        "positions": run.atoms.positions.tolist(),
        "momenta": run.atoms.get_momenta().tolist(),
        "cell": run.atoms.cell.array.tolist(),
        "random": run.generator.bit_generator.state,
    }
    temporary = run.state.with_name(f".{run.state.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, run.state)


def _restore(run: _Run) -> None:
    """Set the run to the state in the file, and cut off what was written after it."""
    try:
        content = json.loads(run.state.read_text())
        if content["format"] != "spinmultinet-md" or content["version"] != 1:
            raise ValueError("another format")
        wrong = content["key"] != run.key
        short = content["bytes"] > (run.trajectory.stat().st_size if run.trajectory.exists() else 0)
        positions, momenta = np.array(content["positions"]), np.array(content["momenta"])
    except (ValueError, KeyError, TypeError) as error:
        raise SpinMultiNetError(f"'{run.state}' cannot be read ({error}); delete it and the frames beside it") from None
    if wrong or short:
        problem = "belongs to a run of another structure or other options" if wrong else "has lost frames"
        raise SpinMultiNetError(f"'{run.trajectory}' {problem}; write elsewhere, or delete it and '{run.state.name}'")
    with open(run.trajectory, "ab") as file:
        file.truncate(content["bytes"])
    run.atoms.set_cell(content["cell"])
    run.atoms.positions, run.step, run.frames, run.written = (
        positions,
        content["step"],
        content["frames"],
        content["frames"] > 0,
    )
    run.atoms.set_momenta(momenta, apply_constraint=False)
    run.generator.bit_generator.state = content["random"]
