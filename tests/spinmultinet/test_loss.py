"""Errors of the tasks: units, missing labels, which atoms count."""

import pytest
import torch

from spinmultinet.data import collate, to_graph
from spinmultinet.hypers import TrainOptions
from spinmultinet.loss import task_errors, total_loss


@pytest.fixture
def graph(nio):
    return collate([to_graph(a, ["O", "Ni"], 3.0) for a in nio[:2]])


def perfect(graph):
    return {"energy": graph.energy, "forces": graph.forces, "stress": graph.stress, "moments": graph.moments_out}


MAGNETIC = torch.tensor([False, True])


@pytest.mark.parametrize(("kind", "expected"), [("mae", 0.1), ("mse", 0.01), ("huber", 0.01 * (0.1 - 0.005))])
def test_error_functions_and_energy_per_atom(graph, kind, expected):
    predicted = perfect(graph)
    predicted["energy"] = graph.energy + 0.4
    errors = task_errors(predicted, graph, MAGNETIC, TrainOptions(loss=kind))
    assert errors["energy"].item() == pytest.approx(expected)
    assert errors["forces"].item() == 0.0


def test_moments_count_on_magnetic_species_unless_all_are_wanted(graph):
    predicted = perfect(graph)
    wrong = graph.moments_out.clone()
    wrong[graph.species == 0] += 1.0
    predicted["moments"] = wrong
    assert task_errors(predicted, graph, MAGNETIC, TrainOptions())["moments"].item() == 0.0
    everywhere = task_errors(predicted, graph, MAGNETIC, TrainOptions(moment_species="all"))
    assert everywhere["moments"].item() == pytest.approx(0.5)


def test_missing_labels_give_no_error_and_no_nan_gradient(graph):
    from dataclasses import replace

    holes = replace(graph, stress=torch.full_like(graph.stress, torch.nan), forces=graph.forces.clone())
    holes.forces[0] = torch.nan
    predicted = {k: v.clone().nan_to_num().requires_grad_(True) for k, v in perfect(graph).items()}
    loss = total_loss(
        task_errors(predicted, holes, MAGNETIC, TrainOptions(loss="mse", stress_weight=1.0)), TrainOptions()
    )
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in predicted.values() if p.grad is not None)


@pytest.mark.parametrize("task", ["energy", "forces", "stress", "moments"])
def test_a_prediction_that_is_not_finite_is_no_missing_label(graph, task):
    """Weights that became NaN must stop a training, not finish it with a loss of zero."""
    predicted = perfect(graph) | {task: torch.full_like(perfect(graph)[task], torch.nan)}
    assert torch.isnan(task_errors(predicted, graph, MAGNETIC, TrainOptions())[task])


def test_stress_of_a_molecule_is_not_asked_for(graph):
    from dataclasses import replace

    molecule = replace(graph, volume=torch.full_like(graph.volume, torch.nan))
    predicted = perfect(graph) | {"stress": torch.full_like(graph.stress, torch.nan)}
    assert task_errors(predicted, molecule, MAGNETIC, TrainOptions())["stress"].item() == 0.0


def test_total_is_weighted():
    options = TrainOptions(energy_weight=2.0, forces_weight=3.0, stress_weight=0.0, moments_weight=5.0)
    errors = {k: torch.tensor(1.0) for k in ("energy", "forces", "stress", "moments")}
    assert total_loss(errors, options).item() == 10.0


def test_absent_tasks_are_left_out(graph):
    from dataclasses import replace

    bare = replace(graph, stress=torch.full_like(graph.stress, torch.nan))
    assert set(task_errors(perfect(graph), bare, MAGNETIC, TrainOptions())) == {"energy", "forces", "moments"}


def test_magnetic_forces_count_on_magnetic_species(graph):
    from dataclasses import replace

    held = replace(graph, magnetic_forces=torch.where(graph.species[:, None] == 1, 0.1, 7.0).double())
    predicted = perfect(graph) | {"magnetic_forces": torch.zeros_like(held.magnetic_forces)}
    errors = task_errors(predicted, held, MAGNETIC, TrainOptions(moment_species="all"))
    assert errors["magnetic_forces"].item() == pytest.approx(0.1)
    weighted = total_loss(errors, TrainOptions(magnetic_forces_weight=3.0))
    assert weighted.item() == pytest.approx(0.3)
