"""Any engine as an ASE calculator, so that ASE's optimisers and filters can drive it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from datastore.errors import DataError
from datastore.schema import SpinConfig, SpinPoint, point_id
from datastore.upgrade import parse
from workflows.engines.interface import Engine, EngineError, LabelError
from workflows.names import short_name

MEMORY = "single_points.jsonl"


class RejectedError(EngineError):
    """A calculation ended, and its label is rejected."""


class EngineCalculator(Calculator):
    """Energy, forces, stress and moments of ``engine`` at one ordering; moments in are the atoms' initial ones.

    ``energy`` is the *free* energy, whose derivatives forces (eV/Angstrom) and stress (eV/Angstrom^3) are. With a
    ``folder`` every finished calculation is written to ``single_points.jsonl`` there and never done again: an optimiser
    that was killed walks the same path through them. Single points are judged like labels: one whose ordering changed
    belongs to another energy surface, and is an error.

    Parameters
    ----------
    engine
        Any engine of :func:`workflows.engines.get_engine`.
    like
        The configuration that stands for all: species, name of ordering and cell, role of the moments, and the
        ``parent_lattice`` that engines pin their k mesh to while the cell changes.
    folder
        For the engine's files and the finished calculations; nothing is kept where None.
    watch
        Called with every new or remembered point.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress", "magmoms"]

    def __init__(
        self,
        engine: Engine,
        like: SpinConfig,
        folder: Path | None = None,
        watch: Callable[[SpinPoint], None] | None = None,
    ) -> None:
        super().__init__()
        pinned = like.lattice if like.parent_lattice is None else like.parent_lattice
        self.engine, self.folder, self.watch = engine, folder, watch
        self.like = like.model_copy(update={"parent_lattice": pinned})
        self.known = {} if folder is None else _remembered(folder / MEMORY, engine, self.like)
        self.computed = 0
        """Calculations done by this object, without the remembered ones."""

    @property
    def core_seconds(self) -> float:
        """What all known calculations cost, remembered ones included."""
        return sum(p.timings.get("wall", 0.0) * p.timings.get("cores", 1.0) for p in self.known.values())

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results``. Raises EngineError where the engine gives no label, RejectedError where it is rejected."""
        super().calculate(atoms, list(properties), list(system_changes))
        point = self._point(self._config(self.atoms))
        if self.watch is not None:
            self.watch(point)
        self.results: dict[str, Any] = {
            "energy": point.free_energy,
            "free_energy": point.free_energy,
            "forces": np.array(point.forces),
            "stress": full_3x3_to_voigt_6_stress(point.stress),
            "magmoms": np.array(point.magmoms_out),
        }

    def _config(self, atoms: Atoms) -> SpinConfig:
        if atoms.get_chemical_symbols() != self.like.species:
            raise EngineError(
                f"the atoms are {atoms.get_chemical_formula()}, the calculator was made for "
                f"{'-'.join(self.like.species)} in this order; make one with their configuration"
            )
        given = atoms.has("initial_magmoms")
        moments = atoms.get_initial_magnetic_moments() if given else self.like.magmoms_in
        changes = {"lattice": atoms.cell.array, "positions": atoms.positions, "magmoms_in": moments}
        fields = {name: getattr(self.like, name) for name in SpinConfig.model_fields}
        return SpinConfig(**{**fields, **changes})

    def _point(self, config: SpinConfig) -> SpinPoint:
        key = point_id(config.config_id, self.engine.level_id())
        if key not in self.known:
            self.known[key] = self._compute(config)
        point = self.known[key]
        if point.verdict == "rejected":
            raise RejectedError(f"{_name(config)}: its label is rejected ({'; '.join(point.verdict_reasons)})")
        return point

    def _compute(self, config: SpinConfig) -> SpinPoint:
        workdir = None if self.folder is None else self.folder / f"single_point_{len(self.known):03d}"
        try:
            point = self.engine.label(config, workdir)
        except LabelError as error:
            raise EngineError(f"{_name(config)}: engine {self.engine.type} gave no label ({error})") from error
        if point.level_id != self.engine.level_id():
            raise EngineError(
                f"{_name(config)}: corrections took it to another level of theory ({'; '.join(point.corrections)}), "
                "whose energy compares with no other; mend what made them necessary, or set what they set"
            )
        self.computed += 1
        if self.folder is not None:
            _remember(self.folder / MEMORY, point)
        return point


def _name(config: SpinConfig) -> str:
    volume = abs(float(np.linalg.det(config.lattice))) / len(config.species)
    return f"{config.formula} {short_name(config.ordering)} at {volume:.3f} Angstrom^3/atom"


def _remember(path: Path, point: SpinPoint) -> None:
    """Append a line, on disk before this returns; a part of a line that a kill left is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(point.to_document()).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _remembered(path: Path, engine: Engine, like: SpinConfig) -> dict[str, SpinPoint]:
    """point_id -> point of this engine's level, with k mesh pinned as now; a line that a kill cut off is not there."""
    wanted = (engine.level_id(), like.cell, np.array(like.parent_lattice).tolist())
    found = {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            point = parse(SpinPoint, json.loads(line))
        except (ValueError, DataError):
            continue
        if (point.level_id, point.cell, np.array(point.parent_lattice).tolist()) == wanted:
            found[point.point_id] = point
    return found
