"""Loss: L = w_E L_E(per atom) + w_F L_F + w_S L_S + w_M L_M + w_H L_H over the labels that are present.

L_H is the error of the magnetic forces -dE/dm, which only data of constrained moments have.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .data import Graph
from .hypers import TrainOptions

# Tasks besides the energy, and the field of the graph that holds their label.
_LABELS = {"forces": "forces", "stress": "stress", "moments": "moments_out", "magnetic_forces": "magnetic_forces"}
TASKS = ("energy", *_LABELS)


def error(d: Tensor, options: TrainOptions) -> Tensor:
    """Error function of the options, element by element."""
    if options.loss == "mae":
        return d.abs()
    if options.loss == "mse":
        return d * d
    return torch.nn.functional.huber_loss(d, torch.zeros_like(d), reduction="none", delta=options.huber_delta)


def _sum(difference: Tensor, label: Tensor, wanted: Tensor, options: TrainOptions) -> tuple[Tensor, Tensor]:
    """Sum and number of errors where there is a label; a prediction that is not finite must reach the loss."""
    keep = torch.isfinite(label) & wanted.expand_as(difference)
    # where() before the error function: NaN labels must not reach the gradient.
    values = error(torch.where(keep, difference, torch.zeros_like(difference)), options)
    return values.sum(), keep.sum()


def _labelled(values: Tensor) -> bool:
    return bool(torch.isfinite(values.detach()).any())


def task_errors(
    predicted: dict[str, Tensor], graph: Graph, magnetic: Tensor, options: TrainOptions
) -> dict[str, Tensor]:
    """Mean errors of the tasks that are predicted and have a label somewhere in the graph.

    energy (eV/atom), forces (eV/Angstrom), stress (eV/Angstrom^3), moments (muB), magnetic_forces (eV/muB); their
    squares for `mse`. Absent labels (NaN) do not count. Magnetic forces count on magnetic species only (`magnetic` [S]
    bool), and so do moments unless the options say `moment_species: all`.
    """
    found = task_sums(predicted, graph, magnetic, options)
    return {task: total / count.clamp_min(1) for task, (total, count) in found.items()}


def task_sums(
    predicted: dict[str, Tensor], graph: Graph, magnetic: Tensor, options: TrainOptions
) -> dict[str, tuple[Tensor, Tensor]]:
    """As `task_errors`, but the sum of the errors and the number of labels it is over."""
    everything = torch.ones((), dtype=torch.bool, device=graph.energy.device)
    magnetic_sites = magnetic[graph.species].unsqueeze(-1)
    differences = {"energy": (predicted["energy"] - graph.energy) / graph.n_atoms}
    chosen = {"magnetic_forces": magnetic_sites, "stress": torch.isfinite(graph.volume).view(-1, 1, 1)}
    for task, label in _LABELS.items():
        if task in predicted and _labelled(getattr(graph, label)):
            differences[task] = predicted[task] - getattr(graph, label)
    if options.moment_species == "magnetic":
        chosen["moments"] = magnetic_sites
    return {
        task: _sum(d, getattr(graph, _LABELS.get(task, task)), chosen.get(task, everything), options)
        for task, d in differences.items()
    }


def weights(options: TrainOptions) -> dict[str, float]:
    """Weight of each task in the loss."""
    return {
        "energy": options.energy_weight,
        "forces": options.forces_weight,
        "stress": options.stress_weight,
        "moments": options.moments_weight,
        "magnetic_forces": options.magnetic_forces_weight,
    }


def total_loss(errors: dict[str, Tensor], options: TrainOptions) -> Tensor:
    """Weighted sum of the tasks' mean errors."""
    weight = weights(options)
    return torch.stack([weight[task] * value for task, value in errors.items()]).sum()
