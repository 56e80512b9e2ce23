"""The registry of fields agrees with the tensors themselves."""

from dataclasses import fields

from spinmultinet.data import Graph, to_graph
from spinmultinet.keys import FIELDS


def test_registered_fields_have_their_shapes(nio):
    graph = to_graph(nio[0], ["O", "Ni"], 3.0)
    sizes = {"N": 4, "B": 1, "3": 3, "s": 1}
    connectivity = {"structure", "receiver", "sender", "shift", "reverse", "n_atoms"}
    for field in fields(Graph):
        if field.name not in connectivity:
            assert getattr(graph, field.name).shape == tuple(sizes[s] for s in FIELDS[field.name].shape)


def test_moments_alone_are_odd_under_time_reversal():
    odd = {name for name, field in FIELDS.items() if field.time_parity == -1}
    assert odd == {"moments", "moments_out", "magnetic_forces"}
