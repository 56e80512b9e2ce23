"""Predicted moments fed back: where it ends, per structure, and for which models it means nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spinmultinet import SpinMultiNetError, build_model
from spinmultinet.data import collate, to_graph
from spinmultinet.evaluate import predict
from spinmultinet.self_consistency import TOLERANCE, self_consistent


@pytest.fixture
def model(tiny_options):
    """Predicts 2 b(m) plus a little: b(m) = m / sqrt(1 + m^2/4), whose fixed point is near |m| = 3.46."""
    found = build_model(tiny_options.model_copy(update={"dtype": "float64"}), ["O", "Ni"], 3)
    found.moment_readout.prior.fill_(4.0)
    found.moment_readout.scale.fill_(0.02)
    return found.eval()


@pytest.fixture
def graphs(nio):
    return [to_graph(a, ["O", "Ni"], 3.5) for a in nio[:4]]


def test_it_ends_at_moments_that_the_model_reproduces(model, graphs):
    graph = collate(graphs)
    end, how = self_consistent(model, graph, 100)
    again = model(end, forces=False)["moments"]
    magnetic = graph.moments != 0
    assert (again - end.moments)[magnetic].abs().max() < TOLERANCE
    assert (how.change < TOLERANCE).all()
    assert (how.rounds > 2).all()
    assert torch.equal(end.moments.sign(), graph.moments.sign())
    assert end.moments[magnetic].abs().mean().item() == pytest.approx(2 * np.sqrt(3), abs=0.1)


def test_the_end_does_not_depend_on_the_start_within_a_branch(model, graphs):
    graph = collate(graphs)
    ends = [self_consistent(model, replace(graph, moments=s * graph.moments), 200)[0].moments for s in (0.6, 1.5)]
    assert (ends[0] - ends[1]).abs().max() < 10 * TOLERANCE


def test_results_do_not_depend_on_the_batch(model, graphs):
    graphs[1] = replace(graphs[1], moments=0.2 * graphs[1].moments)  # needs more rounds than the others
    together, how = self_consistent(model, collate(graphs), 100)
    alone = [self_consistent(model, g, 100) for g in graphs]
    torch.testing.assert_close(together.moments, torch.cat([g.moments for g, _ in alone]), rtol=0, atol=1e-12)
    assert how.rounds.tolist() == [int(h.rounds) for _, h in alone]
    assert how.rounds[1] > how.rounds[0]


def test_the_limit_is_kept_and_told(model, graphs):
    _, how = self_consistent(model, collate(graphs), 2)
    assert how.rounds.tolist() == [2] * 4
    assert (how.change > TOLERANCE).all()


def test_sites_without_input_moment_stay_so_unless_training_has_shown_them(model, graphs):
    graph = collate(graphs)
    oxygen = graph.moments == 0
    assert not self_consistent(model, graph, 10)[0].moments[oxygen].any()
    model.metadata["training_options"] = {"converged_inputs": 0.5}
    assert self_consistent(model, graph, 10)[0].moments[oxygen].any()


def test_time_reversal_is_exact(model, graphs):
    graph = collate(graphs)
    up, _ = self_consistent(model, graph, 20)
    down, _ = self_consistent(model, replace(graph, moments=-graph.moments), 20)
    torch.testing.assert_close(down.moments, -up.moments, rtol=0, atol=1e-12)


def test_predictions_are_those_at_the_end(model, nio):
    first = predict(model, nio[:2])
    found = predict(model, nio[:2], iterate=100)
    at_end = [a.copy() for a in nio[:2]]
    for atoms, p in zip(at_end, found, strict=True):
        magnetic = atoms.arrays["magmom_in"] != 0
        atoms.arrays["magmom_in"][magnetic] = p["magmoms"][magnetic]
        assert p["moment_change"] < TOLERANCE
    for a, b, c in zip(predict(model, at_end), found, first, strict=True):
        assert b["energy"] == pytest.approx(a["energy"], abs=1e-3)
        assert b["energy"] != c["energy"]
        assert b["rounds"] > 1
        assert "rounds" not in c


@pytest.mark.parametrize("change", [{"moments": False}, {"spin": False}, {"time_reversal": "invariant"}])
def test_models_that_cannot_be_iterated(tiny_options, graphs, change):
    other = build_model(tiny_options.model_copy(update=change), ["O", "Ni"])
    with pytest.raises(SpinMultiNetError, match="signed moments"):
        self_consistent(other, graphs[0], 3)


def test_constraints_are_not_iterated(model, graphs):
    model.metadata["moment_role"] = "constraint"
    with pytest.raises(SpinMultiNetError, match="constraints"):
        self_consistent(model, graphs[0], 3)
