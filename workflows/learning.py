"""What a campaign file says about active learning: exploring, selecting, judging, stopping, promoting, retraining."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, field_validator, model_validator

from workflows.structures.files import FileStructure

Task = Literal["energy", "forces", "moments"]
RuleName = Literal["random", "balanced", "farthest-point", "spread", "threshold", "max-dist", "max-det", "transductive"]


LONGEST_STEP = 20.0
"""fs; molecular dynamics takes no longer ones (spinmultinet.dynamics)."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RelaxationSource(_Options):
    """Relaxations with the committee, of every parent in every ordering; steps on the way are candidates."""

    count: int = Field(default=1, ge=1, description="relaxations per parent and ordering, each from a deformed start")
    steps: int = Field(default=50, ge=1, description="at most so many steps of the optimiser")
    frames: int = Field(
        default=3, ge=1, description="candidates per relaxation, evenly over its steps, the last included"
    )
    cell: bool = Field(default=True, description="relax the cell as well")
    fmax: float = Field(default=0.05, gt=0, description="eV/Angstrom; a relaxation ends below it")


class DynamicsSource(_Options):
    """Molecular dynamics with the committee, of every parent in every ordering; ends where the committee is lost."""

    temperatures: list[PositiveFloat] = Field(default=[300.0, 900.0], min_length=1, description="K, one run each")
    pressures: list[float] = Field(default=[], description="GPa; each gives npt runs; empty: at fixed cell")
    steps: int = Field(default=200, ge=1)
    timestep: float = Field(default=2.0, gt=0, le=LONGEST_STEP, description="fs")
    interval: int = Field(default=20, ge=1, description="steps between candidates")
    max_spread: float = Field(
        default=5.0,
        gt=0,
        description="a run ends where the spread of a force passes this many times that on the labels that end the "
        "training; a committee of one has no spread, and its runs no such end",
    )
    flips: int = Field(
        default=0, ge=0, description="further states per frame: its moments after one flip or exchange at random"
    )

    @model_validator(mode="after")
    def _has_candidates(self) -> DynamicsSource:
        if self.interval > self.steps:
            raise ValueError(f"interval {self.interval} is more than the {self.steps} steps of a run; lower interval")
        return self


class SpinMovesSource(_Options):
    """Monte Carlo in spin space: flips and exchanges of moments in deformed geometries; states on the way."""

    count: int = Field(default=2, ge=1, description="walks per parent")
    steps: int = Field(default=100, ge=1, description="proposals per walk")
    frames: int = Field(default=4, ge=1, description="candidates per walk")
    temperature: float = Field(default=1000.0, gt=0, description="K")
    swaps: float = Field(default=0.3, ge=0, le=1, description="share of exchanges of an up and a down moment")


class DecorationSource(_Options):
    """New random decorations of parents with mixed cations, in every ordering, deformed."""

    count: int = Field(default=2, ge=1, description="new decorations per mixed parent")
    geometries: int = Field(default=1, ge=1, description="deformed geometries of each")
    compositions: bool = Field(
        default=False, description="also other compositions: in every second one, one cation gives way to another kind"
    )


class ExploreOptions(_Options):
    """Where candidates come from. New deformations in every ordering are always among them (``candidates``)."""

    relaxations: RelaxationSource | None = None
    dynamics: DynamicsSource | None = None
    spin_moves: SpinMovesSource | None = None
    decorations: DecorationSource | None = None
    files: list[str] = Field(
        default=[],
        description="structures of yours (CIF, POSCAR, extended XYZ): with the moments in the file, else in every "
        "ordering that fits",
    )
    content: list[FileStructure] = Field(
        default=[], description="what the files hold; filled in when a campaign is loaded, so that later edits wait"
    )
    min_distance: float = Field(
        default=0.6, gt=0, description="a frame with two atoms nearer than this times the sum of their radii is dropped"
    )
    max_force: float = Field(
        default=30.0, gt=0, description="eV/Angstrom; a frame with a larger predicted force is dropped"
    )
    volume: tuple[float, float] = Field(
        default=(0.7, 1.5), description="[low, high] V/V0; a frame outside this range of its parent is dropped"
    )

    @field_validator("volume")
    @classmethod
    def _range(cls, volume: tuple[float, float]) -> tuple[float, float]:
        if not 0 < volume[0] < volume[1]:
            raise ValueError(f"volume {list(volume)} is no range of V/V0; write such as [0.7, 1.5]")
        return volume


class SelectOptions(_Options):
    """How the next labels are chosen among the candidates."""

    rule: RuleName = Field(default="balanced", description="see docs/active-learning.md for what each does")
    tasks: list[Task] = Field(default=["energy", "forces", "moments"], min_length=1, description="of spread, threshold")
    price: float = Field(
        default=1.0,
        ge=0,
        description="scores are divided by (price/median price) to this power; 0: prices do not count",
    )
    spread_over: list[Literal["composition", "ordering", "deformation", "source"]] = Field(
        default=["composition", "ordering", "deformation"],
        description="no group of candidates alike in these gives more than its share plus one while others can give",
    )
    geometry_once: bool = Field(default=True, description="take one geometry in one ordering while there are others")
    core_hours: float | None = Field(
        default=None, gt=0, description="most a round may cost by the estimate; the first choice always fits"
    )
    threshold: dict[Task, PositiveFloat] = Field(
        default={},
        description="of threshold: expected error in meV/atom, and of the largest force and moment in the structure in "
        "meV/Angstrom and muB; of tasks without one the quantile",
    )
    quantile: float = Field(default=0.8, ge=0, le=1, description="of threshold: share of candidates below it")
    lost: float = Field(
        default=5.0, gt=1, description="of threshold: candidates above so many times it come last, the model is lost"
    )
    ridge: float = Field(
        default=1e-3,
        gt=0,
        description="of max-det, transductive: variance of the noise, in units of the candidates' own",
    )
    scaling: Literal["none", "columns", "whiten"] = Field(
        default="none",
        description="of gradient features: as they are, to unit variance in each, or in all directions",
    )
    sketch: int = Field(default=0, ge=0, description="of gradient features: columns of a random projection; 0: none")


