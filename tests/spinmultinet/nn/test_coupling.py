"""The folded product against e3nn's own tensor product, path normalisation included."""

import pytest
import torch
from e3nn import o3

from spinmultinet.nn.coupling import CouplingTable, FoldedTensorProduct, SphericalHarmonics, hidden_irreps
from spinmultinet.nn.fused import Edges


@pytest.fixture(autouse=True)
def _float64():
    """e3nn rounds its constants to the default precision when it builds a product."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("l_max", "parity"), [(0, False), (1, False), (2, False), (3, False), (1, True), (2, True)])
def test_folded_product_equals_e3nn(l_max, parity):
    torch.manual_seed(0)
    irreps = hidden_irreps(l_max, parity)
    channels, n_edges = 3, 5
    table = CouplingTable(irreps, l_max).double()
    product = FoldedTensorProduct(table, list(range(len(irreps))), list(range(len(irreps))))
    vectors = torch.randn(n_edges, 3, dtype=torch.float64)
    harmonics = o3.spherical_harmonics(table.sh, vectors, normalize=True, normalization="component")
    features = {k: torch.randn(n_edges, ir.dim, channels, dtype=torch.float64) for k, ir in enumerate(irreps)}
    weights = torch.randn(n_edges, product.n_paths, channels, dtype=torch.float64)
    together = torch.cat([features[k] for k in product.rows], dim=1)
    edges = Edges(
        torch.arange(n_edges), torch.arange(n_edges), torch.arange(n_edges), n_edges
    )  # each to itself: nothing is summed
    ours = product.split(product.by_torch(edges, table.fold(harmonics), together, weights))

    # The same as one e3nn uvu product, whose every path has its own output.
    outputs, instructions, used, place = [], [], [], []
    first = 0
    for k in product.blocks:
        for block in product.blocks[k]:
            ways = [n for n, (_, sh) in enumerate(table.sh) if irreps[block.out] in irreps[k] * sh]
            for n in ways:
                instructions.append((k, n, len(outputs), "uvu", True))
                outputs.append((channels, irreps[block.out]))
                used.append(weights[:, first])
                place.append(block.out)
                first += 1
    assert first == product.n_paths
    reference = o3.TensorProduct(
        o3.Irreps([(channels, ir) for ir in irreps]), table.sh, o3.Irreps(outputs), instructions, shared_weights=False
    ).double()
    flat = torch.cat([features[k].transpose(1, 2).flatten(1) for k in range(len(irreps))], dim=1)
    expected = reference(flat, harmonics, torch.cat(used, dim=1))
    counter = dict.fromkeys(range(len(irreps)), 0)
    for piece, out in zip(o3.Irreps(outputs).slices(), place, strict=True):
        theirs = expected[:, piece].view(n_edges, channels, irreps[out].dim).transpose(1, 2)
        torch.testing.assert_close(ours[out][:, counter[out]], theirs, rtol=1e-10, atol=1e-10)
        counter[out] += 1
    assert all(counter[o] == product.multiplicity[o] for o in product.outs)


def test_spherical_harmonics_equal_e3nn():
    unit = torch.nn.functional.normalize(torch.randn(7, 3), dim=1)
    for l_max in (0, 2, 4):
        expected = o3.spherical_harmonics(list(range(l_max + 1)), unit, normalize=False, normalization="component")
        torch.testing.assert_close(SphericalHarmonics(l_max)(unit), expected, rtol=1e-10, atol=1e-10)


def test_restricted_products_use_the_same_rows():
    torch.manual_seed(1)
    irreps = hidden_irreps(2, False)
    table = CouplingTable(irreps, 2).double()
    harmonics = torch.randn(4, table.sh.dim, dtype=torch.float64)
    features = {k: torch.randn(4, ir.dim, 2, dtype=torch.float64) for k, ir in enumerate(irreps)}
    everything = FoldedTensorProduct(table, [0, 1, 2], [0, 1, 2])
    scalars = FoldedTensorProduct(table, [0, 1, 2], [0])
    folded, edges = table.fold(harmonics), Edges(torch.arange(4), torch.arange(4), torch.arange(4), 4)
    together = torch.cat([features[k] for k in everything.rows], dim=1)
    ones = torch.ones(4, everything.n_paths, 2, dtype=torch.float64)
    a = everything.split(everything(edges, folded, together, ones))[0]
    b = scalars.split(scalars(edges, folded, together, ones[:, : scalars.n_paths]))[0]
    assert scalars.n_paths == 3
    torch.testing.assert_close(a, b)
