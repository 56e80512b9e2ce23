"""GGA+U labels with VASP: inputs that are checked, custodian, outputs that are cross-checked.

Nothing is stated here of where VASP and its POTCARs are: atomate2's settings (VASP_CMD, VASP_NCL_CMD) and pymatgen's
(PMG_VASP_PSP_DIR) say so, as for any other workflow of theirs.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from datastore.schema import FailureKind, FloatArray, SpinConfig
from workflows.engines.interface import Engine, LabelError, RawLabel
from workflows.engines.vasp import potcars as files
from workflows.engines.vasp.levels import COST_TAGS
from workflows.engines.vasp.run_options import RunOptions, command_problem
from workflows.engines.vasp.settings import VaspSettings
from workflows.engines.vasp.tags import OWNED, clean

KINDS: dict[str, FailureKind] = {"not converged": "not-converged", "foreign": "refused", "no moments": "refused"}
"""Reason of an OutputError -> kind of the failure; crashed for the others."""

OFF_AXIS = 0.3
"""muB. Moments asked for along z whose other components grow beyond this are no longer collinear."""

_PENALTY = re.compile(r"^\s*E_p\s*=\s*(\S+)", re.MULTILINE)

T = TypeVar("T")


class VaspEngine(VaspSettings, Engine):
    """VASP: PBE+U single points with the settings of arXiv:2409.03253, appendix B, unless stated otherwise."""

    type: Literal["vasp"] = "vasp"
    run: RunOptions = Field(
        default=RunOptions(), description="how VASP is started, watched and ended; decides no number"
    )
    processes: int = Field(
        default=1, ge=1, description="MPI processes that the command starts; core hours are counted with them"
    )
    keep: Literal["text", "all"] = Field(
        default="text",
        description="files of a finished run: inputs and outputs, packed, without POTCAR, wavefunctions and densities; "
        "or all as VASP left it",
    )
    occupation_control: bool = Field(
        default=False,
        description="this VASP has the occupation-matrix-control patch of Allen and Watson: collinear configurations "
        "may carry occupation matrices to start from",
    )
    occupations_remedy: ClassVar[str] = "; where your VASP has the patch for them, state occupation_control: true"
    roles_remedy: ClassVar[str] = "; for held moments state spins: noncollinear and constraint: {} in its settings"

    @property
    def moment_roles(self) -> tuple[str, ...]:  # type: ignore[override]
        """Moments are held where the settings say how."""
        return ("guess",) if self.constraint is None else ("guess", "constraint")

    @property
    def takes_occupations(self) -> bool:  # type: ignore[override]
        """Where VASP has the patch."""
        return self.occupation_control

    @model_validator(mode="after")
    def _collinear(self) -> Self:
        if self.occupation_control and self.spins != "collinear":
            raise ValueError(
                "occupation_control: matrices are taken for collinear moments only; state spins: collinear"
            )
        return self

    def version(self) -> str:
        """VASP says its version in its outputs only, so each label has its own."""
        return "known after a run"

    def cores(self) -> int:
        """Processes times threads."""
        return self.processes * self.run.threads

    def with_costs(self, costs: dict[str, int]) -> Self:
        """Processes, threads, NCORE and KPAR of the job that runs it; they take the place of those stated."""
        tags = {tag.upper(): costs[tag] for tag in ("ncore", "kpar") if tag in costs}
        gone = {*tags, "NPAR"} if "NCORE" in tags else set(tags)  # VASP prefers NPAR to NCORE
        incar = {**{tag: value for tag, value in self.incar.items() if tag.upper() not in gone}, **tags}
        run = self.run.model_copy(update={"threads": costs.get("threads", self.run.threads)})
        processes = costs.get("processes", self.processes)
        return self.model_copy(update={"processes": processes, "run": run, "incar": incar})

    def missing(self) -> list[str]:
        """The command and every POTCAR that lack, or are others than stated; with remedies."""
        command = command_problem(self.run, vector=self.spins != "collinear")
        problems = [problem for problem in (command, _updates_problem()) if problem]
        return problems + files.problems(self.potcars, self.potcar_functional, self.potcar_hashes)

    def setup(self) -> list[str]:
        """Command of either program, and where the POTCARs are."""
        found = []
        for name, vector in (("collinear moments", False), ("vectors", True)):
            problem = command_problem(self.run, vector)
            found.append(f"{name}: {problem or ' '.join(self.run.command(vector))}")
        folder = files.folder_of(self.potcar_functional)
        return [*found, f"POTCARs: {', '.join(self.potcars.values())}, {self.potcar_functional} in {folder}"]

    def seconds_estimate(self, config: SpinConfig) -> float:
        """Order of magnitude: a second on one core per k point of four atoms at 520 eV, times (atoms / 4)^2.5.

        A guess for plans; it was not measured. Vectors cost four times as much.
        """
        points = math.prod(self.mesh(config)) / (2 if self.spins == "collinear" else 0.5)
        points *= 2 if config.occupations else 1  # two runs
        return 10.0 + points * (len(config.species) / 4) ** 2.5 * (self.encut / 520) ** 1.5

    def compute(self, config: SpinConfig, workdir: Path | None) -> RawLabel:
        """One single point, in a folder of its own below ``workdir``: nothing else there is read, written or removed.

        What an earlier, killed try left in that folder is removed first, never read. Raises LabelError.
        """
        from workflows.engines.vasp.inputs import SpinStaticSetGenerator

        if config.occupations:
            return self._in_folder(config, workdir, "vasp", lambda folder: self._from_occupations(config, folder))
        generator = SpinStaticSetGenerator(settings=self, moment_role=config.moment_role)
        return self._in_folder(
            config, workdir, "vasp", lambda folder: self._label(generator.input_for(config), config, folder)
        )

    def relax(self, config: SpinConfig, moves: str, fmax: float, steps: int, workdir: Path) -> SpinConfig | None:
        """Lattice and positions after VASP's own relaxation (conjugate gradients), wherever it was after ``steps``.

        With crystal and magnetic symmetry (ISYM 2) where moments are collinear, so that special positions stay.
        """
        from workflows.engines.vasp.inputs import SpinRelaxSetGenerator

        generator = SpinRelaxSetGenerator(
            settings=self, moment_role=config.moment_role, moves=moves, fmax=fmax, steps=steps
        )
        return self._in_folder(
            config, workdir, "relax", lambda folder: self._relaxed(generator.input_for(config), config, folder)
        )

    def tidy(self, workdir: Path) -> None:
        """As at the end of a run: POTCARs are licensed, and go unless everything is kept."""
        from workflows.engines.vasp.folder import tidy

        for folder in {path.parent for path in workdir.glob("*/**/POTCAR*")} if self.keep == "text" else ():
            tidy(folder)

    def _in_folder(self, config: SpinConfig, workdir: Path | None, name: str, work: Callable[[Path], T]) -> T:
        from workflows.engines.vasp.folder import tidy
        from workflows.engines.vasp.occupations import FOLDER

        if workdir is None:
            with tempfile.TemporaryDirectory(prefix="vasp-") as temporary:
                return work(Path(temporary))
        folder = workdir.resolve() / f"{name}_{config.config_id[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return work(folder)
        finally:
            for each in (folder / FOLDER, folder) if self.keep == "text" else ():
                if each.is_dir():
                    tidy(each)

    def _from_occupations(self, config: SpinConfig, folder: Path) -> RawLabel:
        """Two runs: the matrices are held, then released. The second is the label; of the first its history stays."""
        from workflows.engines.vasp.inputs import SpinOccupationSetGenerator
        from workflows.engines.vasp.occupations import FOLDER, check_held, check_released

        held, released = (SpinOccupationSetGenerator(settings=self, held=held) for held in (True, False))
        history: list[dict[str, Any]] = [{"run": "occupations held"}]
        try:
            result, corrections = self._run(held.input_for(config), folder / FOLDER)
            wavecar = check_held(folder / FOLDER)
            history[0] |= {"moments": np.round(result.magmoms_out, 3).tolist(), "steps": int(result.n_electronic[-1])}
            history += [*corrections.history, {"run": "occupations released"}]
            raw = self._label(released.input_for(config), config, folder, wavecar)
            check_released(folder)
        except LabelError as error:
            error.history = [*history, *error.history]
            error.args = (f"{history[-1]['run']}: {error}",)
            raise
        return replace(raw, history=[*history, *raw.history])

    def _label(self, content: Any, config: SpinConfig, folder: Path, wavecar: Path | None = None) -> RawLabel:
        from workflows.engines.vasp.same_configuration import check_result

        result, corrections = self._run(content, folder, wavecar)
        check_result(result, config, folder)
        penalty = self._penalty(config, folder)
        if result.stress is None:
            raise LabelError(f"{folder}: OUTCAR has no stress; leave ISIF out of incar", "crashed")
        total = result.total_moment
        collinear = config.magmoms_in.ndim == 1
        return RawLabel(
            energy=result.energy,
            free_energy=result.free_energy,
            forces=result.forces,
            stress=result.stress,
            magmoms_out=_along_z(result.magmoms_out) if collinear else result.magmoms_out,
            total_moment=float(np.ravel(total)[-1] if collinear else np.linalg.norm(total)),
            charges=None if result.charges is None else result.charges.tolist(),
            band_gap=result.band_gap,
            kpoints=result.kpoints,
            corrections=corrections.texts,
            timings={**result.timings, "iterations": float(result.n_electronic[-1])},
            history=corrections.history + ([] if penalty is None else [{"penalty_energy": penalty}]),
            level_changes=corrections.level_changes,
            version=result.version,
        )

    def _relaxed(self, content: Any, config: SpinConfig, folder: Path) -> SpinConfig:
        result, _ = self._run(content, folder)
        start = config.lattice if config.parent_lattice is None else config.parent_lattice
        moved = {"lattice": result.lattice * np.sign(np.linalg.det(config.lattice)), "positions": result.positions}
        fields = {name: getattr(config, name) for name in SpinConfig.model_fields}
        return SpinConfig(**{**fields, **moved, "parent_lattice": start})

    def _run(self, content: Any, folder: Path, wavecar: Path | None = None) -> tuple[Any, Any]:
        """Write and check the inputs, run VASP, read the outputs: VaspResult in the caller's order, and Corrections."""
        from atomate2 import SETTINGS

        from workflows.engines.vasp.corrections import read_corrections
        from workflows.engines.vasp.outputs import OutputError, read_run
        from workflows.engines.vasp.run import run_vasp_in

        content["INCAR"].update(SETTINGS.VASP_INCAR_UPDATES)  # of this machine, such as NCORE; checked like the rest
        content.write_input(folder)
        history = run_vasp_in(folder, self.run, wavecar)
        try:
            return read_run(folder, content.order), read_corrections(folder)
        except OutputError as error:
            raise LabelError(str(error), KINDS.get(error.reason, "crashed"), history=history) from error

    def _penalty(self, config: SpinConfig, folder: Path) -> float | None:
        """Energy that holds the moments, eV; None where they are free. Raises LabelError where it is not small."""
        if config.moment_role != "constraint" or self.constraint is None:
            return None
        found = _PENALTY.findall((folder / "OSZICAR").read_text(errors="replace"))
        if not found:
            raise LabelError(
                f"{folder}: OSZICAR has no penalty energy (E_p); did this VASP hold the moments?", "crashed"
            )
        penalty = float(found[-1])
        each = abs(penalty) / len(config.species)
        allowed = self.constraint.largest
        if each > allowed:
            raise LabelError(
                f"holding the moments takes {1000 * each:.2g} meV/atom, constraint.largest allows {1000 * allowed:g}: "
                "raise constraint.penalty, or ask for moments nearer to those VASP finds",
                "not-converged",
            )
        return penalty


def _updates_problem() -> str | None:
    """atomate2's tags of this machine may say how something is computed, not what."""
    from atomate2 import SETTINGS

    try:
        clean(SETTINGS.VASP_INCAR_UPDATES)
    except ValueError as error:
        return f"VASP_INCAR_UPDATES in ~/.atomate2.yaml: {error}"
    wrong = sorted(tag for tag in SETTINGS.VASP_INCAR_UPDATES if tag.upper() not in COST_TAGS - set(OWNED))
    if not wrong:
        return None
    return (
        f"VASP_INCAR_UPDATES in ~/.atomate2.yaml sets {', '.join(wrong)}, and every label would be refused: state what "
        "decides numbers in the engine's incar"
    )


def _along_z(moments: FloatArray) -> FloatArray:
    """(N,) of collinear results, or of vectors that stayed on the z axis they began on; LabelError for others."""
    if moments.ndim == 1:
        return moments
    away = np.linalg.norm(moments[:, :2], axis=1)
    if away.max() > OFF_AXIS:
        raise LabelError(
            f"moments asked for along z turned away from it, that of site {int(away.argmax())} by {away.max():.2f} muB",
            "branch-lost",
        )
    return moments[:, 2]