class TargetOptions(_Options):
    """Errors to reach on one frozen test set; None: no target."""

    energy: float | None = Field(default=None, gt=0, description="meV/atom; of pairs: of the energy difference")
    forces: float | None = Field(default=None, gt=0, description="meV/Angstrom")
    moments: float | None = Field(default=None, gt=0, description="muB")


TestName = Literal["random", "orderings", "compositions", "pairs"]


class StopOptions(_Options):
    """When to stop, besides after the last round. Errors are mean absolute ones on the frozen test sets."""

    targets: dict[TestName, TargetOptions] = Field(default={}, description="stop once all of them are met")
    min_gain: float | None = Field(
        default=None,
        gt=0,
        description="stop once a new label lowers the errors by less than this share of them, over `patience` rounds",
    )
    patience: int = Field(default=2, ge=1, description="rounds that min_gain looks back")
    labels: int | None = Field(
        default=None, ge=1, description="stop before more labels than this, the first ones included"
    )
    core_hours: float | None = Field(default=None, gt=0, description="stop once the labels have cost this much")

    @field_validator("targets")
    @classmethod
    def _can_be_met(cls, targets: dict[TestName, TargetOptions]) -> dict[TestName, TargetOptions]:
        for name, wanted in targets.items():
            given = [task for task, error in wanted.model_dump().items() if error is not None]
            if not given:
                raise ValueError(f"{name} has no target; write such as {name}: {{energy: 5}} (meV/atom), or remove it")
            if name == "pairs" and given != ["energy"]:
                wrong = ", ".join(task for task in given if task != "energy")
                raise ValueError(f"pairs are differences of energy and have no {wrong}; give energy only (meV/atom)")
        return targets


class PromoteOptions(_Options):
    """What a new model must show to take the place of the one in use, on the same frozen tests."""

    worse: float = Field(
        default=0.2, ge=0, description="no error of any group may grow by more than this share (and than by chance)"
    )
    better: float = Field(default=0.0, ge=0, description="the mean error must shrink by at least this share")
    least: int = Field(default=4, ge=1, description="labels that a group needs to have a say")
    chance: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="that some group votes against a model which is as good, by accident; larger is stricter",
    )
    structures: int = Field(default=2, ge=1, description="structures of the test split that symmetries are checked on")
    symmetry: float = Field(
        default=1e-3, gt=0, description="eV/atom, eV/Angstrom, muB: most that a symmetry may be broken"
    )
    md_steps: int = Field(default=50, ge=0, description="steps of the smoke test by molecular dynamics; 0: none")
    md_temperature: float = Field(default=300.0, gt=0, description="K")
    md_force: float = Field(default=50.0, gt=0, description="eV/Angstrom; a larger force in that test is an explosion")


class RetrainOptions(_Options):
    """When `spinmultinet retrain --if-due` trains again; each None is no reason."""

    new_points: int | None = Field(default=20, ge=1, description="accepted labels that the model in use has not seen")
    drift: float | None = Field(
        default=2.0,
        gt=0,
        description="error on those labels (at least `least`), in units of that on the random test set",
    )
    least: int = Field(default=5, ge=1, description="labels that drift needs")
    age_days: float | None = Field(default=None, gt=0, description="of the model in use, where there is a new label")
    points: Literal["campaign", "level"] = Field(
        default="campaign",
        description="labels of this campaign, or all of its level of theory and species in the store",
    )
    notify: list[str] = Field(
        default=[],
        description="command (program and arguments) that gets a JSON document on stdin after each retraining",
    )
    webhook: str = Field(default="", description="http(s) URL that the same document is posted to")
    retry_hours: float = Field(default=1.0, ge=0, description="nothing is due for so long after a retraining failed")

    @field_validator("webhook")
    @classmethod
    def _web_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and not (parts.scheme in ("http", "https") and parts.hostname):
            raise ValueError("must begin with http:// or https:// and name a host")
        return url


class ActiveLearningOptions(_Options):
    """Rounds of: explore, select, label, test the old model on them, train, evaluate, promote, decide."""

    rounds: int = Field(default=1, ge=0, description="at most so many rounds after the initial labels")
    labels: int = Field(default=6, ge=1, description="labels per round")
    candidates: int = Field(
        default=40,
        ge=1,
        description="candidate geometries per round, each in every ordering; at least one per parent and deformation",
    )
    explore: ExploreOptions = ExploreOptions()
    select: SelectOptions = SelectOptions()
    stop: StopOptions = StopOptions()
    promote: PromoteOptions = PromoteOptions()
    retrain: RetrainOptions = RetrainOptions()
