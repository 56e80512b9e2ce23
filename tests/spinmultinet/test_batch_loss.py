"""Loss of a batch: mean errors over the labels there are, whoever holds them."""

import pytest
import torch

from spinmultinet.batch_loss import BatchLoss, _table, unlabelled
from spinmultinet.data import collate
from spinmultinet.distributed import Processes
from spinmultinet.hypers import TrainOptions
from spinmultinet.inputs import graphs_of
from spinmultinet.loss import task_errors, task_sums, total_loss
from spinmultinet.model import build_model
from spinmultinet.validation import predicted
from tests.support.together import mixed_labels

OPTIONS = TrainOptions(stress_weight=1.0, moments_weight=0.5)


def one_of(rank, size, others):
    """A process whose partners have the numbers of the table `others` to add."""

    class One(Processes):
        def total(self, values):
            return values + others

    return One(rank, size)


@pytest.fixture
def model(tiny_options):
    return build_model(tiny_options.model_copy(update={"dtype": "float64"}), ["O", "Ni"], seed=1).train()


@pytest.fixture
def graphs(model):
    return graphs_of(model, mixed_labels()[:4])


def gradient(model, loss):
    return torch.cat([g.ravel() for g in torch.autograd.grad(loss, list(model.parameters()))])


def test_alone_it_is_the_mean_over_labels(model, graphs):
    graph = collate(graphs)
    loss, errors = BatchLoss(model, OPTIONS, Processes())(graph)
    expected = task_errors(predicted(model, graph, OPTIONS), graph, model.magnetic, OPTIONS)
    assert errors.keys() == {"loss", *expected}
    for task, value in expected.items():
        assert float(errors[task]) == pytest.approx(float(value.detach()), rel=1e-12)
    assert (
        float(loss.detach())
        == float(errors["loss"])
        == pytest.approx(float(total_loss(expected, OPTIONS).detach()), rel=1e-12)
    )


def test_the_mean_of_the_gradients_of_shares_is_the_gradient_of_the_batch(model, graphs):
    """Also where one share lacks all labels of a task (stress, moments), or all labels."""
    whole = gradient(model, BatchLoss(model, OPTIONS, Processes())(collate(graphs))[0])
    shares = [collate([graphs[0], graphs[2]]), graphs[1], graphs[3], unlabelled(graphs[0])]
    tables = [_table(task_sums(predicted(model, g, OPTIONS), g, model.magnetic, OPTIONS)) for g in shares]
    gradients, reported = [], []
    for k, share in enumerate(shares):
        together = one_of(k, len(shares), torch.stack(tables).sum(0) - tables[k])
        loss, errors = BatchLoss(model, OPTIONS, together)(share)
        gradients.append(gradient(model, loss))
        reported.append({task: float(value.detach()) for task, value in errors.items()})
    assert all(r == pytest.approx(reported[0], rel=1e-12) for r in reported)
    assert set(reported[0]) == {"loss", "energy", "forces", "stress", "moments"}
    torch.testing.assert_close(torch.stack(gradients).mean(0), whole, rtol=1e-9, atol=1e-12)
    assert not gradients[-1].any()


def test_without_labels_there_is_nothing_to_learn(model, graphs):
    loss, errors = BatchLoss(model, OPTIONS, Processes())(unlabelled(graphs[1]))
    assert float(loss.detach()) == 0.0
    assert {k: float(v) for k, v in errors.items()} == {"loss": 0.0, "energy": 0.0}
