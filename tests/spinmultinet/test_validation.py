"""Mean errors over a set: whatever the batches, and only where there are labels."""

import pytest

from spinmultinet import build_model
from spinmultinet.data import to_graph
from spinmultinet.hypers import TrainOptions
from spinmultinet.validation import mean_errors, predicted


@pytest.fixture
def model(tiny_options):
    return build_model(tiny_options.model_copy(update={"dtype": "float64"}), ["O", "Ni"], 0)


def test_errors_do_not_depend_on_the_batches(model, nio):
    graphs = [to_graph(a, model.species, 3.5) for a in nio[:7]]
    found = [
        mean_errors(model, graphs, TrainOptions(stress_weight=1.0, batch_structures=n, batch_edges=e))
        for n, e in ((1, 10**6), (3, 10**6), (7, 10**6), (7, 1))
    ]
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-9)
    assert set(found[0]) == {"loss", "energy", "forces", "stress", "moments"}


def test_a_task_is_averaged_over_structures_with_its_label(model, nio):
    options = TrainOptions(stress_weight=1.0, batch_structures=1)
    alone = mean_errors(model, [to_graph(nio[0], model.species, 3.5)], options)["stress"]
    for atoms in nio[1:4]:
        del atoms.calc.results["stress"]
    graphs = [to_graph(a, model.species, 3.5) for a in nio[:4]]
    assert mean_errors(model, graphs, options)["stress"] == pytest.approx(alone)


def test_only_what_counts_is_calculated(model, nio):
    graph = to_graph(nio[0], model.species, 3.5)
    assert "forces" not in predicted(model, graph, TrainOptions(forces_weight=0.0))
    assert "stress" in predicted(model, graph, TrainOptions(forces_weight=0.0, stress_weight=1.0))
    assert "magnetic_forces" not in predicted(model, graph, TrainOptions())
    nio[0].set_array("magnetic_forces", nio[0].arrays["magmom_in"])
    held = to_graph(nio[0], model.species, 3.5)
    assert "magnetic_forces" in predicted(model, held, TrainOptions())
    assert "magnetic_forces" not in predicted(model, held, TrainOptions(magnetic_forces_weight=0.0))


def test_the_mode_of_the_model_is_left_as_it_was(model, nio):
    graphs = [to_graph(nio[0], model.species, 3.5)]
    for mode in (True, False):
        model.train(mode)
        mean_errors(model, graphs, TrainOptions())
        assert model.training == mode
