"""What all workers share: one task of one program, measured in a process of its own, and told as one line of JSON.

A worker is called as ``PYTHON worker_NAME.py JOB`` (JOB: what `run._job` makes) and hands a function that builds a
`Subject` to `main`. This file is imported in the environments of all programs and needs torch alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LEARNING_RATE = 1e-6  # the weights hardly move, so all steps cost the same


@dataclass
class Subject:
    """One program, ready to run. Functions take the number of a batch (training) or of a structure (inference).

    `predict` gives energies [B] (eV), forces [N, 3] (eV/Angstrom) and moments [N] (muB; None where not predicted).
    `n_atoms` counts those of one input, `n_parameters` the trainable ones.
    """

    model: torch.nn.Module
    predict: Callable[[int], tuple[Tensor, Tensor, Tensor | None]]
    n_inputs: int
    n_atoms: int
    n_parameters: int | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        if self.n_parameters is None:  # a compiled file has none; its export tells them
            self.n_parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad) or None


def main(build: Callable[[dict[str, Any]], Subject | dict[str, Any]]) -> None:
    """Run the job of the command line and print its result; all other output goes to stderr.

    `build` may also give a finished result, for a job that only prepares later ones.
    """
    job = json.loads(sys.argv[1])
    try:
        with contextlib.redirect_stdout(sys.stderr):
            _limits(job)
            found = build(job)
            result = found if isinstance(found, dict) else _measure(found, job)
    except Exception as error:
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    print(json.dumps(result | {"peak_mib": _peak_mib(), "torch": torch.__version__}), flush=True)
    os._exit(0)  # some programs leave threads that would keep the process alive


def _limits(job: dict[str, Any]) -> None:
    torch.set_num_threads(job["threads"])
    most = int(job["memory_gib"] * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))  # an error here, rather than a machine out of memory


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure(subject: Subject, job: dict[str, Any]) -> dict[str, Any]:
    loaded = _peak_mib()
    run = _training(subject, job) if job["task"] == "train" else _inference(subject)
    start = time.perf_counter()
    size = run(0)
    first = time.perf_counter() - start
    for k in range(1, subject.n_inputs):  # every shape once: compiled programs may compile again
        run(k)
    wall, processor = _times(run, subject.n_inputs, job)
    return {
        "n_parameters": subject.n_parameters,
        "n_atoms": subject.n_atoms,
        "step_s": statistics.median(wall),
        "cpu_s": statistics.median(processor),
        "steps": len(wall),
        "first_s": first,
        "loaded_mib": loaded,
        "size_of_result": size,
        "notes": subject.notes,
    }


def _times(run: Callable[[int], float], n: int, job: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Wall and processor seconds of each step, for as long as the job says and at least `min_steps`."""
    wall: list[float] = []
    processor: list[float] = []
    while len(wall) < job["min_steps"] or sum(wall) < job["seconds"]:
        start, cpu = time.perf_counter(), time.process_time()
        run(len(wall) % n)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - cpu)
    return wall, processor


def _training(subject: Subject, job: dict[str, Any]) -> Callable[[int], float]:
    """A step: energies (per atom) and forces, and moments where predicted; mean squares; derivatives; Adam."""
    subject.model.train()
    optimizer = torch.optim.Adam([p for p in subject.model.parameters() if p.requires_grad], lr=LEARNING_RATE)
    atoms = subject.n_atoms // job["batch"]

    def step(k: int) -> float:
        energies, forces, moments = subject.predict(k)
        loss = (energies / atoms).square().mean() + forces.square().mean()
        if moments is not None:
            loss = loss + moments.square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return _finite(loss)

    return step


def _inference(subject: Subject) -> Callable[[int], float]:
    """Energy and forces with weights that need no derivatives."""
    subject.model.eval()
    for parameter in subject.model.parameters():
        parameter.requires_grad_(False)

    def step(k: int) -> float:
        _, forces, _ = subject.predict(k)
        return _finite(forces.detach().square().mean().sqrt())

    return step


def _finite(value: Tensor) -> float:
    """Zero or NaN would mean that something else was timed than forces."""
    number = float(value.detach())
    if not 0 < number < float("inf"):
        raise ValueError(f"the result is {number}")
    return number
