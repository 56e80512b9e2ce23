"""The engine contract: a SpinConfig goes in, a SpinPoint or a LabelError comes out.

A new engine is one file with one subclass of :class:`Engine`, named in ``workflows.engines.ENGINES``; it has to pass
``tests/contracts/test_engine_contract.py``.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from datastore.levels import CHANGED as CHANGED
from datastore.quality import judge, name_ordering
from datastore.schema import FailureKind, FloatArray, SpinConfig, SpinFailure, SpinPoint, content_hash
from workflows.engines.clock import Clock


class EngineError(ValueError):
    """An engine that cannot be used as asked; the message names the remedy."""


class LabelError(Exception):
    """A calculation that ended without a label.

    ``kind`` is stored on the failure record, with ``history``: the runs of the program and what was tried.
    """

    def __init__(
        self,
        message: str,
        kind: FailureKind = "crashed",
        timings: dict[str, float] | None = None,
        history: list[dict[str, Any]] | None = None,
    ):
        super().__init__(message)
        self.kind: FailureKind = kind
        self.timings = timings or {}
        self.history = history or []


class TryLaterError(Exception):
    """What stands in the way says nothing about the configuration: the job stops, and is tried again."""


FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def full_disk(error: BaseException | None) -> OSError | None:
    """The error to raise where a full disk or an exhausted quota is behind ``error``; None otherwise.

    It says nothing about the configuration, so it is no LabelError: the job stops, and is tried again.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            return OSError(error.errno, os.strerror(error.errno), error.filename)
        error = error.__cause__ or error.__context__
    return None


@dataclass(frozen=True)
class RawLabel:
    """What an engine computes, in the caller's site order. Units: eV, Angstrom, muB; stress eV/A^3, ASE sign.

    ``magnetic_forces`` are -dE/dm (eV/muB) at held moments, shaped as ``magmoms_out``. ``charges``: (N,) electrons
    within the projection spheres. ``level_changes``: settings that decide the numbers and ended other than the engine's
    level says; a label with some is one of another level of theory. ``version``: of the program that ran, where only
    its output tells; None: :meth:`Engine.version`.
    """

    energy: float
    free_energy: float
    forces: FloatArray
    stress: FloatArray
    magmoms_out: FloatArray
    total_moment: float
    magnetic_forces: FloatArray | None = None
    charges: list[float] | None = None
    band_gap: float | None = None
    kpoints: list[int] | None = None
    corrections: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    level_changes: dict[str, Any] = field(default_factory=dict)
    version: str | None = None


class Engine(BaseModel, ABC):
    """Settings of a calculation (pydantic fields) and the way to run it. Frozen: an engine is its settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    """Short name in configs; a subclass narrows it to a Literal."""

    moment_roles: ClassVar[tuple[str, ...]] = ("guess",)
    """The roles of the input moment this engine can honour."""

    roles_remedy: ClassVar[str] = ""
    """How to have it honour others, at the end of the message where it is asked for one."""

    takes_occupations: ClassVar[bool] = False
    """Whether a configuration may carry occupation matrices to start from."""

    occupations_remedy: ClassVar[str] = ""
    """How to have them taken, at the end of the message where there are some."""

    @abstractmethod
    def level_of_theory(self) -> dict[str, Any]:
        """Readable settings that decide the numbers, JSON-able. Cost settings (processes, paths) stay out."""

    @abstractmethod
    def version(self) -> str:
        """Version of the code behind the engine, such as ``26.7.0``."""

    @abstractmethod
    def missing(self) -> list[str]:
        """What this machine lacks to run the engine, each with its remedy; empty when ready."""

    def setup(self) -> list[str]:
        """What the engine takes from this machine where it is ready, a line each; for people."""
        return []

    @abstractmethod
    def compute(self, config: SpinConfig, workdir: Path | None) -> RawLabel:
        """Run the calculation. Raises LabelError where it ends without a label."""

    @abstractmethod
    def seconds_estimate(self, config: SpinConfig) -> float:
        """Rough core seconds of :meth:`compute`, as on one core: for plans; over :meth:`cores`, for progress bars."""

    def relax(self, config: SpinConfig, moves: str, fmax: float, steps: int, workdir: Path) -> SpinConfig | None:
        """``config`` with lattice and positions as the code's own relaxation leaves them; None where it has none.

        ``moves``: volume, cell, or all; ``fmax``: largest force in the end, eV/Angstrom. Same species, order of sites
        and moments in. It saves steps and decides nothing: workflows.jobs.parents goes on from there with single
        points. Raises LabelError.
        """
        return None

    def tidy(self, workdir: Path) -> None:
        """Remove what must not stay of a calculation in ``workdir`` whose process was killed."""
        return

    def cores(self) -> int:
        """Processes times threads that :meth:`compute` occupies; core hours are this times wall time."""
        return 1

    def with_costs(self, costs: dict[str, int]) -> Engine:
        """The same engine on other resources: ``processes``, ``threads``, ``ncore``, ``kpar``; those it knows count."""
        return self

    def level_id(self) -> str:
        """Hash of :meth:`level_of_theory`, as on every label."""
        return content_hash(self.level_of_theory(), 16)

    def label(self, config: SpinConfig, workdir: Path | None = None) -> SpinPoint:
        """Calculate one configuration and judge the result.

        Files of the calculation go to ``workdir`` (a temporary folder where None). Raises LabelError.
        """
        self._check_asked(config)
        clock = Clock(self.cores())
        try:
            raw = self.compute(config, workdir)
        except LabelError as error:
            error.timings = {**error.timings, **clock.spent()}
            raise
        return judge(
            SpinPoint(
                **{name: getattr(config, name) for name in SpinConfig.model_fields},
                **self._identity(raw.level_changes, raw.version),
                energy=raw.energy,
                free_energy=raw.free_energy,
                forces=raw.forces,
                stress=raw.stress,
                magmoms_out=raw.magmoms_out,
                total_moment=raw.total_moment,
                magnetic_forces=raw.magnetic_forces,
                charges=raw.charges,
                band_gap=raw.band_gap,
                kpoints=raw.kpoints,
                corrections=raw.corrections,
                history=raw.history,
                timings={**raw.timings, **clock.spent()},
                ordering_found=name_ordering(config, raw.magmoms_out),
                verdict="accepted",
            )
        )

    def failure(self, config: SpinConfig, error: LabelError) -> SpinFailure:
        """The record of a calculation that ended with ``error``."""
        return SpinFailure(
            **{name: getattr(config, name) for name in SpinConfig.model_fields},
            **self._identity(),
            error=str(error) or error.kind,
            error_type=error.kind,
            timings=error.timings,
            history=error.history,
        )

    def _check_asked(self, config: SpinConfig) -> None:
        """What this engine cannot honour is refused, and never passed over."""
        if config.moment_role not in self.moment_roles:
            raise LabelError(
                f"engine {self.type!r} cannot hold moments as {config.moment_role!r}; it offers {self.moment_roles}"
                f"{self.roles_remedy}",
                "refused",
            )
        if config.occupations and not self.takes_occupations:
            raise LabelError(
                f"engine {self.type!r} cannot start from occupation matrices; leave out 'occupations', or start from "
                f"other moments (workflows.structures.starts){self.occupations_remedy}",
                "refused",
            )

    def _identity(self, changes: dict[str, Any] | None = None, version: str | None = None) -> dict[str, Any]:
        level = self.level_of_theory()
        return {
            "engine": self.type,
            "engine_version": version or self.version(),
            "level_of_theory": {**level, CHANGED: changes} if changes else level,
        }
