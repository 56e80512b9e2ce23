"""Learning rates by the epoch."""

import itertools

import pytest
import torch

from spinmultinet.hypers import TrainOptions
from spinmultinet.schedule import learning_rate, plateau

STEPS = 10


def rates(options, epochs, now=0.01):
    return [learning_rate(options, k / STEPS, STEPS, now) for k in range(epochs * STEPS)]


def test_cosine_is_torchs_cosine_annealing():
    options = TrainOptions(epochs=4, learning_rate=0.02, final_learning_rate=1e-3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4 * STEPS, eta_min=1e-3)
    for ours in rates(options, 4):
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("schedule", ["cosine", "constant", "plateau"])
def test_warm_up_rises_linearly_to_the_full_rate(schedule):
    options = TrainOptions(epochs=10, warmup_epochs=2, learning_rate=0.01, schedule=schedule)
    found = rates(options, 3)
    steps = [b - a for a, b in itertools.pairwise(found[:20])]
    assert found[0] == pytest.approx(0.01 / 20)
    assert steps == pytest.approx([0.01 / 20] * 19)
    assert found[20] == pytest.approx(0.01)


def test_plateau_keeps_what_its_scheduler_set():
    options = TrainOptions(schedule="plateau", plateau_patience=1, learning_rate=0.01)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    scheduler = plateau(optimizer, options)
    for loss in (1.0, 0.5, 0.6, 0.7):
        scheduler.step(loss)
    now = optimizer.param_groups[0]["lr"]
    assert now == pytest.approx(0.005)
    assert learning_rate(options, 4.0, STEPS, now) == now


def test_constant_is_constant():
    assert set(rates(TrainOptions(schedule="constant"), 2)) == {0.01}
