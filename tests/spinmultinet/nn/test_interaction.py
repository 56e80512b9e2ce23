"""Sector-mixing linear maps and gates under time reversal."""

import torch

from spinmultinet.nn.coupling import CouplingTable, hidden_irreps
from spinmultinet.nn.fused import Edges
from spinmultinet.nn.interaction import Interaction, SpeciesGroups, SpinLinear


def test_spin_linear_is_even_and_odd_and_mixes_both_ways():
    torch.manual_seed(0)
    layer = SpinLinear({0: 3}, {0: (2, 4)}, odd=True, gain=0.5)
    even, odd, b = {0: torch.randn(5, 1, 3)}, {0: torch.randn(5, 1, 1, 3)}, torch.randn(5, 1)
    e, o = layer(even, odd, b)
    e2, o2 = layer(even, {0: -odd[0]}, -b)
    torch.testing.assert_close(e[0], e2[0])
    torch.testing.assert_close(o[0], -o2[0])
    assert e[0].shape == (5, 1, 2)
    assert o[0].shape == (5, 1, 1, 4)
    # E b -> O and b . O -> E are alive
    assert layer(even, {0: 0 * odd[0]}, b)[1][0].abs().max() > 1e-3
    assert layer({0: 0 * even[0]}, odd, b)[0][0].abs().max() > 1e-3


def test_isolated_site_keeps_its_features_and_squares_of_odd_features_reach_the_even_ones():
    torch.manual_seed(0)
    table = CouplingTable(hidden_irreps(1, False), 1).float()
    layer = Interaction(table, [0], [0, 1], 4, (2, 0), True, 3, [4], 0.5)
    none = torch.zeros(0, dtype=torch.long)
    folded = table.fold(torch.zeros(0, 4))
    edges = Edges(none, none, none, 1)

    def run(odd, b):
        return layer(
            {0: torch.ones(1, 1, 4)},
            {0: odd},
            b,
            (torch.tensor([0]), None),
            edges,
            folded,
            torch.zeros(0, 3),
            torch.zeros(0, 1),
            torch.tensor(1.0),
        )

    zero = torch.zeros(1, 1)
    even, odd = run(torch.randn(1, 1, 1, 4), zero)
    reference, silent = run(torch.zeros(1, 1, 1, 4), zero)
    assert odd[0].abs().max() > 1e-3
    assert not silent[0].any()
    assert (even[0] - reference[0]).abs().max() > 1e-4  # O . O -> E, even where b is zero


def test_matrices_per_species_are_those_of_each_node():
    torch.manual_seed(0)
    species = torch.tensor([2, 0, 2, 0])  # none of species 1
    layer = SpinLinear({0: 3}, {0: (2, 4)}, odd=True, gain=0.5, kinds=(3, 5))
    even, odd, b = {0: torch.randn(4, 1, 3)}, {0: torch.randn(4, 1, 3, 3)}, torch.randn(4, 3)
    e, o = layer(even, odd, b, SpeciesGroups.of(species, 3))
    for k in range(4):
        one = slice(k, k + 1)
        alone = SpinLinear({0: 3}, {0: (2, 4)}, odd=True, gain=0.5)
        for own, every in ((alone.even, layer.even), (alone.odd, layer.odd)):
            own["0"].data = torch.einsum("t,tio->io", layer.species[species[k]], every["0"]).detach() * 5**-0.5
        e1, o1 = alone({0: even[0][one]}, {0: odd[0][one]}, b[one])
        torch.testing.assert_close(e[0][one], e1[0])
        torch.testing.assert_close(o[0][one], o1[0])
