"""The compiled kernels against torch's own operations and finite differences, and the ways around them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinmultinet.errors import SpinMultiNetError
from spinmultinet.nn import fused
from spinmultinet.nn.coupling import CouplingTable, FoldedTensorProduct, hidden_irreps
from spinmultinet.nn.fused import Edges, KernelWarning


def problem(l_max=2, parity=False, axes=1, odd=True, seed=0, n=4, n_edges=11, ins=None, outs=None, dtype=torch.float64):
    """A product and random operands; edges in no order, some nodes without any."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(True)

    irreps = hidden_irreps(l_max, parity)
    table = CouplingTable(irreps, l_max)
    everything = list(range(len(irreps)))
    product = FoldedTensorProduct(table, ins or everything, outs or everything)
    ends = torch.randint(0, n - 1, (2, n_edges), generator=generator)
    reverse = torch.arange(n_edges)
    first, second = torch.randperm(n_edges, generator=generator)[: n_edges // 3 * 2].view(2, -1)  # the others are alone
    reverse[first], reverse[second] = second, first
    edges = Edges(ends[0], ends[1], reverse, n)
    width = 3
    channels = width * (1 + axes) if odd else width
    n_components = sum(irreps[k].dim for k in product.rows)
    operands = (
        random(n_edges, table.n_columns),
        random(n, n_components, channels),
        random(len(edges.chosen), product.n_paths, 2 * width if odd else width),
    )
    return product, edges, operands


@settings(max_examples=25, deadline=None)
@given(
    l_max=st.integers(0, 3),
    parity=st.booleans(),
    axes=st.sampled_from([1, 3]),
    odd=st.booleans(),
    n_edges=st.integers(0, 12),
    seed=st.integers(0, 99),
)
def test_kernels_equal_torch_up_to_the_second_derivative(l_max, parity, axes, odd, n_edges, seed):
    product, edges, operands = problem(l_max, parity, axes, odd, seed, n_edges=n_edges)
    generator = torch.Generator().manual_seed(seed)
    results = []
    for way in (product.by_torch, lambda *a: fused.contract(a[0], product.paths, product.n_rows, *a[1:])):
        generator.manual_seed(seed)
        message = way(edges, *operands)
        factor = torch.randn(message.shape, generator=generator, dtype=torch.float64)
        first = torch.autograd.grad((message * factor).sum(), operands, create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), operands)
        results.append([message, *first, *second])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("ins", "outs"), [([0], [0, 1, 2]), ([0, 1, 2], [0])])
def test_derivatives_against_finite_differences(ins, outs):
    product, edges, operands = problem(ins=ins, outs=outs, n_edges=5)

    def messages(*x):
        return fused.contract(edges, product.paths, product.n_rows, *x)

    assert torch.autograd.gradcheck(messages, operands)
    assert torch.autograd.gradgradcheck(messages, operands)


def test_single_precision_agrees_to_rounding():
    product, edges, operands = problem(n=20, n_edges=400, dtype=torch.float32)
    got = fused.contract(edges, product.paths, product.n_rows, *operands)
    expected = product.by_torch(edges, *operands)
    assert got.dtype == torch.float32
    assert float((got - expected).abs().max() / expected.abs().max()) < 1e-6


def test_number_of_threads_does_not_change_a_bit(monkeypatch):
    monkeypatch.setattr(fused, "_SERIAL", 0)
    product, edges, operands = problem(n=9, n_edges=200, dtype=torch.float32)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            message = fused.contract(edges, product.paths, product.n_rows, *operands)
            found.append([message, *torch.autograd.grad(message.square().sum(), operands)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_nan_is_not_hidden():
    product, edges, (folded, features, weights) = problem()
    features = features.detach().clone()
    features[int(edges.sender[0])] = float("nan")
    message = fused.contract(edges, product.paths, product.n_rows, folded, features, weights)
    assert torch.isnan(message[int(edges.receiver[0])]).all()


def test_the_variable_chooses_torch(monkeypatch):
    features = torch.zeros(1, 1, 1)
    assert fused.wanted(features)
    monkeypatch.setenv(fused.VARIABLE, "torch")
    assert not fused.wanted(features)
    monkeypatch.setenv(fused.VARIABLE, "fastest")
    with pytest.raises(SpinMultiNetError, match="auto, torch"):
        fused.wanted(features)


def test_without_a_compiler_torch_does_it_and_says_so(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "spinmultinet.nn.kernels", None)  # importing it raises ImportError
    monkeypatch.delattr("spinmultinet.nn.kernels", raising=False)
    fused._kernels.cache_clear()
    try:
        product, edges, operands = problem()
        with pytest.warns(KernelWarning, match="cannot be used"):
            message = product(edges, *operands)
        np.testing.assert_array_equal(message.detach(), product.by_torch(edges, *operands).detach())
    finally:
        fused._kernels.cache_clear()


def test_a_compiler_that_fails_at_the_first_call_is_noticed_too(monkeypatch):
    from spinmultinet.nn import kernels

    def broken():
        raise RuntimeError("no code for this processor")

    monkeypatch.setattr(kernels, "compile_one", broken)
    fused._kernels.cache_clear()
    try:
        with pytest.warns(KernelWarning, match="no code for this processor"):
            assert not fused.wanted(torch.zeros(1, 1, 1))
    finally:
        fused._kernels.cache_clear()


def test_without_a_folder_for_the_cache_kernels_are_compiled_anew(monkeypatch):
    from spinmultinet.nn import kernels

    def no_cache(**options):
        def decorate(function):
            if options.get("cache"):
                raise RuntimeError("cannot cache function: no locator available")
            return function

        return decorate

    monkeypatch.setattr(kernels, "_njit", no_cache)
    assert kernels._compiled(abs) is abs
