"""Optimiser and mean of the weights; what they do in a training is in test_train.py."""

import pytest
import torch

from spinmultinet.hypers import TrainOptions
from spinmultinet.model import build_model
from spinmultinet.optimizer import averaged, complete_gradients, optimizer


@pytest.fixture
def model(tiny_options):
    return build_model(tiny_options, ["O", "Ni"])


def test_the_options_choose(model):
    found = optimizer(model, TrainOptions(optimizer="adamw", weight_decay=0.1, learning_rate=0.02))
    assert isinstance(found, torch.optim.AdamW)
    assert (found.defaults["weight_decay"], found.defaults["lr"]) == (0.1, 0.02)
    assert not isinstance(optimizer(model, TrainOptions()), torch.optim.AdamW)


def test_no_decay_no_average(model):
    assert averaged(model, 0.0) is None
    assert averaged(model, 0.9).module is not model


def test_only_missing_gradients_are_completed(model):
    first, *others = model.parameters()
    first.grad = torch.ones_like(first)
    complete_gradients(model)
    assert bool((first.grad == 1).all())
    assert all(not bool(p.grad.any()) for p in others)
