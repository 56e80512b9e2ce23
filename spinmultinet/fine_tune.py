"""Training that begins with the weights of a trained model."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from . import keys
from .checkpoint import load_model
from .data import Graph, batches, collate
from .errors import SpinMultiNetError
from .hypers import ModelOptions, TrainOptions
from .model import SpinMultiNet
from .statistics import Statistics, compositions, fit_shifts

_PAIRS_PER_BATCH = 60_000


def start_model(options: TrainOptions) -> SpinMultiNet | None:
    """The model `start_from` names, a checkpoint or the folder of a training; None if it names none."""
    if options.start_from is None:
        return None
    path = Path(options.start_from)
    return load_model(path if path.is_file() or path.suffix == ".pt" else path / "model.pt")


def weights_hash(model: SpinMultiNet) -> str:
    """SHA-256 of all weights and statistics."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def copy_to_train(
    start: SpinMultiNet, asked: ModelOptions, species: Sequence[str], role: str, options: TrainOptions
) -> SpinMultiNet:
    """A copy of `start` for data of these species and this role of the moments.

    The architecture is that of `start`; options that `asked` sets explicitly must agree. Raises SpinMultiNetError if
    they do not, for species that the model does not know or the data lack, and for another role of the moments.
    """
    _refuse_other_architecture(start, asked)
    _refuse_other_species(start, species, options)
    trained = start.metadata.get(keys.MOMENT_ROLE, keys.GUESS)
    if trained != role:
        raise SpinMultiNetError(
            f"start_from: the model's {keys.MOMENT_ROLE} is '{trained}', that of the training set is '{role}': its "
            "input moments mean another thing; start from a model of the same role, or without start_from"
        )
    return copy.deepcopy(start).train()


def _refuse_other_architecture(start: SpinMultiNet, asked: ModelOptions) -> None:
    differ = [k for k in sorted(asked.model_fields_set) if getattr(asked, k) != getattr(start.options, k)]
    if differ:
        told = ", ".join(f"{k} {getattr(asked, k)!r} (model: {getattr(start.options, k)!r})" for k in differ)
        raise SpinMultiNetError(
            f"start_from: the configuration asks for another architecture than the model has: {told}; remove its "
            "section 'model', or make it agree"
        )


def _refuse_other_species(start: SpinMultiNet, species: Sequence[str], options: TrainOptions) -> None:
    added = [s for s in species if s not in start.species]
    missing = [s for s in start.species if s not in species]
    if added:
        raise SpinMultiNetError(
            f"start_from: the training set has {', '.join(added)}, which the model does not know (it knows "
            f"{', '.join(start.species)}); remove those structures, or train a new model"
        )
    if missing and options.start_species == "equal":
        raise SpinMultiNetError(
            f"start_from: the model knows {', '.join(missing)}, which the training set lacks: fine-tuning would let "
            "its predictions for them drift unseen; add such structures, or accept it with start_species: subset"
        )


def adapt_statistics(model: SpinMultiNet, graphs: Sequence[Graph], new: Statistics) -> None:
    """Shift energies per species to those of the new labels, by least squares on what the model leaves of them.

    Another level of theory has other total energies; the network must not learn a constant. Moments: species that had
    none to learn take the new scale and prior.
    """
    errors, counts = zip(*(_residual(model, graphs, chosen) for chosen in _chosen(graphs)), strict=True)
    correction = fit_shifts(torch.cat(counts), torch.cat(errors))
    device = model.neighbour_norm.device
    model.energy_readout.shift += correction.to(device)
    model.magnetic |= new.magnetic.to(device)
    readout = model.moment_readout
    if readout is not None:
        untrained = readout.scale == 0
        readout.scale.copy_(torch.where(untrained, new.moment_scale.to(device), readout.scale))
        readout.prior.copy_(torch.where(untrained, new.moment_prior.to(device), readout.prior))


def _chosen(graphs: Sequence[Graph]) -> list[list[int]]:
    return list(batches(graphs, range(len(graphs)), 64, _PAIRS_PER_BATCH))


def _residual(model: SpinMultiNet, graphs: Sequence[Graph], chosen: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Label minus prediction [B] (eV), and compositions [B, S]."""
    graph = collate([graphs[k] for k in chosen])
    predicted = model(graph.to(model.neighbour_norm.device), forces=False)["energy"]
    return graph.energy - predicted.detach().cpu(), compositions(graph, len(model.species))


def origin(start: SpinMultiNet) -> dict[str, Any]:
    """What the new checkpoint says about the model it began with."""
    told = {k: start.metadata.get(k, "unknown") for k in (keys.LEVEL_ID, "snapshot_id", "fingerprint")}
    return {"fine_tuned_from": told | {"weights": weights_hash(start)}}
