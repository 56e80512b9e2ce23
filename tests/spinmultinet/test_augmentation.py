"""Inputs of a training step: what is drawn, from what range, and for whom it is refused."""

from dataclasses import replace

import pytest
import torch

from spinmultinet import SpinMultiNetError, load_model
from spinmultinet.augmentation import refuse_unfit_inputs, training_input
from spinmultinet.data import collate, to_graph
from spinmultinet.hypers import ModelOptions, TrainOptions, parse
from spinmultinet.train import train


@pytest.fixture
def graphs(nio):
    return [to_graph(a, ["O", "Ni"], 3.0) for a in nio]


def drawn(graph, seed=0, **options):
    return training_input(graph, TrainOptions(**options), torch.Generator().manual_seed(seed)).moments


def test_nothing_changes_without_options(graphs):
    assert torch.equal(drawn(collate(graphs)), collate(graphs).moments)


def test_scaling_keeps_signs_and_zeros_and_fills_the_range(graphs):
    graph = collate(graphs * 10)
    moments = drawn(graph, input_scale=(0.5, 1.25))
    magnetic = graph.moments != 0
    factors = moments[magnetic] / graph.moments[magnetic]
    assert not moments[~magnetic].any()
    assert 0.5 <= factors.min() < 0.52
    assert 1.23 < factors.max() <= 1.25
    assert factors.mean().item() == pytest.approx(0.875, abs=0.03)


def test_scaling_keeps_directions(nio):
    vectors = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    graph = to_graph(nio[0], ["O", "Ni"], 3.0, 3)
    moments = drawn(replace(graph, moments=vectors), input_scale=(0.5, 2.0))
    cosines = torch.nn.functional.cosine_similarity(moments, vectors)
    torch.testing.assert_close(cosines, torch.ones(4, dtype=torch.float64))
    assert (moments.norm(dim=1) / vectors.norm(dim=1)).std() > 0.05


def test_converged_inputs_go_to_whole_structures(graphs):
    graph = collate(graphs * 10)
    moments = drawn(graph, converged_inputs=0.25)
    n = 4  # atoms per structure
    is_out = (moments == graph.moments_out).view(-1, n).all(1)
    is_in = (moments == graph.moments).view(-1, n).all(1)
    assert (is_out ^ is_in).all()
    assert is_out.double().mean().item() == pytest.approx(0.25, abs=0.08)
    assert torch.equal(drawn(graph, converged_inputs=1.0), graph.moments_out)


def test_the_same_numbers_are_drawn_again(graphs):
    graph = collate(graphs)
    choices = {"converged_inputs": 0.5, "input_scale": (0.5, 1.5)}
    assert torch.equal(drawn(graph, 3, **choices), drawn(graph, 3, **choices))
    assert not torch.equal(drawn(graph, 3, **choices), drawn(graph, 4, **choices))


@pytest.mark.parametrize("choice", [{"converged_inputs": 0.5}, {"input_scale": (0.5, 1.5)}])
def test_constrained_moments_are_not_touched(graphs, choice):
    with pytest.raises(SpinMultiNetError, match="constrained"):
        refuse_unfit_inputs(TrainOptions(**choice), "constraint", graphs)


def test_structures_without_converged_moments_are_named(graphs):
    graphs[2] = replace(graphs[2], moments_out=torch.full_like(graphs[2].moments_out, torch.nan))
    with pytest.raises(SpinMultiNetError, match="training structure 2 lacks converged moments"):
        refuse_unfit_inputs(TrainOptions(converged_inputs=0.5), "guess", graphs)
    refuse_unfit_inputs(TrainOptions(input_scale=(0.5, 1.5)), "guess", graphs)


@pytest.mark.parametrize("wrong", [(0.0, 1.0), (1.2, 0.8), (1.0, float("inf"))])
def test_ranges_that_are_none(wrong):
    with pytest.raises(SpinMultiNetError, match=r"input_scale.*two positive numbers"):
        parse(TrainOptions, {"input_scale": wrong}, "here")


def test_training_with_scaled_inputs_makes_the_model_insensitive_to_the_length(tmp_path, nio):
    """Within a branch all estimates lead to one state; without augmentation the model has never seen another length."""
    options = ModelOptions(layers=2, channels=4, l_max=1, cutoff=3.0, radial_hidden=[8])
    common = {"epochs": 120, "batch_structures": 6, "learning_rate": 0.02, "forces_weight": 0.0, "ema_decay": 0.9}
    spread = {}
    for name, scale in (("plain", None), ("scaled", (0.6, 1.4))):
        training = TrainOptions(**common, input_scale=scale)
        model = load_model(train(training, options, nio[:8], [], tmp_path / name, 1).checkpoint)
        graph = collate([to_graph(a, model.species, 3.0) for a in nio[:8]])
        found = [model(replace(graph, moments=s * graph.moments))["moments"] for s in (0.7, 1.0, 1.3)]
        spread[name] = torch.stack(found).std(0).max().item()
    assert spread["scaled"] < 0.5 * spread["plain"]
