"""The job that computes the undeformed cell of a parent in one ordering."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from jobflow import Job, job
from pymatgen.core import Lattice, Structure

from datastore.schema import SpinConfig, content_hash
from workflows.engines import Engine, EngineError, LabelError
from workflows.engines.calculator import EngineCalculator
from workflows.engines.clock import Clock
from workflows.equilibrium import STEPS_PER_ROOT, TYPICAL_STEPS, find_equilibrium
from workflows.jobs.files import sha256
from workflows.jobs.label import stable_uuid
from workflows.names import short_name
from workflows.progress import report
from workflows.structures.lattice import RelaxOptions, ScanOptions
from workflows.structures.preparation import Start
from workflows.structures.symmetry import SYMPREC, site_symmetry

MODEL_SECONDS = 0.5
"""Of one calculation with a model, for plans: far below any first-principles engine's."""

COST_ONLY = {"orderings", "using", "steps"}
"""Options that do not decide the result: the start says which ordering, the source says with what."""


RELAXED = "relaxed.json"
"""Where the engine's own relaxation ended, in the job's folder."""


@dataclass(frozen=True)
class Source:
    """Where energies and forces come from: an engine, or the checkpoints of a model with their SHA-256."""

    engine: Engine
    model: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Hash of what decides the numbers: the level of theory, or the models' files wherever they lie."""
        return content_hash(sorted(self.model.values()), 16) if self.model else self.engine.level_id()

    def seconds(self, start: Start) -> float:
        """Rough single-core time to compute ``start``."""
        each = MODEL_SECONDS if self.model else self.engine.seconds_estimate(start.config)
        return calculations(start) * each


def calculations(start: Start) -> int:
    """How many single points it takes; for a relaxation a typical number, more where symmetry leaves atoms free."""
    method = start.method
    if isinstance(method, ScanOptions):
        return method.points + 1
    free = _free_coordinates(start.config) if method.moves == "all" else 0
    return min(TYPICAL_STEPS + round(STEPS_PER_ROOT * math.sqrt(free)), method.steps)


def _free_coordinates(config: SpinConfig) -> int:
    """Coordinates of atoms that the space group leaves free: how often displacements hold the identity representation.

    Counted in the primitive cell, as no other displacement keeps the translations.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    whole = Structure(Lattice(config.lattice), config.species, config.positions, coords_are_cartesian=True)
    symmetry = site_symmetry(SpacegroupAnalyzer(whole, SYMPREC).find_primitive() or whole)
    unmoved = (symmetry.sources == np.arange(symmetry.sources.shape[1])).sum(axis=1)
    return round(float(np.mean(unmoved * np.trace(symmetry.rotations, axis1=1, axis2=2))))


def parent_job(start: Start, source: Source) -> Job:
    """Job that computes ``start``; its uuid is that of the content, so no campaign in the same store does it twice."""
    new: Job = compute_parent(source.engine, source.model, start.config, start.kind, start.method)
    new.name = f"{start.kind} {start.config.formula} {start.config.cell} {short_name(start.config.ordering)}"
    options = start.method.model_dump(mode="json", exclude=COST_ONLY)
    key = [start.kind, start.config.config_id, start.config.cell, source.id, options]
    new.set_uuid(stable_uuid("parent", content_hash(key)))
    new.update_metadata({"kind": "parent"}, dynamic=False)
    return new


@job
def compute_parent(
    engine: Engine, model: dict[str, str], start: SpinConfig, kind: str, method: ScanOptions | RelaxOptions
) -> dict[str, Any]:
    """Document of the cell found: structure, energy, stress, moments, history, level of theory or model, cost.

    Single points are kept in the job's folder, so that a kill costs the one at work and no other. They are no
    labels: the steps of a relaxation are near-copies of each other, and would be in training and test at once.
    An engine's own relaxation comes first where there is one; the single points begin where it ended.
    """
    first, spent = (start, 0.0) if model else _relaxed_by(engine, start, method, Path.cwd())
    atoms = Atoms(first.species, positions=first.positions, cell=first.lattice, pbc=True)
    atoms.set_initial_magnetic_moments(first.magmoms_in)
    calculator: Calculator = _model_calculator(model) if model else EngineCalculator(engine, first, Path.cwd())
    found = find_equilibrium(atoms, calculator, method, report)
    source = _model_source(calculator, model) if model else _engine_source(calculator, spent)
    document = {
        "formula": start.formula,
        "cell": start.cell,
        "ordering": start.ordering,
        "method": kind,
        "options": method.model_dump(mode="json"),
        "start": {"config_id": start.config_id, "parent": start.parent, "lattice": start.lattice.tolist()},
        **source,
        **found.document(),
    }
    return {**document, "how": _provenance(document)}


def _provenance(document: dict[str, Any]) -> dict[str, Any]:
    """What every configuration made from the cell remembers of it."""
    names = ("method", "ordering", "engine", "level_id", "model", "energy_per_atom", "largest_stress", "calculations")
    return {name: document[name] for name in names if name in document} | {"start": document["start"]["parent"]}


def _relaxed_by(
    engine: Engine, start: SpinConfig, method: ScanOptions | RelaxOptions, folder: Path
) -> tuple[SpinConfig, float]:
    """Where the engine's own relaxation ends, and its core seconds; ``start`` and 0 where it has none.

    It is kept in ``folder``: single points that were done after it are only found again from the same place.
    Raises EngineError.
    """
    if not isinstance(method, RelaxOptions):
        return start, 0.0
    note = folder / RELAXED
    if note.is_file():
        known = json.loads(note.read_text())
        if (known["start"], known["level"]) == (start.config_id, engine.level_id()):
            return SpinConfig.from_document(known["relaxed"]), float(known["core_seconds"])
    clock = Clock(engine.cores())
    try:
        relaxed = engine.relax(start, method.moves, method.fmax, method.steps, folder)
    except LabelError as error:
        name = f"{start.formula} {short_name(start.ordering)}"
        raise EngineError(f"{name}: engine {engine.type} could not relax it ({error})") from error
    if relaxed is None:
        return start, 0.0
    spent = clock.spent()["wall"] * engine.cores()
    known = {"start": start.config_id, "level": engine.level_id(), "relaxed": relaxed.to_document()}
    temporary = note.with_suffix(".tmp")
    temporary.write_text(json.dumps({**known, "core_seconds": spent}))
    temporary.replace(note)
    return relaxed, spent


def _engine_source(calculator: Any, spent_before: float) -> dict[str, Any]:
    engine = calculator.engine
    return {
        "engine": engine.type,
        "engine_version": engine.version(),
        "level_of_theory": engine.level_of_theory(),
        "level_id": engine.level_id(),
        "core_seconds": calculator.core_seconds + spent_before,
    }


def _model_calculator(model: dict[str, str]) -> Calculator:
    """Calculator of the committee; a file that changed since the job was made is refused."""
    from spinmultinet.calculator import SpinMultiNetCalculator

    for path, digest in model.items():
        if sha256(Path(path)) != digest:
            raise EngineError(f"{path} has changed since the run began; run again, so that the new model is used")
    return SpinMultiNetCalculator(list(model))


def _model_source(calculator: Any, model: dict[str, str]) -> dict[str, Any]:
    metadata = calculator.model.metadata
    return {
        "model": sorted(model.values()),
        "level_of_theory": metadata.get("level_of_theory"),
        "level_id": metadata.get("level_id"),
    }
