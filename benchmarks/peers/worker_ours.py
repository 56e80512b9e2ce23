"""Ours, by public functions alone: the model as `build_model` makes it, graphs as `to_graph` makes them."""

# ruff: noqa: I001 - spinmultinet before torch, as in the command line: it sets how long threads of torch wait

from __future__ import annotations

from typing import Any

import spinmultinet  # noqa: F401
from inputs import batches, read_ase
from measure import Subject, main
from torch import Tensor

from spinmultinet import build_model
from spinmultinet.data import collate, to_graph


def build(job: dict[str, Any]) -> Subject:
    model = build_model(job["options"], job["species"])
    graphs = [to_graph(a, job["species"], job["cutoff"]) for a in read_ase(job)]
    inputs = [collate(b) for b in batches(graphs, job)]

    def predict(k: int) -> tuple[Tensor, Tensor, Tensor | None]:
        found = model(inputs[k])
        return found["energy"], found["forces"], found.get("moments")

    return Subject(model, predict, len(inputs), len(inputs[0].species))


main(build)
