"""mace-torch: ScaleShiftMACE as its training script builds it. The stress is computed too, as ours and nequip do."""

from __future__ import annotations

from typing import Any

import mace  # noqa: F401  (first: it lets the old e3nn read its constants)
import numpy as np
import torch
from ase.data import atomic_numbers
from e3nn import o3
from inputs import batches, read_ase
from mace import data, modules, tools
from mace.tools import torch_geometric
from measure import Subject, main
from torch import Tensor


def _model(job: dict[str, Any], numbers: list[int]) -> torch.nn.Module:
    options = dict(job["options"])
    return modules.ScaleShiftMACE(
        r_max=job["cutoff"],
        num_polynomial_cutoff=5,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_elements=len(numbers),
        hidden_irreps=o3.Irreps(options.pop("hidden_irreps")),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(numbers)),
        atomic_numbers=numbers,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
        **options,
    )


def build(job: dict[str, Any]) -> Subject:
    torch.set_default_dtype(torch.float32)
    numbers = sorted(atomic_numbers[s] for s in job["species"])
    model = _model(job, numbers)
    table = tools.AtomicNumberTable(numbers)
    graphs = [
        data.AtomicData.from_config(data.config_from_atoms(a), z_table=table, cutoff=job["cutoff"])
        for a in read_ase(job)
    ]
    inputs = [torch_geometric.batch.Batch.from_data_list(b).to_dict() for b in batches(graphs, job)]
    training = job["task"] == "train"

    def predict(k: int) -> tuple[Tensor, Tensor, Tensor | None]:
        found = model(dict(inputs[k]), training=training, compute_force=True, compute_stress=True)
        return found["energy"], found["forces"], None

    return Subject(model, predict, len(inputs), len(inputs[0]["positions"]))


main(build)
