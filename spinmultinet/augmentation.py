"""Input moments of a training step: now and then converged ones, or estimates of random length.

Within a magnetic branch the converged state does not depend on the length of the estimate: many inputs, one output.
Training on scaled estimates, or on converged moments as well, teaches a model so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from . import keys
from .data import Graph
from .errors import SpinMultiNetError
from .hypers import TrainOptions


def refuse_unfit_inputs(options: TrainOptions, role: str, graphs: Sequence[Graph]) -> None:
    """Raises SpinMultiNetError where the options cannot be applied: constrained moments, or no converged ones."""
    if options.converged_inputs == 0 and options.input_scale is None:
        return
    if role == keys.CONSTRAINT:
        raise SpinMultiNetError(
            "converged_inputs and input_scale are for estimates; here the moments were constrained, and the energy is "
            "that of exactly these moments: remove both options"
        )
    for k, g in enumerate(graphs if options.converged_inputs > 0 else []):
        if not bool(torch.isfinite(g.moments_out).all()):
            raise SpinMultiNetError(
                f"training structure {k} lacks converged moments ('{keys.MAGMOM_OUT}'), which converged_inputs needs; "
                "label them, or set it to 0"
            )


def training_input(graph: Graph, options: TrainOptions, generator: torch.Generator) -> Graph:
    """The graph with the input moments of one training step, drawn from `generator` (on the CPU).

    `converged_inputs` is the chance of each structure to be given its converged moments; `input_scale` the range of a
    factor on the input of each site, uniformly distributed: directions and signs stay.
    """
    moments = graph.moments
    if options.converged_inputs > 0:
        chosen = torch.rand(len(graph.n_atoms), generator=generator) < options.converged_inputs
        mask = chosen.to(moments.device)[graph.structure].unsqueeze(-1)
        moments = torch.where(mask, graph.moments_out, moments)
    if options.input_scale is not None:
        low, high = options.input_scale
        factor = low + (high - low) * torch.rand(len(moments), 1, generator=generator, dtype=torch.float64)
        moments = moments * factor.to(moments.device)
    return replace(graph, moments=moments)
