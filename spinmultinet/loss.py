"""Loss: L = w_E L_E(per atom) + w_F L_F + w_S L_S + w_M L_M over the labels that are present."""

from __future__ import annotations

import torch
from torch import Tensor

from .data import Graph
from .hypers import TrainOptions


def error(difference: Tensor, options: TrainOptions) -> Tensor:
    """Error function of the options, element by element, zero where the label is absent (NaN)."""
    d = torch.nan_to_num(difference, nan=0.0)
    if options.loss == "mae":
        return d.abs()
    if options.loss == "mse":
        return d * d
    return torch.nn.functional.huber_loss(d, torch.zeros_like(d), reduction="none", delta=options.huber_delta)


def _mean(difference: Tensor, wanted: Tensor, options: TrainOptions) -> Tensor:
    keep = torch.isfinite(difference.detach()) & wanted.expand_as(difference)
    # where() before the error function: NaN labels must not reach the gradient.
    values = error(torch.where(keep, difference, torch.zeros_like(difference)), options)
    return values.sum() / keep.sum().clamp_min(1)


def task_errors(
    predicted: dict[str, Tensor], graph: Graph, magnetic: Tensor, options: TrainOptions
) -> dict[str, Tensor]:
    """Mean errors of the tasks: energy (eV/atom), forces (eV/Angstrom), stress (eV/Angstrom^3), moments (muB).

    Moments count on magnetic species only (`magnetic` [S] bool) unless the options say `moment_species: all`.
    """
    everything = torch.ones((), dtype=torch.bool, device=graph.energy.device)
    out = {"energy": _mean((predicted["energy"] - graph.energy) / graph.n_atoms, everything, options)}
    if "forces" in predicted:
        out["forces"] = _mean(predicted["forces"] - graph.forces, everything, options)
        out["stress"] = _mean(predicted["stress"] - graph.stress, everything, options)
    if "moments" in predicted:
        chosen = everything if options.moment_species == "all" else magnetic[graph.species].unsqueeze(-1)
        out["moments"] = _mean(predicted["moments"] - graph.moments_out, chosen, options)
    return out


def total_loss(errors: dict[str, Tensor], options: TrainOptions) -> Tensor:
    """Weighted sum of the tasks' mean errors."""
    weights = {
        "energy": options.energy_weight,
        "forces": options.forces_weight,
        "stress": options.stress_weight,
        "moments": options.moments_weight,
    }
    return torch.stack([weights[task] * value for task, value in errors.items()]).sum()
