"""deepmd-kit's PyTorch backend, with spin: energy, forces, virial and magnetic forces, from its own `get_model`.

Its models find the neighbours inside `forward`, so unlike the others' their times include that.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from deepmd.pt.model.model import get_model
from deepmd.pt.utils.env import DEVICE, GLOBAL_PT_FLOAT_PRECISION
from inputs import batches, read
from measure import Subject, main
from torch import Tensor

SYMBOLS = {8: "O", 25: "Mn", 27: "Co", 28: "Ni"}


def _batch(structures: list[dict[str, Any]], species: list[str]) -> dict[str, Tensor]:
    def real(values: list[Any]) -> Tensor:
        return torch.tensor(values, dtype=GLOBAL_PT_FLOAT_PRECISION, device=DEVICE)

    return {
        "coord": real([s["positions"] for s in structures]),
        "atype": torch.tensor([[species.index(SYMBOLS[z]) for z in s["numbers"]] for s in structures], device=DEVICE),
        "spin": real([[[0.0, 0.0, m] for m in s["moments"]] for s in structures]),
        "box": real([[x for row in s["cell"] for x in row] for s in structures]),
    }


def build(job: dict[str, Any]) -> Subject:
    model = get_model(copy.deepcopy(job["options"]) | {"type_map": list(job["species"])}).to(DEVICE)
    torch.manual_seed(0)
    for weight in model.parameters():
        if not weight.detach().any():  # DPA4 starts with an energy of zero; forces should tell that they were computed
            torch.nn.init.normal_(weight, std=0.1)
    inputs = [_batch(b, job["species"]) for b in batches(read(job), job)]

    def predict(k: int) -> tuple[Tensor, Tensor, Tensor | None]:
        fresh = {name: x.clone() for name, x in inputs[k].items()}
        fresh["coord"].requires_grad_(True)  # as its training wrapper does
        found = model(**fresh)
        return found["energy"].squeeze(-1), found["force"], None

    return Subject(model, predict, len(inputs), inputs[0]["atype"].numel(), notes="neighbours inside")


main(build)
