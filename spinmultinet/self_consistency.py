"""Moments that a model reproduces: its predictions fed back as input until they no longer change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import keys
from .data import Graph
from .errors import SpinMultiNetError

if TYPE_CHECKING:
    from .model import SpinMultiNet

TOLERANCE = 1e-3  # muB; change per round below which moments count as self-consistent


@dataclass(frozen=True)
class SelfConsistency:
    """How an iteration ended, per structure [B]: rounds made, and largest change (muB) in the last of them."""

    rounds: Tensor
    change: Tensor


def self_consistent(model: SpinMultiNet, graph: Graph, limit: int) -> tuple[Graph, SelfConsistency]:
    """Feed predicted moments back until they change by less than TOLERANCE, at most `limit` rounds.

    Structures stop one by one, so a result does not depend on its batch. A site without input moment keeps none, unless
    the model was trained with `converged_inputs`. Raises SpinMultiNetError for models that cannot be iterated.
    """
    _refuse_iteration(model)
    moments = graph.moments
    sees_all = model.metadata.get("training_options", {}).get("converged_inputs", 0.0) > 0
    free = torch.ones_like(moments, dtype=torch.bool) if sees_all else (moments.abs().sum(-1, keepdim=True) > 0)
    rounds = torch.zeros_like(graph.n_atoms)
    change = torch.full_like(graph.n_atoms, torch.inf, dtype=moments.dtype)
    for _ in range(limit):
        active = change >= TOLERANCE
        if not bool(active.any()):
            break
        new = model(replace(graph, moments=moments), forces=False)["moments"]
        new = torch.where(free & active[graph.structure].unsqueeze(-1), new, moments)
        step = (new - moments).norm(dim=-1)
        largest = torch.zeros_like(change).scatter_reduce(0, graph.structure, step, "amax")
        change = torch.where(active, largest, change)
        rounds, moments = rounds + active.long(), new
    return replace(graph, moments=moments), SelfConsistency(rounds, change)


def _refuse_iteration(model: SpinMultiNet) -> None:
    if model.moment_kind != "odd":
        o = model.options
        raise SpinMultiNetError(
            "iterate needs a model that reads and predicts signed moments; this one has moments: "
            f"{o.moments}, spin: {o.spin}, time_reversal: {o.time_reversal}"
        )
    if model.metadata.get(keys.MOMENT_ROLE) == keys.CONSTRAINT:
        raise SpinMultiNetError(
            "iterate is refused: the model's input moments are constraints, there is nothing to converge; predict at "
            "the moments given, or turn them along get_magnetic_forces"
        )
