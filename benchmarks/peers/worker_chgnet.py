"""chgnet: energy, forces, stress and the sizes of the moments, from graphs its own converter makes."""

from __future__ import annotations

from typing import Any

import torch
from chgnet.model import CHGNet
from inputs import batches, read_ase
from measure import Subject, main
from pymatgen.io.ase import AseAtomsAdaptor
from torch import Tensor


def build(job: dict[str, Any]) -> Subject:
    model = CHGNet(composition_model=None, atom_graph_cutoff=job["cutoff"], **job["options"])
    graphs = [model.graph_converter(AseAtomsAdaptor.get_structure(a)) for a in read_ase(job)]
    inputs = batches(graphs, job)

    def predict(k: int) -> tuple[Tensor, Tensor, Tensor | None]:
        found = model(inputs[k], task="efsm")  # it tells the energy per atom
        sizes = found["atoms_per_graph"]
        return found["e"] * sizes, torch.cat(found["f"]), torch.cat(found["m"])

    return Subject(model, predict, len(inputs), sum(len(g.atomic_number) for g in inputs[0]))


main(build)
