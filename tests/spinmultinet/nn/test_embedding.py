"""Bases: smooth, bounded, odd where they must be."""

import math

import pytest
import torch

from spinmultinet.nn.embedding import BesselBasis, RadialNetwork, bounded, envelope, legendre


@pytest.mark.parametrize("power", [3, 6])
def test_envelope_is_flat_to_second_order_at_the_cutoff(power):
    x = torch.tensor([1.0 - 1e-9], dtype=torch.float64, requires_grad=True)
    y = envelope(x, power)
    (slope,) = torch.autograd.grad(y, x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, x)
    assert abs(y.item()) < 1e-12
    assert abs(slope.item()) < 1e-10
    assert abs(curvature.item()) < 1e-4
    assert envelope(torch.tensor([0.0, 1.0, 1.5]), power).tolist() == [1.0, 0.0, 0.0]


def test_bessel_functions_vanish_at_the_cutoff_and_follow_the_formula():
    basis = BesselBasis(4.0, 3)
    values = basis(torch.tensor([1.0, 4.0], dtype=torch.float64))
    assert values[0, 1].item() == pytest.approx(math.sqrt(2) * math.sin(2 * math.pi * 0.25) / 0.25)
    assert values[1].abs().max() < 1e-6


def test_bounded_moments_are_odd_bounded_and_smooth_at_zero():
    m = torch.tensor([[0.0], [2.0], [-2.0], [1e6]], dtype=torch.float64, requires_grad=True)
    b = bounded(m, 2.0)
    assert b[1].item() == pytest.approx(1 / math.sqrt(2))
    assert b[1] == -b[2]
    assert b.abs().max() <= 1.0
    (slope,) = torch.autograd.grad(b.sum(), m)
    assert slope[0].item() == pytest.approx(0.5)


def test_legendre_polynomials():
    x = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    p = legendre(x, 3)
    torch.testing.assert_close(p[:, 1], math.sqrt(5) * (1.5 * x**2 - 0.5))
    torch.testing.assert_close((p**2).mean(0), torch.ones(3, dtype=torch.float64), rtol=2e-2, atol=0)


def test_envelope_multiplies_the_output_of_the_radial_network():
    network = RadialNetwork(2, [4], 3)
    inputs = torch.randn(5, 2)
    assert not network(inputs, torch.zeros(5, 1)).any()
    torch.testing.assert_close(network(inputs, torch.full((5, 1), 0.5)), 0.5 * network(inputs, torch.ones(5, 1)))
