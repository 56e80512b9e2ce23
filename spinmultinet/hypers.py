"""Options of the model and of the training: type, default and explanation in one place."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import SpinMultiNetError


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelOptions(_Options):
    """Architecture of SpinMultiNet. The defaults are a small model for everyday work (`configs/models/small.yaml`)."""

    layers: int = Field(3, ge=1, le=12, description="number of interaction layers (message passes)")
    channels: int = Field(32, ge=1, description="channels per irrep and time-parity sector")
    l_max: int = Field(2, ge=0, le=4, description="highest degree of features and spherical harmonics")
    parity: bool = Field(
        False, description="also keep features of unnatural parity (0o, 1e, ...); exact O(3) either way"
    )
    cutoff: float = Field(5.0, gt=0.5, description="neighbour cutoff in Angstrom")
    n_bessel: int = Field(8, ge=1, description="number of Bessel functions of the distance")
    envelope_power: int = Field(6, ge=3, description="power p of the polynomial envelope, C2 at the cutoff")
    radial_hidden: list[int] = Field([64], description="widths of the hidden layers of the radial network")
    spin: bool = Field(
        True, description="use the input moments; False = the no-spin baseline (NequIP of the same size)"
    )
    time_reversal: Literal["equivariant", "invariant"] = Field(
        "equivariant",
        description="equivariant: signed moments, exactly odd; invariant: no T-odd features, moments from a T-even "
        "head, which cannot know the sign (ablation of the paper)",
    )
    input_moments: Literal["given", "converged"] = Field(
        "given",
        description="given: the moments a calculation starts from, or holds (magmom_in); converged: those it ended "
        "with (magmom_out) where a structure has them, for the paper's 'accurate input spin', with moments: false",
    )
    soc: bool = Field(
        False,
        description="spin-orbit coupling: ties vector moments to the lattice (anisotropy, Dzyaloshinskii-Moriya and "
        "dipolar terms); false = moments may be turned together at no cost, and signed scalars will do",
    )
    moments: bool = Field(True, description="predict converged moments")
    moment_unit: float = Field(
        2.0, gt=0.0, description="m0 in muB: moments enter as (m/m0)/sqrt(1+|m/m0|^2), inside the unit ball"
    )
    n_spin_basis: int = Field(4, ge=1, description="number of polynomials of |m_i|^2 and of m_i.m_j")
    spin_gain: float = Field(
        0.3,
        gt=0.0,
        description="initial strength of the paths from spin to T-even features: magnetism is a small part of the "
        "energy, and starting it small lets few labels of one ordering teach the other",
    )
    species_channels: int = Field(
        0,
        ge=0,
        description="length of the embedding of species that the self-connection multiplies features with, as in "
        "NequIP: a full matrix per species; 0 = one matrix for all and a gain per species and channel",
    )
    avg_neighbours: float | None = Field(
        None,
        gt=0.0,
        description="normalisation of message sums; null = from the training set (before: from rocksalt density)",
    )
    dtype: Literal["float32", "float64"] = Field("float32", description="precision of weights and features")

    @property
    def has_odd(self) -> bool:
        """Whether the model carries T-odd features."""
        return self.spin and self.time_reversal == "equivariant"

    @model_validator(mode="before")
    @classmethod
    def _without_spin_axes(cls, values: Any) -> Any:
        """Earlier versions had the option `spin_axes`; now the same weights take scalars and vectors."""
        if isinstance(values, dict) and values.get("spin_axes") in (1, 3):
            return {k: v for k, v in values.items() if k != "spin_axes"}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> ModelOptions:
        if self.soc and not (self.has_odd and self.l_max >= 1 and self.layers >= 2):
            raise ValueError(
                "soc: true needs spin: true, time_reversal: equivariant, l_max of at least 1 and two layers or more"
            )
        if self.input_moments == "converged" and (self.moments or not self.spin):
            raise ValueError(
                "input_moments: converged needs spin: true and moments: false, or the model would repeat its input"
            )
        return self


class TrainOptions(_Options):
    """How a model is trained. Weights multiply mean errors in eV/atom, eV/Angstrom, eV/Angstrom^3, muB, eV/muB."""

    epochs: int = Field(400, ge=1, description="passes over the training set")
    batch_structures: int = Field(
        32, ge=1, description="at most so many structures in a batch; several processes divide it among them"
    )
    batch_edges: int = Field(
        40_000, ge=1, description="at most so many neighbour pairs in a batch (one structure always fits)"
    )
    optimizer: Literal["adam", "adamw"] = Field("adam", description="optimiser")
    learning_rate: float = Field(0.01, gt=0.0, description="initial learning rate")
    final_learning_rate: float = Field(1e-5, ge=0.0, description="learning rate at the end of cosine annealing")
    warmup_epochs: int = Field(0, ge=0, description="linear warm-up of the learning rate over so many epochs")
    schedule: Literal["cosine", "constant", "plateau"] = Field("cosine", description="course of the learning rate")
    plateau_patience: int = Field(
        5, ge=0, description="validations without improvement before `plateau` halves the learning rate"
    )
    weight_decay: float = Field(0.0, ge=0.0, description="weight decay")
    gradient_clip: float | None = Field(10.0, gt=0.0, description="largest norm of the gradient; null = no clipping")
    ema_decay: float = Field(0.99, ge=0.0, lt=1.0, description="decay of the averaged weights per step; 0 = off")
    loss: Literal["mae", "mse", "huber"] = Field("mae", description="error function of every task")
    huber_delta: float = Field(0.01, gt=0.0, description="where Huber turns linear, in each task's unit")
    energy_weight: float = Field(1.0, ge=0.0, description="weight of the energy error (eV/atom)")
    forces_weight: float = Field(1.0, ge=0.0, description="weight of the force error (eV/Angstrom)")
    stress_weight: float = Field(0.0, ge=0.0, description="weight of the stress error (eV/Angstrom^3)")
    moments_weight: float = Field(1.0, ge=0.0, description="weight of the moment error (muB)")
    magnetic_forces_weight: float = Field(
        1.0, ge=0.0, description="weight of the error of -dE/dm (eV/muB); constraint data only, where labelled"
    )
    moment_species: Literal["magnetic", "all"] = Field(
        "magnetic",
        description="magnetic: only species with an input moment somewhere in the training set are trained on moments, "
        "and the others predict zero; all: every atom (induced moments of ligands too)",
    )
    converged_inputs: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="chance that a structure is given its converged moments instead of the estimates in a training "
        "step, so that predicted moments can be fed back; guess data only",
    )
    input_scale: tuple[float, float] | None = Field(
        None,
        description="range of a random factor on the input moment of each site in training, e.g. [0.7, 1.3]: the "
        "converged state does not depend on the length of the estimate; guess data only; null = off",
    )
    keep: Literal["last", "best"] = Field(
        "last", description="which averaged weights to keep: last, or best on validation"
    )
    validate_every: int = Field(10, ge=1, description="epochs between validations")
    patience: int | None = Field(
        None, ge=1, description="stop after so many validations without improvement; null = never"
    )
    checkpoint_epochs: int = Field(50, ge=1, description="epochs between checkpoints")
    checkpoint_seconds: float = Field(60.0, gt=0.0, description="seconds between checkpoints (whichever comes first)")
    start_from: str | None = Field(
        None, description="checkpoint, or folder of a training, whose weights are the first ones (fine-tuning)"
    )
    start_species: Literal["equal", "subset"] = Field(
        "equal",
        description="equal: the training set has all species that the model of start_from knows; subset: some may be "
        "missing, and what the model says about them may drift",
    )
    cache_from: int | None = Field(
        2000,
        ge=0,
        description="sets of at least so many structures keep neighbour lists on disk, not in memory; null = never",
    )
    cache_folder: str | None = Field(
        None,
        description="folder for neighbour lists, kept and shared between trainings; null = one in the folder of the "
        "training (of the committee), removed at the end",
    )
    tensorboard: bool = Field(False, description="also write metrics for TensorBoard (extra `tensorboard`)")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where to compute; auto = a GPU where PyTorch finds one, else the CPU"
    )
    threads: int = Field(1, ge=1, description="torch threads, of each process")

    @field_validator("input_scale")
    @classmethod
    def _range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0.0 < value[0] <= value[1] < float("inf"):
            raise ValueError("give two positive numbers, the smaller first")
        return value


OptionsT = TypeVar("OptionsT", bound=BaseModel)


def parse(kind: type[OptionsT], values: object, where: str) -> OptionsT:
    """Validate a mapping; errors name the key, what is wrong with it and the nearest right key."""
    if isinstance(values, kind):
        return values
    if not isinstance(values, dict):
        raise SpinMultiNetError(f"{where}: expected a mapping of options, got {type(values).__name__}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise SpinMultiNetError(f"{where}: " + "; ".join(_explain(kind, e) for e in error.errors())) from None


def _explain(kind: type[BaseModel], error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if not key:  # of several options together
        return f"{kind.__name__}: {error['msg'].removeprefix('Value error, ')}"
    if error["type"] != "extra_forbidden":
        return f"option '{key}' of {kind.__name__}: {error['msg']} (got {error['input']!r})"
    return f"unknown option '{key}' of {kind.__name__}, {_nearest(key, list(kind.model_fields))}"


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"


def read_config(path: str | Path) -> tuple[ModelOptions, TrainOptions]:
    """Read a YAML file with the sections `model` and `training` (either may be left out)."""
    file = Path(path)
    try:
        content = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise SpinMultiNetError(
            f"model configuration '{file}' does not exist; see configs/models/ for examples"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpinMultiNetError(f"model configuration '{file}' cannot be read as YAML: {error}") from None
    if not isinstance(content, dict):
        raise SpinMultiNetError(f"model configuration '{file}' must hold the sections 'model' and 'training'")
    for section in content:
        if section not in ("model", "training"):
            raise SpinMultiNetError(
                f"{file}: unknown section '{section}', {_nearest(str(section), ['model', 'training'])}"
            )
    model = parse(ModelOptions, content.get("model") or {}, f"{file}, section 'model'")
    return model, parse(TrainOptions, content.get("training") or {}, f"{file}, section 'training'")
