"""Every model configuration is read and built; their sizes are those that the comparisons of the paper want."""

from pathlib import Path

import numpy as np
import pytest

from spinmultinet import build_model
from spinmultinet.evaluate import predict
from spinmultinet.hypers import read_config
from spinmultinet.testing import random_structure

FOLDER = Path(__file__).parents[2] / "configs" / "models"
# Number of parameters for Mn, Co, Ni and O: what `spinmultinet train` prints and the checkpoint keeps.
SIZES = {
    "paper": 3_930_116,
    "single_task_paper": 3_930_034,
    "accurate_input_paper": 3_930_034,
    "nospin_paper": 3_947_775,
    "invariant_paper": 3_951_910,
    "small": 301_888,
    "soc_small": 314_176,
    "nospin_small": 303_975,
    "tiny": 38_944,
    "quick": 17_112,
    "nospin_tiny": 11_488,
    "tables": 262_368,
    "tables_gpaw": 126_272,
}
VARIANTS = {  # what each changes of the model it is compared with, the number of channels aside
    "single_task_paper": ("paper", {"moments": False}),
    "accurate_input_paper": ("paper", {"moments": False, "input_moments": "converged"}),
    "nospin_paper": ("paper", {"moments": False, "spin": False}),
    "invariant_paper": ("paper", {"time_reversal": "invariant"}),
    "soc_small": ("small", {"soc": True}),
    "nospin_small": ("small", {"spin": False}),
    "nospin_tiny": ("tiny", {"spin": False}),
}


def test_every_file_is_listed_here():
    assert {p.stem for p in FOLDER.glob("*.yaml")} == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_it_is_read_built_and_predicts(name):
    path = FOLDER / f"{name}.yaml"
    model = build_model(path, ["O", "Mn", "Co", "Ni"]).eval()
    assert model.n_parameters() == SIZES[name]
    assert model.options == read_config(path)[0]
    atoms = random_structure(np.random.default_rng(0), n_atoms=2, axes=3 if model.options.soc else 1)
    assert np.isfinite(predict(model, [atoms])[0]["forces"]).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_differs_in_what_it_is_named_for(name):
    """And, where it is to be compared at equal size, has as many parameters within 1 % (SOC: its own on top)."""
    reference, changes = VARIANTS[name]
    model, training = read_config(FOLDER / f"{name}.yaml")
    expected, expected_training = read_config(FOLDER / f"{reference}.yaml")
    assert model.model_copy(update={"channels": 1}) == expected.model_copy(update={"channels": 1, **changes})
    assert training == expected_training
    if name.endswith(("paper", "nospin_small")):
        assert SIZES[name] == pytest.approx(SIZES[reference], rel=0.01)
