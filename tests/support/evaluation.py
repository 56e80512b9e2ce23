"""An evaluation of a committee whose members differ, on real labels."""

from pathlib import Path
from typing import Any

import ase.io

from spinmultinet import build_model
from spinmultinet.committee import Committee
from spinmultinet.evaluate import evaluate
from spinmultinet.hypers import ModelOptions

LABELS = Path(__file__).parents[1] / "spinmultinet" / "data" / "nio_pbeu.extxyz"


def committee_result() -> dict[str, Any]:
    """Result of `evaluate` for a calibrated committee of two untrained members on 24 labels of NiO."""
    frames = ase.io.read(LABELS, ":")
    options = ModelOptions(layers=1, channels=4, l_max=1, cutoff=3.5, radial_hidden=[8])
    members = [build_model(options, ["O", "Ni"], seed) for seed in range(2)]
    for described in (*(a.info for a in frames), *(m.metadata for m in members)):
        described["level_id"] = "pbe-u"
    committee = Committee(members)
    committee.calibrate(frames)
    return evaluate(committee, frames)
