"""What several tests of the model share: real labels, and models small enough for finite differences."""

from pathlib import Path

import ase.io
import pytest
import torch

from spinmultinet.hypers import ModelOptions, TrainOptions

DATA = Path(__file__).parent / "data" / "nio_pbeu.extxyz"


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def nio():
    """24 real labels: 12 geometries of NiO, each FM and AFM-II."""
    return ase.io.read(DATA, ":")


@pytest.fixture
def tiny_options():
    """A model that trains in seconds."""
    return ModelOptions(layers=2, channels=4, l_max=1, cutoff=3.5, radial_hidden=[8])


@pytest.fixture
def quick_training():
    """A few epochs."""
    return TrainOptions(epochs=6, batch_structures=3, validate_every=2, checkpoint_epochs=2, stress_weight=1.0)
