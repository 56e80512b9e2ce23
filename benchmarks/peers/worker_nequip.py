"""nequip: the model of its builder, eager or compiled in the two ways that nequip has.

Training: ``compile_mode: compile``, which traces with make_fx and calls torch.compile; it needs two structures or more
in a batch. Inference: what ``nequip-compile --mode aotinductor --target ase`` does, without a checkpoint in between.
`ForceStressOutput` gives the stress as well.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from inputs import batches, read_ase
from measure import Subject, main
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import NequIPGNNModel
from nequip.utils.global_state import set_global_state
from torch import Tensor

set_global_state()


def _model(job: dict[str, Any], compile_mode: str) -> torch.nn.Module:
    return NequIPGNNModel(
        seed=0,
        model_dtype="float32",
        type_names=job["species"],
        r_max=job["cutoff"],
        per_type_energy_scales=1.0,
        per_type_energy_shifts=0.0,
        compile_mode=compile_mode,
        **job["options"],
    )


def _data(job: dict[str, Any]) -> list[dict[str, Tensor]]:
    types = ChemicalSpeciesToAtomTypeMapper(job["species"])
    pairs = NeighborListTransform(r_max=job["cutoff"])
    return [types(pairs(from_ase(a))) for a in read_ase(job)]


def _export(job: dict[str, Any]) -> dict[str, Any]:
    """Compile for inference and write the file that the later processes load."""
    from nequip.scripts._compile_utils import ASE_TARGET
    from nequip.utils.aot import aot_export_model
    from nequip.utils.aoti_metadata import NEQUIP_AOTI_INPUTS_KEY, NEQUIP_AOTI_OUTPUTS_KEY, serialize_aoti_keys
    from nequip.utils.global_state import get_latest_global_state

    model = _model(job, "eager")
    n_parameters = sum(p.numel() for p in model.parameters())
    state = {k: str(int(v)) for k, v in get_latest_global_state(only_metadata_related=True).items()}
    keys = {
        NEQUIP_AOTI_INPUTS_KEY: serialize_aoti_keys(ASE_TARGET["input"]),
        NEQUIP_AOTI_OUTPUTS_KEY: serialize_aoti_keys(ASE_TARGET["output"]),
    }
    bounds = {k: torch.export.dynamic_shapes.Dim(f"num_{k}s", min=2, max=torch.inf) for k in ("node", "edge")}
    start = time.perf_counter()
    aot_export_model(
        model=model,
        device=torch.device("cpu"),
        input_fields=ASE_TARGET["input"],
        output_fields=ASE_TARGET["output"],
        data=ASE_TARGET["data_settings"](_data(job)[0]),
        batch_map=ASE_TARGET["batch_map_settings"](bounds),
        output_path=job["compiled"],
        inductor_configs={"aot_inductor.metadata": {**model.metadata, **state, **keys}},
    )
    return {"n_parameters": n_parameters, "compile_s": time.perf_counter() - start}


def build(job: dict[str, Any]) -> Subject | dict[str, Any]:
    if job["task"] == "prepare":
        Path(job["compiled"]).parent.mkdir(parents=True, exist_ok=True)
        return _export(job)
    frames = _data(job)
    if job["compiled"] and job["task"] == "infer":
        from nequip.model.inference_models import load_compiled_model

        model, _ = load_compiled_model(job["compiled"], "cpu")
        inputs = [{k: v for k, v in f.items() if k not in ("batch", "num_atoms")} for f in frames]
    else:
        model = _model(job, "compile" if job["compiled"] else "eager")
        inputs = [AtomicDataDict.batched_from_list(b) for b in batches(frames, job)]

    def predict(k: int) -> tuple[Tensor, Tensor, Tensor | None]:
        found = model(inputs[k].copy())
        return found["total_energy"].squeeze(-1), found["forces"], None

    return Subject(model, predict, len(inputs), len(inputs[0]["pos"]))


main(build)
